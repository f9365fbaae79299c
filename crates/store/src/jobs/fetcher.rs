//! The process that fetches a blob. It goes on where its file ends, and looks at none of the bytes but to hash them.
//!
//! What is in the file is hashed first, so that the digest is that of the whole, and given to whoever follows: what
//! unpacks begins anew. If who follows fails, fetching goes on, because only the digest tells whether the blob itself
//! is bad or was sent wrong.

use failure::{Context, Error, Kind, Result};

use super::copier::{BUFFER, Sink};
use super::process::Stop;
use super::{Copied, confine};
use crate::pull::{Blob, Remote};

pub(super) fn fetch(remote: &dyn Remote, blob: &Blob, present: u64, mut sink: Sink<'_>) -> Result<Copied, Stop> {
    confine::network().context("confine the fetching process")?;
    let mut buffer = vec![0; BUFFER];
    while sink.done < present && sink.read_back(&mut buffer, present)? > 0 {}
    drop(buffer);
    let (start, size) = (sink.done, blob.size);
    if start < size {
        remote.fetch(blob, start, &mut |bytes| {
            if bytes.len() as u64 > size - sink.done {
                return Err(Error::invalid(format!("the registry sends more than the {size} bytes that it has")));
            }
            sink.write(bytes)
        })?;
    }
    if sink.done < size {
        let done = sink.done;
        let message = format!("only {done} of {size} bytes came; run the command again to go on from there");
        return Err(Error::new(Kind::Unavailable, message).into());
    }
    sink.finish()
}
