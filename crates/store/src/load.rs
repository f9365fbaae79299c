//! `load`: images from a docker-archive or an OCI archive.

use failure::Result;

use crate::{ImageId, Input, Progress, Reference, Store};

/// An image that came in.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// The names it has now.
    pub names: Vec<Reference>,
}

/// Loads all images of an archive. Either all are in the store when it returns, or nothing is.
///
/// # Errors
/// The archive is damaged, hostile or not an image archive; the disk is full.
pub fn load(store: &Store, input: Input, progress: &mut dyn Progress) -> Result<Vec<Loaded>> {
    let _ = (store, input, progress);
    unimplemented!()
}
