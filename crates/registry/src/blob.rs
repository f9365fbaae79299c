//! Blobs, in pieces, going on where the last connection was cut.

use std::io::Read;

use failure::{Error, Result};
use reference::Digest;

use crate::endpoint::Endpoint;
use crate::exchange::Request;
use crate::failure_body;
use crate::http::{Answer, cut};
use crate::repository::Repository;
use crate::trouble::Trouble;

/// Bytes handed on at once.
const PIECE: usize = 256 * 1024;

/// Takes the next bytes of a blob.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// A blob on its way.
struct Transfer<'a> {
    digest: &'a Digest,
    size: u64,
    /// Bytes that the sink has.
    at: u64,
    sink: Sink<'a>,
    buffer: Vec<u8>,
}

impl Repository {
    /// Fetches a blob from `offset` on, and hands it to `sink` in pieces: in order, each byte once, never more than `size`
    /// in all. Whether they are the right bytes is the sink's to find out, which has seen those before `offset`.
    ///
    /// # Errors
    /// No endpoint has it, all fail, it has another size, or `sink` fails.
    pub fn blob(&self, digest: &Digest, size: u64, offset: u64, sink: Sink<'_>) -> Result<()> {
        if offset >= size {
            return Ok(());
        }
        let mut transfer = Transfer { digest, size, at: offset, sink, buffer: vec![0; PIECE] };
        self.first(
            |endpoint| endpoint.offers.content,
            |endpoint| {
                let before = transfer.at;
                let result = self.part(endpoint, &mut transfer);
                result.map_err(|trouble| Trouble { progress: transfer.at > before, ..trouble })
            },
        )
    }

    /// As much of a blob as one connection gives.
    fn part(&self, endpoint: &Endpoint, transfer: &mut Transfer<'_>) -> Result<(), Trouble> {
        let name = self.blob_name(transfer.digest);
        let mut request = Request::new("GET", format!("blobs/{}", transfer.digest));
        if transfer.at > 0 {
            request = request.with("range", format!("bytes={}-{}", transfer.at, transfer.size - 1));
        }
        let mut answer = self.ask(endpoint, request)?;
        match answer.status {
            // A host that knows no ranges begins again.
            200 => transfer.receive(&mut answer, transfer.at, transfer.size, &name),
            206 if begins_at(&answer, transfer.at) => {
                transfer.receive(&mut answer, 0, transfer.size - transfer.at, &name)
            }
            206 => Err(Error::invalid(format!("{name}: {} sends another part than asked for", endpoint.host)).into()),
            _ => Err(failure_body::trouble(&mut answer, &name)),
        }
    }
}

impl Transfer<'_> {
    /// Reads a body of `length` bytes of which the first `known` were received before.
    fn receive(&mut self, answer: &mut Answer, mut known: u64, length: u64, name: &str) -> Result<(), Trouble> {
        let from = answer.from.clone();
        let wrong = |reason: String| Error::invalid(format!("{name}: {} {reason}", from.host)).into();
        if answer.length().is_some_and(|announced| announced != length) {
            let announced = answer.length().unwrap_or_default();
            return Err(match answer.media_type().as_str() {
                "text/html" => wrong("sends a web page instead".to_owned()),
                _ => wrong(format!("has {announced} bytes where {length} belong")),
            });
        }
        let mut body = answer.body();
        loop {
            let read = body.read(&mut self.buffer).map_err(|error| {
                let trouble = cut(&from, &error);
                let message = format!("{name}: {} (after {} of {} bytes)", trouble.error, self.at, self.size);
                Trouble { error: Error::new(trouble.error.kind(), message), ..trouble }
            })?;
            if read == 0 {
                break;
            }
            let skipped = usize::try_from(known).unwrap_or(usize::MAX).min(read);
            known -= skipped as u64;
            let piece = &self.buffer[skipped..read];
            if piece.len() as u64 > self.size - self.at {
                return Err(wrong(format!("sends more than its {} bytes", self.size)));
            }
            if !piece.is_empty() {
                (self.sink)(piece).map_err(Trouble::ours)?;
                self.at += piece.len() as u64;
            }
        }
        if self.at < self.size {
            return Err(wrong(format!("sends {} bytes where {} belong", self.at, self.size)));
        }
        Ok(())
    }
}

/// Whether a part begins where it was asked for: `Content-Range: bytes 5-9/10`.
fn begins_at(answer: &Answer, offset: u64) -> bool {
    let range = answer.header("content-range").and_then(|range| range.trim().strip_prefix("bytes"));
    let first = range.and_then(|range| range.trim().split('-').next()?.trim().parse().ok());
    first == Some(offset)
}
