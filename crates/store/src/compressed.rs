//! Layers compressed for registries, kept so that the next push of the same layer has no work, and the same digest.
//!
//! ```text
//! <root>/compressed/<hex of an uncompressed blob>.gzip -> ../blobs/sha256/<hex of what it was compressed to>
//!                                                .zstd
//! ```
//!
//! The digest of an uncompressed blob is its layer's diff id. A link appears after its blob, by rename, under the store's
//! exclusive lock. What a link points to is needed by every image that needs the uncompressed blob: the garbage
//! collection keeps it as long, and takes the link with it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use failure::{Context, Result};

use crate::jobs::{Compressed, Form};
use crate::{Digest, Store};

const DIRECTORY: &str = "compressed";

impl Form {
    fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl Store {
    /// What the uncompressed blob `plain` was compressed to before: its digest and length.
    pub(crate) fn compressed(&self, plain: &Digest, form: Form) -> Option<(Digest, u64)> {
        let digest = target(&link(self, plain, form))?;
        let length = fs::metadata(self.blob_path(&digest)).ok()?.len();
        Some((digest, length))
    }

    /// Keeps what `plain` was compressed to.
    pub(crate) fn keep_compressed(&self, plain: &Digest, form: Form, compressed: &Compressed) -> Result<()> {
        let failed = || format!("keep the compressed layer `{}`", compressed.digest);
        let _lock = self.lock_exclusive()?;
        let directory = self.root().join(DIRECTORY);
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error).with_context(failed),
            _ => {}
        }
        fs::rename(&compressed.blob.path, self.blob_path(&compressed.digest)).with_context(failed)?;
        // Whoever was killed here left one link without a meaning.
        let new = directory.join(".new");
        let _ = fs::remove_file(&new);
        symlink(Path::new("../blobs/sha256").join(compressed.digest.hex()), &new).with_context(failed)?;
        fs::rename(&new, link(self, plain, form)).with_context(failed)
    }

    /// All that was compressed: which blobs were made of which uncompressed one.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub(crate) fn all_compressed(&self) -> Result<HashMap<Digest, Vec<Digest>>> {
        let mut all: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for (plain, path) in links(self)? {
            all.entry(plain).or_default().extend(target(&path));
        }
        Ok(all)
    }

    /// Deletes the links to blobs that are gone. The caller holds the lock exclusively.
    pub(crate) fn sweep_compressed(&self) -> Result<()> {
        for (_, path) in links(self)? {
            if target(&path).is_none_or(|digest| !self.has_blob(&digest)) {
                fs::remove_file(&path).with_context(|| format!("delete `{}`", path.display()))?;
            }
        }
        Ok(())
    }
}

fn link(store: &Store, plain: &Digest, form: Form) -> PathBuf {
    store.root().join(DIRECTORY).join(format!("{}.{}", plain.hex(), form.suffix()))
}

/// Where a link leads, if it leads to a blob.
fn target(link: &Path) -> Option<Digest> {
    let target = fs::read_link(link).ok()?;
    Digest::from_hex(target.file_name()?.to_str()?).ok()
}

/// All links with the uncompressed blobs that they are for.
fn links(store: &Store) -> Result<Vec<(Digest, PathBuf)>> {
    let directory = store.root().join(DIRECTORY);
    let failed = || format!("list `{}`", directory.display());
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(failed),
    };
    let mut links = Vec::new();
    for entry in entries {
        let path = entry.with_context(failed)?.path();
        let plain = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| Digest::from_hex(stem).ok());
        links.extend(plain.map(|plain| (plain, path)));
    }
    Ok(links)
}
