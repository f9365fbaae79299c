//! Blobs: content-addressed files under `blobs/sha256`, complete and verified since they are there.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use failure::{Context, Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};

use crate::config::LARGEST_DOCUMENT;
use crate::{Digest, Store};

impl Store {
    /// Where a blob's file is.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is here.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        statat(self.directory(), relative(digest), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// It is not here.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(self.directory(), relative(digest), flags, Mode::empty());
        file.map(File::from).with_context(|| format!("open blob `{digest}` of the store"))
    }

    /// Reads a small blob (a manifest, a configuration) whole and verifies it.
    ///
    /// # Errors
    /// It is not here, larger than 4 MB, or damaged.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        Self::read_document(self.open_blob(digest)?, digest)
    }

    /// Reads a small document and verifies it.
    pub(crate) fn read_document(file: File, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = read_bounded(file).with_context(|| format!("read `{digest}`"))?;
        if Digest::of(&bytes) != *digest {
            return Err(Error::invalid(format!("`{digest}` is damaged: its bytes have another digest")));
        }
        Ok(bytes)
    }
}

/// Reads at most 4 MB; more is an error.
pub(crate) fn read_bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    read_at_most(reader, LARGEST_DOCUMENT)
}

/// Reads at most so many bytes; more is an error.
pub(crate) fn read_at_most(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {} MB", limit >> 20)));
    }
    Ok(bytes)
}

fn relative(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
