//! Blobs: content-addressed files under `blobs/sha256`.

use std::fs::File;
use std::path::PathBuf;

use failure::Result;

use crate::{Digest, Store};

impl Store {
    /// Where a blob's file is.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is here.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        rustix::fs::statat(
            self.directory(),
            format!("blobs/sha256/{}", digest.hex()),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_ok()
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// It is not here.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let _ = digest;
        unimplemented!()
    }

    /// Reads a small blob (a manifest, a configuration) whole and verifies it.
    ///
    /// # Errors
    /// It is not here, larger than 4 MB, or damaged.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let _ = digest;
        unimplemented!()
    }
}
