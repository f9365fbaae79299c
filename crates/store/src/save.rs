//! Images out of the store: `skep save`.
//!
//! ```text
//! docker-archive                              oci-archive, oci-dir
//!   manifest.json        names, paths           oci-layout
//!   repositories         names again            index.json          names as annotations
//!   <config hex>.json                           blobs/sha256/<hex>  manifests and configurations
//!   <diff id hex>/layer.tar  uncompressed       blobs/sha256/<hex>  layers as they are in the store
//! ```
//!
//! Documents come before layers, so that whoever reads the stream knows what a layer is before its first byte, and may
//! pass over what it has. Nothing is written but the output: a tar says how long a member is before its bytes, and how
//! long a compressed layer becomes was noted when it was unpacked. What a blob says it is, is verified on the way
//! out. Archives depend on the images alone: saving twice gives the same bytes.

mod forms;
mod target;

use std::io::Write;
use std::path::Path;

use failure::{Context, Error, Result};

use self::forms::Form;
use self::target::{ArchiveTarget, DirectoryTarget};
use crate::{Image, Platform, Reference, Store};

/// What an archive looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// What `docker save` writes: manifest.json, repositories, one uncompressed tar a layer.
    #[default]
    DockerArchive,
    /// An OCI image layout in a tar, blobs as they are.
    OciArchive,
}

/// What to save.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Names and ids.
    pub names: Vec<String>,
    /// Which image of several platforms; this machine's otherwise.
    pub platform: Option<Platform>,
}

/// Writes images as one archive. Streams; nothing is held in memory but documents.
///
/// # Errors
/// An image does not exist, or the output cannot be written.
pub fn save(store: &Store, request: &Request, format: Format, output: &mut dyn Write) -> Result<()> {
    let chosen = choose(store, request)?;
    let mut target = ArchiveTarget::new(output);
    let mut form = Form::new(store, &mut target);
    match format {
        Format::DockerArchive => form.docker(&chosen)?,
        Format::OciArchive => form.oci(&chosen, request.platform.is_some())?,
    }
    target.finish()
}

/// Writes images as an OCI layout into the directory `path`, which is empty or not there yet. It appears whole.
///
/// # Errors
/// An image does not exist, or the directory has something in it or cannot be made.
pub fn save_directory(store: &Store, request: &Request, path: &Path) -> Result<()> {
    let chosen = choose(store, request)?;
    let mut target = DirectoryTarget::new(path)?;
    Form::new(store, &mut target).oci(&chosen, request.platform.is_some())?;
    target.finish()
}

/// An image to save, with the names it was asked for by.
struct Chosen {
    image: Image,
    names: Vec<Reference>,
}

/// The images that the names mean, each once. A name without a tag means all tags; an id brings no name along.
fn choose(store: &Store, request: &Request) -> Result<Vec<Chosen>> {
    let index = store.names()?;
    let platform = request.platform.as_ref();
    let mut chosen: Vec<Chosen> = Vec::new();
    for text in &request.names {
        let reference = Reference::parse(text).ok();
        let tags: Vec<Reference> = match &reference {
            Some(reference) if !has_tag(text) => {
                let all = index.entries().iter().filter_map(|entry| entry.reference.clone());
                all.filter(|name| (name.host(), name.path()) == (reference.host(), reference.path())).collect()
            }
            Some(reference) => index.find(reference).and_then(|entry| entry.reference.clone()).into_iter().collect(),
            None => Vec::new(),
        };
        if tags.is_empty() {
            add(&mut chosen, store.resolve_for(text, platform)?, None);
        }
        for name in tags {
            let image = store.resolve_for(&name.full(), platform).with_context(|| format!("save `{name}`"))?;
            add(&mut chosen, image, Some(name));
        }
    }
    match chosen.is_empty() {
        true => Err(Error::invalid("there is nothing to save; name an image")),
        false => Ok(chosen),
    }
}

fn add(chosen: &mut Vec<Chosen>, image: Image, name: Option<Reference>) {
    let at = chosen.iter().position(|other| other.image.manifest == image.manifest).unwrap_or_else(|| {
        chosen.push(Chosen { image, names: Vec::new() });
        chosen.len() - 1
    });
    if let Some(name) = name
        && !chosen[at].names.contains(&name)
    {
        chosen[at].names.push(name);
    }
}

/// Whether a name says which tag or digest it means.
fn has_tag(text: &str) -> bool {
    text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'))
}
