//! `oci:PATH[:NAME]`: images from an OCI layout directory.

use std::path::Path;

use failure::Result;

use crate::{Loaded, Progress, Store};

/// Loads the image called `name` (or the only one, or all when `name` is none) from an OCI layout directory.
///
/// # Errors
/// The directory is no OCI layout, or damaged.
pub fn load_layout(
    store: &Store,
    directory: &Path,
    name: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<Vec<Loaded>> {
    let _ = (store, directory, name, progress);
    unimplemented!()
}
