//! What goes when an image goes: `skep rmi`, `image prune`, and the garbage collection below both.

use std::collections::HashSet;

use failure::Result;

use crate::{ChainId, Digest, ImageId, Reference, Store};

/// What containers still need: handed in, since the store knows no containers.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Which container uses which image: (container's short id or name, whether it runs, its image's manifest).
    pub containers: Vec<User>,
}

/// A container that uses an image.
#[derive(Clone, Debug)]
pub struct User {
    /// What to call it in a message.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
    /// The manifest of its image.
    pub manifest: Digest,
    /// The image's id.
    pub image: ImageId,
    /// The layers it is mounted from.
    pub layers: Vec<ChainId>,
}

/// One line of `skep rmi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// `Untagged: NAME`
    Untagged(Reference),
    /// `Deleted: sha256:...`
    Deleted(Digest),
}

/// `rmi TEXT`: takes a name away, or the image with its last one.
///
/// # Errors
/// There is no such image, or it is used and `force` is not given.
pub fn remove(store: &Store, text: &str, force: bool, in_use: &InUse) -> Result<Vec<Removed>> {
    let _ = (store, text, force, in_use);
    unimplemented!()
}

/// What a collection freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that went.
    pub blobs: Vec<Digest>,
    /// Layers that went.
    pub layers: Vec<ChainId>,
    /// Bytes they had.
    pub bytes: u64,
}

/// Deletes all blobs and layers that no name, no container and no lease needs.
///
/// # Errors
/// The store cannot be read; nothing is deleted then.
pub fn collect(store: &Store, in_use: &InUse) -> Result<Collected> {
    let _ = (store, in_use);
    unimplemented!()
}

/// The pure part: everything reachable from `roots` through `references`.
pub fn mark<T: Copy + Eq + std::hash::Hash>(
    roots: impl IntoIterator<Item = T>,
    mut references: impl FnMut(T) -> Result<Vec<T>>,
) -> Result<HashSet<T>> {
    let mut seen = HashSet::new();
    let mut waiting: Vec<T> = roots.into_iter().collect();
    while let Some(node) = waiting.pop() {
        if seen.insert(node) {
            waiting.extend(references(node)?);
        }
    }
    Ok(seen)
}
