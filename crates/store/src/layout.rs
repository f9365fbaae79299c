//! `oci:PATH[:NAME]`: images from an OCI layout directory.

use std::path::Path;

use failure::Result;

use crate::contents::Contents;
use crate::{Loaded, Progress, Staging, Store, oci};

/// Loads the image called `name` (or all, when `name` is none) from an OCI layout directory.
///
/// # Errors
/// The directory is no OCI layout, or damaged.
pub fn load_layout(
    store: &Store,
    directory: &Path,
    name: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<Vec<Loaded>> {
    store.sweep()?;
    let contents = Contents::of_directory(directory)?;
    let mut staging = Staging::new(store)?;
    let (loaded, names) = oci::load(&mut staging, &contents, name, progress)?;
    staging.publish(names)?;
    Ok(loaded)
}
