//! What a command has made but not published yet.
//!
//! ```text
//! leases/<random>/            flocked by its owner (and the owner's workers) while one of them lives
//! leases/<random>/blobs/<hex of digest, or a number>
//! leases/<random>/layers/<number>/{tree,size}
//! ```
//!
//! [`Staging::publish`] renames everything into place under the store's lock. Dropped without it, everything is
//! deleted; killed, the lock is free and [`Store::sweep`] deletes the rest.

use std::fs::File;
use std::path::PathBuf;

use failure::Result;

use crate::{ChainId, Digest, Name, Store};

/// A directory for work in progress.
#[derive(Debug)]
pub struct Staging<'a> {
    store: &'a Store,
}

/// A blob being staged: written and hashed at once.
#[derive(Debug)]
pub struct StagedBlob {
    /// Where it is until it is published.
    pub path: PathBuf,
    /// The open file.
    pub file: File,
}

impl<'a> Staging<'a> {
    /// Makes one.
    ///
    /// # Errors
    /// The disk is full, or the store is not writable.
    pub fn new(store: &'a Store) -> Result<Self> {
        Ok(Self { store })
    }

    /// The store this is for.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// Stages a small blob (a manifest, a configuration).
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&mut self, bytes: &[u8]) -> Result<Digest> {
        let _ = bytes;
        unimplemented!()
    }

    /// A new file for a blob whose digest is known only when it is complete: write it, then [`Staging::add_blob`].
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_blob(&mut self) -> Result<StagedBlob> {
        unimplemented!()
    }

    /// Says that `blob` is complete and what its digest is.
    pub fn add_blob(&mut self, digest: &Digest, blob: StagedBlob) {
        let _ = (digest, blob);
        unimplemented!()
    }

    /// A new directory for a layer; its files go into the directory `tree` in it, which is there already.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_layer(&mut self) -> Result<PathBuf> {
        unimplemented!()
    }

    /// Says that the layer in `directory` is complete, what it is, and how many bytes its files have.
    ///
    /// # Errors
    /// Its size cannot be written.
    pub fn add_layer(&mut self, layer: &ChainId, directory: PathBuf, size: u64) -> Result<()> {
        let _ = (layer, directory, size);
        unimplemented!()
    }

    /// Moves all into place, then adds `names` to index.json. Everything that the manifests need must be here or
    /// in the store; what was in the store before and is gone now is an error of kind `Busy`: try again.
    ///
    /// # Errors
    /// Something needed is gone, or the disk is full.
    pub fn publish(self, names: Vec<Name>) -> Result<()> {
        let _ = names;
        unimplemented!()
    }
}

impl Store {
    /// Deletes what commands that were killed have left. Cheap when there is nothing: one directory is listed.
    ///
    /// # Errors
    /// Something cannot be deleted; the rest was.
    pub fn sweep(&self) -> Result<()> {
        unimplemented!()
    }
}
