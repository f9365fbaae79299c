//! Blobs, in pieces, going on where the last connection was cut.

use std::io::Read;

use failure::{Error, Kind, Result};
use reference::Digest;

use crate::exchange::Request;
use crate::failure_body;
use crate::http::cut;
use crate::repository::Repository;

/// Bytes handed on at once.
const PIECE: usize = 256 * 1024;

impl Repository {
    /// Fetches a blob from `offset` on, and hands it to `sink` in pieces: in order, each byte once, never more than `size`
    /// in all. Whether they are the right bytes is the sink's to find out, which has seen those before `offset`.
    ///
    /// # Errors
    /// No endpoint has it, all fail, it has another size, or `sink` fails.
    pub fn blob(
        &self,
        digest: &Digest,
        size: u64,
        offset: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = offset;
        let mut buffer = vec![0; PIECE];
        self.first(
            |endpoint| endpoint.offers.content,
            |endpoint| {
                if at == size {
                    return Ok(());
                }
                let what = format!("{}: blob {digest}", self.name());
                let mut request = Request::new("GET", format!("blobs/{digest}"));
                if at > 0 {
                    request = request.with("range", format!("bytes={at}-{}", size - 1));
                }
                let mut answer = self.ask(endpoint, request)?;
                let mut skip = match answer.status {
                    200 => at,
                    206 => 0,
                    _ => return Err(failure_body::failure(&mut answer, &what)),
                };
                let from = answer.from.clone();
                let mut body = answer.body();
                loop {
                    let read = body.read(&mut buffer).map_err(|error| cut(&from, &error))?;
                    if read == 0 {
                        break;
                    }
                    let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(read);
                    skip -= skipped as u64;
                    let piece = &buffer[skipped..read];
                    if piece.len() as u64 > size - at {
                        return Err(Error::invalid(format!("{what}: {} sends more than {size} bytes", from.host)));
                    }
                    sink(piece)?;
                    at += piece.len() as u64;
                }
                if at < size {
                    let message = format!("{what}: {} sends {at} of {size} bytes", from.host);
                    return Err(Error::new(Kind::Unavailable, message));
                }
                Ok(())
            },
        )
    }
}
