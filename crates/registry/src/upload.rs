//! Blobs, to a registry. Manifests follow them (see `referrers`).
//!
//! ```text
//! HEAD blobs/<digest>                        200: nothing to do
//! POST blobs/uploads/?mount=<digest>&from=   201: it was in another repository of this registry; 202: as below
//! POST blobs/uploads/                        202, Location: an upload
//! PUT  <Location>?digest=<digest>            all bytes at once; 201
//! ```
//!
//! If that one PUT is cut, or too long for whatever is in front of the registry, the upload goes on in parts:
//!
//! ```text
//! GET   <Location>                           204, Range: 0-<last byte that arrived>, Location
//! PATCH <Location>, Content-Range: 5-9       202, Location; for each part
//! PUT   <Location>?digest=<digest>           201
//! ```

use std::io::{self, Read, Seek, SeekFrom};

use failure::{Context, Error, Result};
use reference::Digest;

use crate::address::{Address, escaped};
use crate::endpoint::Endpoint;
use crate::exchange::Request;
use crate::failure_body;
use crate::http::{Answer, Content};
use crate::repository::Repository;
use crate::trouble::Trouble;

/// The length of parts, once a whole blob was too long.
const PART: u64 = 32 * 1024 * 1024;
/// Parts are not made shorter than this.
const SHORTEST_PART: u64 = 1024 * 1024;

/// The bytes of a blob. They may be read more than once, if a connection is cut.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// A blob on its way.
struct Transfer<'a> {
    digest: &'a Digest,
    size: u64,
    source: &'a mut dyn Source,
    /// Where it goes, once the registry has said so.
    to: Option<Address>,
    /// What has arrived; None if that must be asked.
    at: Option<u64>,
    /// The most that is known to have arrived.
    reached: u64,
    /// The longest part; None for all at once.
    part: Option<u64>,
}

impl Transfer<'_> {
    /// Some registries forget an upload when a request is cut (Docker's own does): shorter ones have better chances.
    fn in_shorter_parts(&mut self) {
        self.part = Some((self.part.unwrap_or(self.size) / 4).clamp(SHORTEST_PART, PART));
    }
}

impl Repository {
    /// Whether the registry that is pushed to has a blob.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.first(pushes, |endpoint| {
            let mut answer = self.ask(endpoint, Request::new("HEAD", format!("blobs/{digest}")))?;
            match answer.status {
                200 => Ok(true),
                404 => Ok(false),
                _ => Err(failure_body::trouble(&mut answer, &self.blob_name(digest))),
            }
        })
    }

    /// Asks the registry to take a blob from another of its repositories (its path: `library/busybox`). False if it does not;
    /// the blob must then be pushed.
    ///
    /// # Errors
    /// It does not answer, or refuses pushes.
    pub fn mount_blob(&self, digest: &Digest, from: &str) -> Result<bool> {
        self.first(pushes, |endpoint| {
            let path = format!("blobs/uploads/?mount={digest}&from={}", escaped(from));
            let mut answer = self.ask_for(endpoint, Request::new("POST", path), &[from])?;
            match answer.status {
                201 => Ok(true),
                202 => {
                    self.uploads.borrow_mut().insert(*digest, self.location(&answer)?);
                    Ok(false)
                }
                // The other repository may be closed to us, while this one is not.
                400..=405 => Ok(false),
                _ => Err(failure_body::trouble(&mut answer, &self.blob_name(digest))),
            }
        })
    }

    /// Pushes a blob, unless the registry says that it has it after all.
    ///
    /// # Errors
    /// It does not answer, refuses, or `source` does not have `size` bytes of this digest.
    pub fn push_blob(&self, digest: &Digest, size: u64, source: &mut dyn Source) -> Result<()> {
        let to = self.uploads.borrow_mut().remove(digest);
        let mut transfer = Transfer { digest, size, source, to, at: Some(0), reached: 0, part: None };
        self.first(pushes, |endpoint| {
            let before = transfer.reached;
            let result = self.upload(endpoint, &mut transfer);
            let progress = transfer.reached > before;
            result.map_err(|trouble| Trouble { progress: trouble.progress || progress, ..trouble })
        })
    }

    /// As much of an upload as goes without a cut.
    fn upload(&self, endpoint: &Endpoint, transfer: &mut Transfer<'_>) -> Result<(), Trouble> {
        let (to, at) = match (transfer.to.clone(), transfer.at) {
            (Some(to), Some(at)) => (to, at),
            (Some(to), None) => match self.arrived(endpoint, to)? {
                Some(found) => found,
                None => {
                    transfer.in_shorter_parts();
                    (self.open_upload(endpoint, transfer.digest)?, 0)
                }
            },
            (None, _) => (self.open_upload(endpoint, transfer.digest)?, 0),
        };
        transfer.reached = transfer.reached.max(at);
        // Until the next answer says otherwise: whatever happens now leaves an unknown number of bytes there.
        (transfer.to, transfer.at) = (Some(to.clone()), None);
        if at > 0 {
            transfer.part.get_or_insert(transfer.size);
        }
        match transfer.part {
            Some(part) if at > 0 || part < transfer.size => self.patch(endpoint, transfer, to, at, part),
            _ => self.put_whole(endpoint, transfer, &to),
        }
    }

    fn put_whole(&self, endpoint: &Endpoint, transfer: &mut Transfer<'_>, to: &Address) -> Result<(), Trouble> {
        let to = to.with_parameter("digest", &transfer.digest.to_string());
        let mut answer = self.send_part(endpoint, transfer, ("PUT", to), 0, transfer.size)?;
        match answer.status {
            201 | 204 => Ok(()),
            413 => {
                // What stands before the registry takes less at once.
                (transfer.to, transfer.at, transfer.part) = (None, Some(0), Some(PART));
                let trouble = failure_body::trouble(&mut answer, &self.blob_name(transfer.digest));
                Err(Trouble { progress: true, ..Trouble::passing(trouble.error.to_string()) })
            }
            _ => Err(self.refused(transfer, &mut answer)),
        }
    }

    fn patch(
        &self,
        endpoint: &Endpoint,
        transfer: &mut Transfer<'_>,
        mut to: Address,
        mut at: u64,
        part: u64,
    ) -> Result<(), Trouble> {
        while at < transfer.size {
            let end = transfer.size.min(at + part);
            let mut answer = self.send_part(endpoint, transfer, ("PATCH", to), at, end)?;
            if !matches!(answer.status, 201 | 202 | 204) {
                return Err(self.refused(transfer, &mut answer));
            }
            let arrived = range_end(&answer).unwrap_or(end);
            if arrived <= at || arrived > end {
                let message = format!("{}: {} loses what is sent", self.blob_name(transfer.digest), endpoint.host);
                return Err(Error::invalid(message).into());
            }
            (to, at) = (self.location(&answer)?, arrived);
            (transfer.to, transfer.at, transfer.reached) = (Some(to.clone()), Some(at), transfer.reached.max(at));
        }
        let to = to.with_parameter("digest", &transfer.digest.to_string());
        let mut answer = self.ask(endpoint, Request::at("PUT", to, Content::Nothing))?;
        match answer.status {
            201 | 204 => Ok(()),
            _ => Err(self.refused(transfer, &mut answer)),
        }
    }

    /// Sends the bytes from `at` to `end`.
    fn send_part(
        &self,
        endpoint: &Endpoint,
        transfer: &mut Transfer<'_>,
        (method, to): (&'static str, Address),
        at: u64,
        end: u64,
    ) -> Result<Answer, Trouble> {
        let ours = |error| Trouble::ours(error);
        transfer.source.seek(SeekFrom::Start(at)).context("read the blob to push").map_err(ours)?;
        let mut part = Part { source: transfer.source, left: end - at, failure: None };
        let mut request = Request::at(method, to, Content::Stream(&mut part, end - at));
        request = request.with("content-type", "application/octet-stream");
        if method == "PATCH" {
            request = request.with("content-range", format!("{at}-{}", end - 1));
        }
        let answer = self.ask(endpoint, request);
        match part.failure.take() {
            Some(failure) => Err(Trouble::ours(failure)),
            None => answer,
        }
    }

    /// An upload that the registry refused is not gone on with.
    fn refused(&self, transfer: &mut Transfer<'_>, answer: &mut Answer) -> Trouble {
        (transfer.to, transfer.at) = (None, Some(0));
        failure_body::trouble(answer, &self.blob_name(transfer.digest))
    }

    fn open_upload(&self, endpoint: &Endpoint, digest: &Digest) -> Result<Address, Trouble> {
        let mut answer = self.ask(endpoint, Request::new("POST", "blobs/uploads/".to_owned()))?;
        match answer.status {
            202 => Ok(self.location(&answer)?),
            _ => Err(failure_body::trouble(&mut answer, &self.blob_name(digest))),
        }
    }

    /// How much of an upload the registry has, and where it goes on. None if it does not know the upload any more.
    fn arrived(&self, endpoint: &Endpoint, to: Address) -> Result<Option<(Address, u64)>, Trouble> {
        let answer = self.ask(endpoint, Request::at("GET", to.clone(), Content::Nothing))?;
        match answer.status {
            200 | 202 | 204 => {
                let to = if answer.header("location").is_some() { self.location(&answer)? } else { to };
                Ok(Some((to, range_end(&answer).unwrap_or(0))))
            }
            _ => Ok(None),
        }
    }

    fn location(&self, answer: &Answer) -> Result<Address> {
        let host = &answer.from.host;
        let said = answer.header("location");
        let said =
            said.ok_or_else(|| Error::invalid(format!("{}: {host} does not say where to upload", self.name())))?;
        let to = answer.from.join(said)?;
        if answer.from.tls && !to.tls {
            let message = format!("{}: {host} wants the upload at {}, without TLS; refused", self.name(), to.host);
            return Err(Error::invalid(message));
        }
        Ok(to)
    }
}

pub(crate) fn pushes(endpoint: &Endpoint) -> bool {
    endpoint.offers.push
}

/// The bytes that have arrived: `Range: 0-9` means ten. `0-0` is also what registries write for none, and then it is none:
/// one byte sent again does no harm, one left out does.
fn range_end(answer: &Answer) -> Option<u64> {
    let range = answer.header("range")?;
    let (_, last) = range.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

/// Some bytes of the source, exactly as many as were promised. Its own failure is kept: it is not the registry's.
struct Part<'a> {
    source: &'a mut dyn Source,
    left: u64,
    failure: Option<Error>,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.source.read(&mut buffer[..most]) {
            Ok(0) => {
                self.failure = Some(Error::invalid(format!("the blob to push ends {} bytes early", self.left)));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) => {
                let kept = io::Error::new(error.kind(), error.to_string());
                self.failure = Err::<(), _>(kept).context("read the blob to push").err();
                Err(error)
            }
        }
    }
}
