//! What a process of a job tells its parent over a pipe.
//!
//! ```text
//! frame := tag:u8 length:u32 payload       (little endian; a payload is at most 64 MB)
//!   1 progress   bytes:u64
//!   2 done       what the job says
//!   3 failed     kind:u8 message
//!   4 said       what the job says before it goes on
//!   5 device     a node to make (see `devices`)
//! ```

use std::os::fd::AsFd;

use failure::{Error, Kind, Result};
use rustix::io::Errno;

pub(super) const PROGRESS: u8 = 1;
pub(super) const DONE: u8 = 2;
pub(super) const FAILED: u8 = 3;
pub(super) const SAID: u8 = 4;
pub(super) const DEVICE: u8 = 5;
const LARGEST: usize = 64 << 20;
/// A message is a line.
const LONGEST_MESSAGE: usize = 4096;

const KINDS: [Kind; 10] = [
    Kind::NotFound,
    Kind::Conflict,
    Kind::Invalid,
    Kind::Unsupported,
    Kind::Denied,
    Kind::Busy,
    Kind::Unavailable,
    Kind::CommandNotFound,
    Kind::CommandNotExecutable,
    Kind::Internal,
];

/// Writes a frame.
pub(super) fn send(pipe: impl AsFd, tag: u8, payload: &[u8]) -> rustix::io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| Errno::TOOBIG)?;
    let mut frame = Vec::with_capacity(5 + payload.len());
    frame.push(tag);
    frame.extend(length.to_le_bytes());
    frame.extend(payload);
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&pipe, rest))?;
        rest = &rest[written..];
    }
    Ok(())
}

/// Takes the first whole frame off the front of what was received.
pub(super) fn take_frame(received: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>> {
    let Some(length) = received.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes) else {
        return Ok(None);
    };
    let length = length as usize;
    if length > LARGEST {
        return Err(garbled());
    }
    if received.len() < 5 + length {
        return Ok(None);
    }
    let tag = received[0];
    let payload = received[5..5 + length].to_vec();
    received.drain(..5 + length);
    Ok(Some((tag, payload)))
}

/// A failure as a payload.
pub(super) fn encode_error(error: &Error) -> Vec<u8> {
    let kind = KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(KINDS.len() - 1);
    let mut payload = vec![u8::try_from(kind).unwrap_or(u8::MAX)];
    let message = error.to_string();
    payload.extend(message.bytes().take(LONGEST_MESSAGE));
    payload
}

/// The failure of a payload. It comes from a process that read hostile bytes: one line of text, whatever it says.
pub(super) fn decode_error(payload: &[u8]) -> Error {
    let Some((kind, message)) = payload.split_first() else { return garbled() };
    let kind = KINDS.get(usize::from(*kind)).copied().unwrap_or(Kind::Internal);
    let message: String =
        String::from_utf8_lossy(message).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Error::new(kind, message)
}

pub(super) fn garbled() -> Error {
    Error::internal("an unpacking process sent a garbled report")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_errors_come_back() {
        let mut received = vec![PROGRESS, 8, 0, 0, 0, 1, 0, 0];
        assert_eq!(take_frame(&mut received).unwrap(), None);
        received.extend([0, 0, 0, 0, 0, DONE]);
        assert_eq!(take_frame(&mut received).unwrap(), Some((PROGRESS, 1_u64.to_le_bytes().to_vec())));
        assert_eq!(received, [DONE]);
        let error = decode_error(&encode_error(&Error::not_found("a\nb")));
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::NotFound, "a\\nb"));
    }
}
