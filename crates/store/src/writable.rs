//! A container's writable layer, and how it goes away.

use std::path::Path;

use failure::Result;

use crate::Store;

/// Makes `layer` with its `upper` and `work` directories.
///
/// # Errors
/// It exists, or the disk is full.
pub fn create(layer: &Path) -> Result<()> {
    let _ = layer;
    unimplemented!()
}

/// Moves a directory of the store (a container, a volume) into the trash, at once and whatever its size: by rename.
/// [`sweep_trash`] deletes it later. Gone already is fine.
///
/// # Errors
/// It cannot be renamed.
pub fn discard(store: &Store, directory: &Path) -> Result<()> {
    let _ = (store, directory);
    unimplemented!()
}

/// Deletes what is in the trash. Several processes may do so at once.
///
/// # Errors
/// Something could not be deleted; the rest was.
pub fn sweep_trash(store: &Store) -> Result<()> {
    let _ = store;
    unimplemented!()
}

/// The bytes that a writable layer's files have (`docker ps --size`).
///
/// # Errors
/// It cannot be read.
pub fn size(layer: &Path) -> Result<u64> {
    let _ = layer;
    unimplemented!()
}
