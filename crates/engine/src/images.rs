//! Images as commands handle them: the store's own use-cases, told which images containers need.

use std::io::Write;
use std::path::Path;

use failure::{Error, Result};
pub use store::collect::{Collected, InUse, Removed, User};
pub use store::save::{Format, Request as SaveRequest};
pub use store::{
    ChainId, ConfigChange, ConfigDocument, Digest, Image, ImageId, ImageSummary, Import, Input, Loaded, Platform,
    Progress, Quiet, Reference,
};

use crate::config::{ConfigBase, ContainerConfig};
use crate::{Home, image_mounts, list};

/// Loads all images of an archive, or those for a platform.
///
/// # Errors
/// A damaged or hostile archive, a full disk.
pub fn load(
    home: &Home,
    input: Input,
    platform: Option<&Platform>,
    progress: &mut dyn Progress,
) -> Result<Vec<Loaded>> {
    store::load_for(home.store()?, input, platform, progress)
}

/// Loads images from an OCI layout directory.
///
/// # Errors
/// No such layout.
pub fn load_layout(
    home: &Home,
    directory: &Path,
    name: Option<&str>,
    platform: Option<&Platform>,
    progress: &mut dyn Progress,
) -> Result<Vec<Loaded>> {
    store::load_layout(home.store()?, directory, name, platform, progress)
}

/// Makes an image of a root filesystem's archive.
///
/// # Errors
/// A damaged or hostile archive, a full disk.
pub fn import(home: &Home, import: Import, progress: &mut dyn Progress) -> Result<ImageId> {
    store::import(home.store()?, import, progress)
}

/// Writes images as one archive.
///
/// # Errors
/// No such image.
pub fn save(home: &Home, request: &SaveRequest, format: Format, output: &mut dyn Write) -> Result<()> {
    store::save::save(home.store()?, request, format, output)
}

/// Writes images as an OCI layout into a directory of its own.
///
/// # Errors
/// No such image; a directory that is not empty.
pub fn save_directory(home: &Home, request: &SaveRequest, directory: &Path) -> Result<()> {
    store::save::save_directory(home.store()?, request, directory)
}

/// All images, the newest first.
///
/// # Errors
/// A store that cannot be read.
pub fn images(home: &Home) -> Result<Vec<ImageSummary>> {
    home.store()?.images()
}

/// The image that is called so.
///
/// # Errors
/// None or more than one is.
pub fn image(home: &Home, text: &str) -> Result<Image> {
    home.store()?.resolve(text)
}

/// The image that is called so; of one for several platforms, that for `platform`.
///
/// # Errors
/// None or more than one is, or it is for other platforms.
pub fn image_for(home: &Home, text: &str, platform: Option<&Platform>) -> Result<Image> {
    let image = home.store()?.resolve_for(text, platform)?;
    // An id names one image, whatever platform it is for.
    let own = image.platform();
    match platform {
        Some(wanted) if *wanted != own => {
            Err(Error::not_found(format!("image `{text}` is for {own}, not for {wanted}")))
        }
        _ => Ok(image),
    }
}

/// Gives an image one more name.
///
/// # Errors
/// No such image, a bad name.
pub fn tag(home: &Home, source: &str, name: &str) -> Result<()> {
    home.store()?.tag(source, &Reference::parse(name)?)
}

/// Takes a name away, or the image with its last one.
///
/// # Errors
/// No such image, or a container uses it.
pub fn remove_image(home: &Home, text: &str, force: bool) -> Result<Vec<Removed>> {
    store::collect::remove(home.store()?, text, force, || in_use(home))
}

/// Deletes blobs and layers that nothing needs.
///
/// # Errors
/// A store that cannot be read.
pub fn collect(home: &Home) -> Result<Collected> {
    store::collect::collect(home.store()?, || in_use(home))
}

/// What containers and cut-off commands need of the store.
///
/// # Errors
/// Containers that cannot be listed.
pub fn in_use(home: &Home) -> Result<InUse> {
    let mut containers = Vec::new();
    for id in list::ids(home)? {
        let config = match ContainerConfig::read(home, &id) {
            Ok(config) => config,
            // A container that goes away meanwhile needs nothing; of one that cannot be read nobody knows what it needs.
            Err(_) if !home.container(&id).exists() => continue,
            Err(error) => return Err(error),
        };
        if let Some(user) = user(home, &config)? {
            containers.push(user);
        }
    }
    containers.extend(image_mounts::users(home)?);
    Ok(InUse { containers, resume_for: home.settings().map_or(store::RESUME_FOR, |settings| settings.resume_for) })
}

fn user(home: &Home, config: &ContainerConfig) -> Result<Option<User>> {
    let (Some(id), Some(manifest), ConfigBase::Layers(layers)) =
        (&config.image.id, &config.image.manifest, &config.image.base)
    else {
        return Ok(None);
    };
    let running = crate::state::observe(home, &config.id).is_ok_and(|(_, observed)| observed.is_running());
    Ok(Some(User {
        container: config.id.short().to_string(),
        running,
        manifest: Digest::parse(manifest)?,
        image: ImageId(Digest::parse(id)?),
        layers: crate::config::chain_ids(layers)?,
    }))
}
