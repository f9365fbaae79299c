//! `oci:PATH[:NAME]`: images from an OCI layout directory.

use std::path::Path;

use failure::Result;

use crate::contents::Contents;
use crate::oci::{self, Wanted};
use crate::{Loaded, Platform, Progress, Staging, Store};

/// Loads the image called `name` (or all, when `name` is none) from an OCI layout directory; of one for several
/// platforms, that for `platform` (or this machine's).
///
/// # Errors
/// The directory is no OCI layout, or damaged.
pub fn load_layout(
    store: &Store,
    directory: &Path,
    name: Option<&str>,
    platform: Option<&Platform>,
    progress: &mut dyn Progress,
) -> Result<Vec<Loaded>> {
    store.sweep()?;
    let contents = Contents::of_directory(directory)?;
    let mut staging = Staging::new(store)?;
    let (loaded, names) = oci::load(&mut staging, &contents, Wanted { name, platform }, progress)?;
    staging.publish(names)?;
    Ok(loaded)
}
