//! `load`: images from a docker-archive or an OCI archive, told apart by what is in them.

use failure::{Error, Result};

use crate::contents::Contents;
use crate::oci::{self, Wanted};
use crate::{Digest, ImageId, Input, Platform, Progress, Reference, Staging, Store, docker};

/// An image that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// Its manifest.
    pub manifest: Digest,
    /// The names it has now.
    pub names: Vec<Reference>,
}

/// Loads all images of an archive. Either all are in the store when it returns, or nothing is.
///
/// # Errors
/// The archive is damaged, hostile or not an image archive; the disk is full.
pub fn load(store: &Store, input: Input, progress: &mut dyn Progress) -> Result<Vec<Loaded>> {
    load_for(store, input, None, progress)
}

/// The same for images of one platform only.
///
/// # Errors
/// As [`load`]; or no image is for that platform.
pub fn load_for(
    store: &Store,
    input: Input,
    platform: Option<&Platform>,
    progress: &mut dyn Progress,
) -> Result<Vec<Loaded>> {
    store.sweep()?;
    let (file, name) = input.open()?;
    let mut staging = Staging::new(store)?;
    let contents = Contents::of_archive(file, name, &mut staging, platform, progress)?;
    // Docker writes both forms into one archive since version 25; its own names the configuration that is the id.
    let (loaded, names) = if contents.has(docker::MANIFEST) {
        docker::load(&mut staging, &contents, platform, progress)
    } else if contents.has(oci::LAYOUT) {
        oci::load(&mut staging, &contents, Wanted { name: None, platform }, progress)
    } else {
        let hint = "it has neither manifest.json nor oci-layout; a root filesystem comes in with `skep import`";
        Err(Error::invalid(format!("{} is not an image archive: {hint}", contents.name())))
    }?;
    staging.publish(names)?;
    Ok(loaded)
}
