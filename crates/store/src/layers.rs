//! Unpacked layers, and the blobs they came from.

use std::path::PathBuf;

use failure::Result;

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
        rustix::fs::statat(self.directory(), format!("layers/{}", layer.0.hex()), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .is_ok()
    }

    /// The bytes of an unpacked layer's files.
    ///
    /// # Errors
    /// The layer is not here.
    pub fn layer_size(&self, layer: &ChainId) -> Result<u64> {
        let _ = layer;
        unimplemented!()
    }
}
