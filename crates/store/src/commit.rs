//! A container's changes as a new image: `skep commit`.

use std::path::Path;

use failure::Result;

use crate::{ConfigChange, ConfigDocument, Image, ImageId, Reference, Store};

/// What to commit.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The image the container was made from; none for `rootfs:` and `host:`.
    pub base: Option<&'a Image>,
    /// The container's writable layer.
    pub writable: &'a Path,
    /// The new image's configuration before `changes`: the base's document with the container's settings. Its
    /// layers and history are the base's; commit adds one.
    pub config: ConfigDocument,
    /// `--change`.
    pub changes: &'a [ConfigChange],
    /// `--author`.
    pub author: &'a str,
    /// `--message`.
    pub message: &'a str,
    /// What the history says made the layer: the container's command.
    pub created_by: &'a str,
    /// The new image's name; without it the image has only an id.
    pub reference: Option<Reference>,
}

/// Makes the image. The container may go on running; pausing it while this reads is the caller's choice.
///
/// # Errors
/// The layer cannot be read, or the store is full.
pub fn commit(store: &Store, commit: Commit<'_>) -> Result<ImageId> {
    let _ = (store, commit);
    unimplemented!()
}
