//! Unpacked layers, and the blobs they came from.

use std::fs;
use std::path::{Path, PathBuf};

use failure::{Context, Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, XattrFlags, fsetxattr, openat, openat2, statat};

use crate::{ChainId, Digest, Store};

/// A layer of an image as its manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length.
    pub size: u64,
    /// The blob's media type.
    pub media_type: String,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
}

impl Store {
    /// Where a layer's files are: the lower directory of overlay mounts.
    pub fn layer_tree(&self, layer: &ChainId) -> PathBuf {
        self.layer_directory(layer).join("tree")
    }

    /// The directory that holds all layers: `<chain id hex>/tree` in it is a layer's files.
    pub fn layers_directory(&self) -> PathBuf {
        self.root().join("layers")
    }

    /// The directory that holds a layer's tree and size.
    pub fn layer_directory(&self, layer: &ChainId) -> PathBuf {
        self.layers_directory().join(layer.hex())
    }

    /// Whether a layer is unpacked here.
    pub fn has_layer(&self, layer: &ChainId) -> bool {
        statat(self.directory(), format!("layers/{}", layer.hex()), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The bytes of an unpacked layer's files.
    ///
    /// # Errors
    /// The layer is not here.
    pub fn layer_size(&self, layer: &ChainId) -> Result<u64> {
        self.layer_sizes(layer).map(|(files, _)| files)
    }

    /// The length of the uncompressed archive that a layer was unpacked from; none if that was not noted.
    ///
    /// # Errors
    /// The layer is not here.
    pub fn layer_archive_size(&self, layer: &ChainId) -> Result<Option<u64>> {
        self.layer_sizes(layer).map(|(_, archive)| archive)
    }

    fn layer_sizes(&self, layer: &ChainId) -> Result<(u64, Option<u64>)> {
        let path = self.layer_directory(layer).join("size");
        let text = fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        let number = |line: &str| line.parse().map_err(|_| Error::invalid(format!("`{}` is damaged", path.display())));
        let mut lines = text.lines();
        Ok((number(lines.next().unwrap_or_default())?, lines.next().map(number).transpose()?))
    }
}

/// Marks directories of a tree that was just unpacked as hiding what is below them. The names come from a process
/// that read hostile bytes: they are walked from the tree's root without following any link.
pub(crate) fn mark_opaque(tree: &Path, directories: &[Vec<u8>]) -> Result<()> {
    if directories.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let root = openat(CWD, tree, flags, Mode::empty()).context("open a layer")?;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    for path in directories {
        let mark = || {
            let directory = openat2(&root, path.as_slice(), flags, Mode::empty(), resolve)?;
            fsetxattr(&directory, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
        };
        mark().with_context(|| format!("mark directory `{}` as opaque", path.escape_ascii()))?;
    }
    Ok(())
}
