//! Blobs on their way in, which outlive the command that fetches them.
//!
//! ```text
//! partial/<hex>       the first bytes of the blob with this digest, not verified; only appended to;
//!                     flocked by who fetches it. Renamed to blobs/sha256/<hex> when it is complete and verified
//! ```
//!
//! The flock is also what keeps two commands from doing the same work: whoever has it looks again what is missing. A
//! file that nobody holds stays for a while, for the command that goes on with it (see `collect`).

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use failure::{Context, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, ftruncate, mkdirat, openat};
use rustix::io::Errno;

use crate::{Digest, Lock, Store};

const DIRECTORY: &str = "partial";

/// A partial blob that is this command's to go on with.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: File,
    path: PathBuf,
}

impl Partial {
    /// Takes a blob's file, and makes it where there is none; none while somebody else has it.
    pub(crate) fn claim(store: &Store, digest: &Digest) -> Result<Option<Self>> {
        let path = store.partial_path(digest);
        let failed = || format!("open `{}`", path.display());
        loop {
            let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = match openat(store.directory(), &path, flags, Mode::from_raw_mode(0o600)) {
                Err(Errno::NOENT) => {
                    make_directory(store)?;
                    continue;
                }
                other => File::from(other.with_context(failed)?),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                other => other.with_context(failed)?,
            }
            // Whoever had it may have published or removed it since it was opened.
            let inode = |metadata: fs::Metadata| metadata.ino();
            if fs::metadata(&path).map(inode).ok() == Some(file.metadata().map(inode).with_context(failed)?) {
                return Ok(Some(Self { file, path }));
            }
        }
    }

    /// How much is there.
    pub(crate) fn length(&self) -> Result<u64> {
        let metadata = self.file.metadata().with_context(|| format!("look at `{}`", self.path.display()))?;
        Ok(metadata.len())
    }

    /// Throws away what is there, to begin anew.
    pub(crate) fn empty(&self) -> Result<()> {
        ftruncate(&self.file, 0).with_context(|| format!("empty `{}`", self.path.display()))
    }

    /// Whether it is still in its place, not published.
    pub(crate) fn is_left(&self) -> Result<bool> {
        self.path.try_exists().with_context(|| format!("look at `{}`", self.path.display()))
    }

    /// Throws it away.
    pub(crate) fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("delete `{}`", self.path.display()))
    }

    /// Puts it in its place: it is complete, and has this digest.
    pub(crate) fn publish(&self, store: &Store, digest: &Digest, _exclusive: &Lock) -> Result<()> {
        fs::rename(&self.path, store.blob_path(digest)).context("publish a blob")
    }
}

fn make_directory(store: &Store) -> Result<()> {
    match mkdirat(store.directory(), DIRECTORY, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("make `{}`", store.root().join(DIRECTORY).display())),
    }
}

impl Store {
    /// Where a blob is while it is being fetched.
    pub fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.root().join(DIRECTORY).join(digest.hex())
    }
}
