//! `import`: an image of one layer from the tar of a root filesystem.

use failure::Result;

use crate::{ConfigChange, ImageId, Input, Progress, Reference, Store};

/// What to import.
#[derive(Debug)]
pub struct Import {
    /// The tar, plain or compressed.
    pub input: Input,
    /// Changes to the configuration.
    pub changes: Vec<ConfigChange>,
    /// The comment in the history.
    pub message: Option<String>,
    /// The name to give it.
    pub reference: Option<Reference>,
}

/// Makes an image of one layer.
///
/// # Errors
/// The archive is damaged or hostile, or the disk is full.
pub fn import(store: &Store, import: Import, progress: &mut dyn Progress) -> Result<ImageId> {
    let _ = (store, import, progress);
    unimplemented!()
}
