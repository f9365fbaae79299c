//! The store's tree, and who may change what.
//!
//! ```text
//! <root>/oci-layout, index.json, blobs/sha256/<hex>   an OCI image layout; names are annotations in index.json
//! <root>/layers/<chain id hex>/tree/                  an unpacked layer, never written again
//! <root>/layers/<chain id hex>/size                   two lines in decimal: the bytes of its files, and of the
//!                                                     uncompressed archive that they came in
//! <root>/compressed/                                  layers compressed for registries (see `compressed`)
//! <root>/skeleton/                                   mount points below every image (see `overlay`)
//! <root>/leases/<random>/                             what a running command stages (see `staging`) and needs (`leases`)
//! <root>/partial/<hex>                                blobs being fetched, each under its own flock (see `partial`)
//! <root>/collected                                    when garbage was last collected (see `collect`)
//! <root>/catalog.json                                what the list of images needs of each; derived (see `catalog`)
//! <root>/lock                                         flock: the only lock of the store
//! ```
//!
//! Blobs and layers appear by rename, complete and verified, and never change. The lock is held
//! - exclusively by whoever publishes (renames of staged blobs and layers, then index.json) or collects garbage, so
//!   that nothing is deleted between the moment it was seen and the moment something refers to it;
//! - shared by whoever makes a container refer to an image, from `resolve` until its configuration is written;
//! - by nobody while data is copied, hashed or unpacked, nor for reading.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use failure::{Context, Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat, statat};
use rustix::io::Errno;

/// What hostile input may cost before it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The bytes of data that one layer may unpack to.
    pub layer_bytes: u64,
    /// The entries that one layer may have.
    pub layer_entries: u64,
    /// The bytes that must stay free on the store's file system.
    pub keep_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layer_bytes: 64 << 30, layer_entries: 4 << 20, keep_free: 64 << 20 }
    }
}

/// An opened store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    directory: OwnedFd,
    limits: Limits,
}

/// The store's lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as this descriptor")] File);

impl Store {
    /// Opens the store at `root`, and makes the tree where it is missing.
    ///
    /// # Errors
    /// The directory cannot be made or opened.
    pub fn open(root: &Path) -> Result<Self> {
        let directory = match openat(CWD, root, DIRECTORY, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => {
                make_root(root)?;
                openat(CWD, root, DIRECTORY, Mode::empty()).with_context(|| cannot_open(root))?
            }
            Err(error) => return Err(error).with_context(|| cannot_open(root)),
        };
        let store = Self { root: root.to_owned(), directory, limits: Limits::default() };
        match statat(&store.directory, "oci-layout", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::NOENT) => store.make_tree()?,
            Err(error) => return Err(error).with_context(|| cannot_open(root)),
        }
        Ok(store)
    }

    /// The same store with other limits for what comes in.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The limits for what comes in.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's directory, open.
    pub fn directory(&self) -> impl AsFd + '_ {
        &self.directory
    }

    /// Takes the lock for publishing or collecting; waits for it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn lock_exclusive(&self) -> Result<Lock> {
        self.lock(FlockOperation::LockExclusive)
    }

    /// Takes the lock for referring to what is there; waits for it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub fn lock_shared(&self) -> Result<Lock> {
        self.lock(FlockOperation::LockShared)
    }

    /// Takes the lock as [`Store::lock_exclusive`], or nothing when somebody holds it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub(crate) fn try_lock_exclusive(&self) -> Result<Option<Lock>> {
        match self.lock(FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error.kind() == Kind::Busy => Ok(None),
            other => other.map(Some),
        }
    }

    fn lock(&self, operation: FlockOperation) -> Result<Lock> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.directory, "lock", flags, Mode::from_raw_mode(0o600))
            .with_context(|| format!("open the lock of the store `{}`", self.root.display()))?;
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Lock(File::from(file))),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Err(Error::new(Kind::Busy, "the store is being changed")),
                Err(error) => return Err(error).with_context(|| format!("lock the store `{}`", self.root.display())),
            }
        }
    }

    /// Makes the layout's directories and, last, the file that marks it complete. Two commands may do so at once.
    fn make_tree(&self) -> Result<()> {
        let failed = || format!("make the store `{}`", self.root.display());
        // An image's setuid programs and device nodes lie below: nobody else may reach them.
        rustix::fs::fchmod(&self.directory, Mode::RWXU).with_context(failed)?;
        for name in ["blobs", "blobs/sha256", "layers", "leases", "partial"] {
            match mkdirat(&self.directory, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).with_context(failed),
            }
        }
        self.spread_leases();
        let _lock = self.lock_exclusive()?;
        if matches!(statat(&self.directory, "index.json", AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
            self.replace_file("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)?;
        }
        self.write_layout()
    }

    /// Asks ext4 to put each lease, and with it the layers that are unpacked there, into a part of the disk of its own
    /// (`chattr +T`). Beside its siblings, a new layer would look for inodes where the last one was deleted: each
    /// of the thousands that were freed in the last minutes is passed over again for every new file, which makes a pull after
    /// a removal several times as slow (fs/ext4/ialloc.c: `recently_deleted`). Other file systems know no such flag.
    fn spread_leases(&self) {
        let spread = || -> rustix::io::Result<()> {
            let leases = openat(&self.directory, "leases", DIRECTORY, Mode::empty())?;
            let flags = rustix::fs::ioctl_getflags(&leases)?;
            rustix::fs::ioctl_setflags(&leases, flags | rustix::fs::IFlags::TOPDIR)
        };
        // It is about speed alone.
        let _ = spread();
    }

    /// Writes the file that marks the layout complete. The caller holds the lock exclusively.
    pub(crate) fn write_layout(&self) -> Result<()> {
        self.replace_file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    /// Replaces a small file at the root by write, fdatasync and rename. The caller holds the lock exclusively, so
    /// one temporary name is enough, and a crash leaves at most that one file.
    pub(crate) fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.replace(name, bytes, |file| rustix::fs::fdatasync(file))
    }

    /// The same for a file that can be made again, so that nobody waits for the disk.
    pub(crate) fn replace_derived(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.replace(name, bytes, |_| Ok(()))
    }

    fn replace(&self, name: &str, bytes: &[u8], settle: fn(&OwnedFd) -> rustix::io::Result<()>) -> Result<()> {
        let temporary = format!(".{name}.new");
        let write = || -> rustix::io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = openat(&self.directory, &temporary, flags, Mode::from_raw_mode(0o600))?;
            let mut rest = bytes;
            while !rest.is_empty() {
                let written = rustix::io::write(&file, rest)?;
                rest = &rest[written..];
            }
            settle(&file)?;
            rustix::fs::renameat(&self.directory, &temporary, &self.directory, name)
        };
        write().with_context(|| format!("write `{}`", self.root.join(name).display()))
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn make_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .with_context(|| format!("make the store `{}`", root.display()))
}

fn cannot_open(root: &Path) -> String {
    format!("open the store `{}`", root.display())
}
