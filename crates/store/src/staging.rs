//! What a command has made but not published yet.
//!
//! ```text
//! leases/<random>.lock        flocked by its owner (and the owner's processes) while one of them lives
//! leases/<random>/            everything that the owner makes; the lock is made before it and removed after it
//! leases/<random>/b<number>   a blob
//! leases/<random>/l<number>/  a layer: tree/ and size
//! leases/<random>/needs       what of the store the owner needs (see `leases`)
//! ```
//!
//! [`Staging::publish`] renames everything into place under the store's lock. Dropped without it, everything is
//! deleted; if the owner is killed, the lock is free, and the next command's [`Store::sweep`] deletes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use failure::{Context, Error, Kind, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::documents::{Manifest, Parts};
use crate::jobs::UnpackedLayer;
use crate::layers::mark_opaque;
use crate::leases::remove_tree;
use crate::{ChainId, Digest, Lock, Name, Store};

/// A directory for work in progress.
#[derive(Debug)]
pub struct Staging<'a> {
    store: &'a Store,
    directory: PathBuf,
    lock_path: PathBuf,
    lock: File,
    blobs: BTreeMap<Digest, PathBuf>,
    layers: BTreeMap<ChainId, PathBuf>,
    next: u32,
}

/// A blob being staged.
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
        let leases = store.root().join("leases");
        let failed = || format!("make a lease in `{}`", leases.display());
        loop {
            let mut random = [0_u8; 8];
            getrandom(&mut random, GetRandomFlags::empty()).with_context(failed)?;
            let name = format!("{:016x}", u64::from_ne_bytes(random));
            let lock_path = leases.join(format!("{name}.lock"));
            let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock_path);
            let lock = lock.with_context(failed)?;
            // A sweep may have come in between, and taken the lock or even removed the file: then another name.
            let ours = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if !ours || lock.metadata().with_context(failed)?.nlink() == 0 {
                continue;
            }
            let directory = leases.join(name);
            let made = DirBuilder::new().mode(0o700).create(&directory);
            let staging =
                Self { store, directory, lock_path, lock, blobs: BTreeMap::new(), layers: BTreeMap::new(), next: 0 };
            return made.map(|()| staging).with_context(failed);
        }
    }

    /// The store this is for.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// Where all of it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What a process must keep open that works on what is staged.
    pub(crate) fn lease(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Stages a small blob (a manifest, a configuration).
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&mut self, bytes: &[u8]) -> Result<Digest> {
        use std::io::Write;
        let digest = Digest::of(bytes);
        if !self.has_blob(&digest) {
            let mut blob = self.new_blob()?;
            blob.file.write_all(bytes).context("store a blob")?;
            self.add_blob(&digest, blob);
        }
        Ok(digest)
    }

    /// A new file for a blob whose digest is known only when it is complete: write it, then [`Staging::add_blob`].
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_blob(&mut self) -> Result<StagedBlob> {
        let path = self.directory.join(format!("b{}", self.next));
        self.next += 1;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        Ok(StagedBlob { file: file.context("store a blob")?, path })
    }

    /// Says that `blob` is complete and what its digest is. Another one with that digest stays as it is.
    pub fn add_blob(&mut self, digest: &Digest, blob: StagedBlob) {
        if self.blobs.contains_key(digest) {
            let _ = fs::remove_file(&blob.path);
            return;
        }
        self.blobs.insert(*digest, blob.path);
    }

    /// Whether a blob is staged or in the store.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest) || self.store.has_blob(digest)
    }

    /// Opens a blob that is staged or in the store.
    ///
    /// # Errors
    /// It is in neither.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        match self.blobs.get(digest) {
            Some(path) => File::open(path).with_context(|| format!("open blob `{digest}`")),
            None => self.store.open_blob(digest),
        }
    }

    /// A new directory for a layer; its files go into the directory `tree` in it, which is there already.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_layer(&mut self) -> Result<PathBuf> {
        let directory = self.directory.join(format!("l{}", self.next));
        self.next += 1;
        DirBuilder::new().mode(0o700).create(&directory).context("make a layer")?;
        let tree = directory.join("tree");
        DirBuilder::new().mode(0o755).create(&tree).context("make a layer")?;
        // The umask is the caller's; a container's root directory is not its business.
        fs::set_permissions(&tree, std::os::unix::fs::PermissionsExt::from_mode(0o755)).context("make a layer")?;
        Ok(directory)
    }

    /// Says that the layer in `directory` is complete, what it is, and what its unpacker said.
    ///
    /// # Errors
    /// Its size cannot be written.
    pub(crate) fn add_layer(&mut self, layer: &ChainId, directory: PathBuf, unpacked: &UnpackedLayer) -> Result<()> {
        mark_opaque(&directory.join("tree"), &unpacked.opaque)?;
        let sizes = format!("{}\n{}\n", unpacked.bytes, unpacked.length);
        fs::write(directory.join("size"), sizes).context("make a layer")?;
        self.layers.insert(*layer, directory);
        Ok(())
    }

    /// Moves one layer into place before all else is there: it must be needed (see `leases`).
    pub(crate) fn publish_layer(&mut self, layer: &ChainId, _exclusive: &Lock) -> Result<()> {
        match self.layers.remove(layer) {
            Some(directory) => rename_into(&directory, &self.store.layer_directory(layer)).context("publish a layer"),
            None => Ok(()),
        }
    }

    /// Whether a layer is staged here.
    pub(crate) fn stages_layer(&self, layer: &ChainId) -> bool {
        self.layers.contains_key(layer)
    }

    /// Whether a layer is staged or in the store.
    pub fn has_layer(&self, layer: &ChainId) -> bool {
        self.layers.contains_key(layer) || self.store.has_layer(layer)
    }

    /// Moves all into place, then adds `names` to index.json. Everything that the manifests need must be here or
    /// in the store; what was in the store before and is gone now is an error of kind `Busy`: try again.
    ///
    /// # Errors
    /// Something needed is gone, or the disk is full.
    pub fn publish(self, names: Vec<Name>) -> Result<()> {
        let lock = self.store.lock_exclusive()?;
        let mut needed = BTreeSet::new();
        for name in &names {
            self.check(&name.target, &mut needed)?;
        }
        // An archive may have had files that no image needs.
        for (digest, path) in self.blobs.iter().filter(|(digest, _)| needed.contains(*digest)) {
            rename_into(path, &self.store.blob_path(digest)).context("publish a blob")?;
        }
        for (layer, directory) in &self.layers {
            rename_into(directory, &self.store.layer_directory(layer)).context("publish a layer")?;
        }
        let mut all = self.store.names()?;
        for name in names {
            all.set(name);
        }
        self.store.write_names(&all, &lock)
    }

    /// Whether all that a manifest or index needs will be in the store. Somebody may have removed what was there.
    fn check(&self, target: &Digest, needed: &mut BTreeSet<Digest>) -> Result<()> {
        let gone = || {
            let message = "a layer that the image shares was removed at the same time; run the command again";
            Err(Error::new(Kind::Busy, message))
        };
        if !self.has_blob(target) {
            return gone();
        }
        needed.insert(*target);
        let bytes = Store::read_document(self.open_blob(target)?, target)?;
        let parts = Parts::parse(&bytes, &target.to_string())?;
        for child in parts.manifests.iter().filter(|child| self.has_blob(child)) {
            self.check(child, needed)?;
        }
        if parts.blobs.iter().any(|blob| !self.has_blob(blob)) {
            return gone();
        }
        needed.extend(parts.blobs);
        if parts.is_image && Manifest::read(self, target)?.chain.iter().any(|layer| !self.has_layer(layer)) {
            return gone();
        }
        Ok(())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // What cannot be deleted now is swept later: the lock file stays then.
        if remove_tree(&self.directory).is_ok() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

/// Content-addressed: if it is there already, it is the same.
fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        other => other,
    }
}
