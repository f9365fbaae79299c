//! A small blob that pulls lend each other, because many may want it at once: the configuration of an image that
//! all of them pull.
//!
//! ```text
//! partial/<hex> ours    -> fetched, and written there for the others; removed when our pull has ended
//! partial/<hex> locked  -> somebody else's: read it as soon as it is whole
//! ```
//!
//! A layer makes others wait until it is unpacked (see `pull`); this does not, since its bytes are all that is wanted.
//! What is read is believed by its digest alone, so it does not matter when it is read, nor who wrote it.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use failure::{Context, Result};

use super::Blob;
use crate::partial::Partial;
use crate::{Digest, Store};

/// How often what somebody else fetches is looked at.
const PAUSE: Duration = Duration::from_millis(3);

/// A blob that this pull has fetched for all: it stays for the others until this is dropped.
#[derive(Debug)]
pub struct Lent(Option<Partial>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(partial) = self.0.take() {
            // What stays is complete, and swept like any other partial blob.
            let _ = partial.discard();
        }
    }
}

/// The bytes of a blob of the store, of another pull, or of `fetch`, which is called by one of many at a time. Not
/// verified: a caller does so with all that it gets.
///
/// # Errors
/// Those of `fetch`, or the disk is full.
pub fn borrow_or_fetch(store: &Store, blob: &Blob, fetch: impl FnOnce() -> Result<Vec<u8>>) -> Result<(Vec<u8>, Lent)> {
    let nothing_held = |bytes| Ok((bytes, Lent(None)));
    let partial = loop {
        if store.has_blob(&blob.digest) {
            return nothing_held(store.read_blob(&blob.digest)?);
        }
        if let Some(bytes) = written_by_another(store, blob) {
            return nothing_held(bytes);
        }
        match Partial::claim(store, &blob.digest)? {
            Some(partial) => break Lent(Some(partial)),
            None => std::thread::sleep(PAUSE),
        }
    };
    // Whoever had it may have published it between the two looks.
    if store.has_blob(&blob.digest) {
        return nothing_held(store.read_blob(&blob.digest)?);
    }
    let bytes = fetch()?;
    if let Some(partial) = &partial.0 {
        partial.empty()?;
        partial.file.write_all_at(&bytes, 0).context("keep a blob for other pulls")?;
    }
    Ok((bytes, partial))
}

fn written_by_another(store: &Store, blob: &Blob) -> Option<Vec<u8>> {
    let path = store.partial_path(&blob.digest);
    let whole = std::fs::symlink_metadata(&path).is_ok_and(|file| file.is_file() && file.len() == blob.size);
    let bytes = whole.then(|| std::fs::read(&path).ok()).flatten()?;
    (Digest::of(&bytes) == blob.digest).then_some(bytes)
}
