//! Blobs and manifests, to a registry.
//!
//! ```text
//! HEAD blobs/<digest>                        200: nothing to do
//! POST blobs/uploads/?mount=<digest>&from=   201: it was in another repository of this registry; 202: as below
//! POST blobs/uploads/                        202, Location: an upload
//! PUT  <Location>?digest=<digest>            the bytes; 201
//! PUT  manifests/<tag or digest>             201, once all that it refers to is there
//! ```

use std::io::{Read, Seek, SeekFrom};

use failure::{Context, Error, Result};
use reference::Digest;

use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::exchange::Request;
use crate::failure_body;
use crate::http::{Answer, Content};
use crate::repository::{Repository, Which};

/// The bytes of a blob. They may be read more than once, if a connection is cut.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

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
                _ => Err(failure_body::failure(&mut answer, &self.blob_name(digest))),
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
            let path = format!("blobs/uploads/?mount={digest}&from={}", crate::address::escaped(from));
            let mut answer = self.ask(endpoint, Request::new("POST", path))?;
            match answer.status {
                201 => Ok(true),
                202 => {
                    let upload = answer.from.join(self.location(&answer)?)?;
                    self.uploads.borrow_mut().insert(*digest, upload);
                    Ok(false)
                }
                _ => Err(failure_body::failure(&mut answer, &self.blob_name(digest))),
            }
        })
    }

    /// Pushes a blob, unless the registry says that it has it after all.
    ///
    /// # Errors
    /// It does not answer, refuses, or `source` does not have `size` bytes of this digest.
    pub fn push_blob(&self, digest: &Digest, size: u64, source: &mut dyn Source) -> Result<()> {
        self.first(pushes, |endpoint| {
            let opened = self.uploads.borrow_mut().remove(digest);
            let upload = opened.map_or_else(|| self.open_upload(endpoint, digest), Ok)?;
            source.seek(SeekFrom::Start(0)).context("read the blob to push")?;
            let mut bytes = (&mut *source).take(size);
            let to = upload.with_parameter("digest", &digest.to_string());
            let request = Request::at("PUT", to, Content::Stream(&mut bytes, size));
            let mut answer = self.ask(endpoint, request.with("content-type", "application/octet-stream"))?;
            match answer.status {
                201 | 204 => Ok(()),
                _ => Err(failure_body::failure(&mut answer, &self.blob_name(digest))),
            }
        })
    }

    fn open_upload(&self, endpoint: &Endpoint, digest: &Digest) -> Result<Address> {
        let mut answer = self.ask(endpoint, Request::new("POST", "blobs/uploads/".to_owned()))?;
        match answer.status {
            202 => answer.from.join(self.location(&answer)?),
            _ => Err(failure_body::failure(&mut answer, &self.blob_name(digest))),
        }
    }

    fn location<'a>(&self, answer: &'a Answer) -> Result<&'a str> {
        answer.header("location").ok_or_else(|| {
            Error::invalid(format!("{}: {} opens an upload and does not say where", self.name(), answer.from.host))
        })
    }

    /// Pushes a manifest or an index.
    ///
    /// # Errors
    /// The registry does not answer, refuses, or lacks something that the manifest refers to.
    pub fn put_manifest(&self, which: Which<'_>, bytes: &[u8], media_type: &str) -> Result<()> {
        self.first(pushes, |endpoint| {
            let request =
                Request { content: Content::Bytes(bytes), ..Request::new("PUT", format!("manifests/{which}")) };
            let mut answer = self.ask(endpoint, request.with("content-type", media_type))?;
            match answer.status {
                200..=299 => Ok(()),
                _ => Err(failure_body::failure(&mut answer, &self.manifest_name(which))),
            }
        })
    }

    fn blob_name(&self, digest: &Digest) -> String {
        format!("{}: blob {digest}", self.name())
    }
}

fn pushes(endpoint: &Endpoint) -> bool {
    endpoint.offers.push
}
