//! What a container's root is made of: an image of the store, or one of three references that need none.
//!
//! | reference        | root filesystem                                                      | configuration |
//! |------------------|----------------------------------------------------------------------|---------------|
//! | `name`, id       | the image's layers                                                   | the image's   |
//! | `oci:PATH[:NAME]`| the same, loaded from an OCI layout directory first                   | the image's   |
//! | `rootfs:PATH`    | that directory, read-only below the container's layer                 | none          |
//! | `host:`          | this machine's root, read-only below the container's layer            | none          |
//!
//! `host:` shows the container what the host's files show its root user under the container's ids; the engine's own data
//! and /run are hidden.

use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use oci_spec::image::ImageConfiguration;
use store::{Image, Quiet};

use crate::config::{ConfigBase, ImageSource};
use crate::{Home, Request};

/// A resolved reference.
pub(crate) struct Source {
    pub(crate) image: ImageSource,
    pub(crate) configuration: Option<ImageConfiguration>,
    /// Keeps the image's layers from being deleted until the container refers to them.
    pub(crate) lock: Option<store::Lock>,
}

/// Finds what the request's image means.
pub(crate) fn resolve(home: &Home, request: &Request) -> Result<Source> {
    let text = request.image.as_str();
    if text == "host:" {
        return Ok(plain(text, ConfigBase::Host));
    }
    if let Some(path) = text.strip_prefix("rootfs:") {
        return Ok(plain(text, ConfigBase::Directory(directory(path)?)));
    }
    let store = home.store()?;
    let name = match text.strip_prefix("oci:") {
        Some(rest) => load(store, rest)?,
        None => text.to_owned(),
    };
    let lock = store.lock_shared()?;
    let image = store.resolve(&name)?;
    if let Some(platform) = &request.platform {
        check_platform(&image, platform, text)?;
    }
    let layers = image.layers.iter().map(|layer| layer.0.to_string()).collect();
    let source = ImageSource {
        reference: text.to_owned(),
        id: Some(image.id.to_string()),
        manifest: Some(image.manifest.to_string()),
        base: ConfigBase::Layers(layers),
    };
    Ok(Source { image: source, configuration: Some(image.config), lock: Some(lock) })
}

fn plain(reference: &str, base: ConfigBase) -> Source {
    let image = ImageSource { reference: reference.to_owned(), id: None, manifest: None, base };
    Source { image, configuration: None, lock: None }
}

fn directory(text: &str) -> Result<PathBuf> {
    let path = std::path::absolute(text).with_context(|| format!("look at the root filesystem `{text}`"))?;
    match path.is_dir() {
        true => Ok(path),
        false => {
            Err(Error::not_found(format!("`{text}` is no directory; `rootfs:` needs the path of a root filesystem")))
        }
    }
}

/// Loads `PATH[:NAME]` and returns the image's id. A path may hold colons, so the whole text is tried as one first.
fn load(store: &store::Store, text: &str) -> Result<String> {
    let (path, name) = match text.rsplit_once(':') {
        Some((path, name)) if !Path::new(text).is_dir() => (path, Some(name)),
        _ => (text, None),
    };
    let loaded = store::load_layout(store, Path::new(path), name, None, &mut Quiet)?;
    match loaded.as_slice() {
        [one] => Ok(one.id.to_string()),
        others => {
            Err(Error::invalid(format!("`oci:{text}` holds {} images; name one with `oci:{path}:NAME`", others.len())))
        }
    }
}

/// Whether an image is for `os[/architecture[/variant]]`.
fn check_platform(image: &Image, platform: &str, text: &str) -> Result<()> {
    let (os, architecture) = (image.config.os().to_string(), image.config.architecture().to_string());
    let mut parts = platform.split('/');
    let fits = parts.next() == Some(os.as_str()) && parts.next().is_none_or(|part| part == architecture);
    match fits {
        true => Ok(()),
        false => Err(Error::not_found(format!(
            "image `{text}` is for {os}/{architecture}, not {platform}; load one for that platform"
        ))),
    }
}
