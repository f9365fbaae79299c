//! The OCI image layout, as an archive or a directory: index.json lists images, blobs are named by their digests.
//!
//! Manifests and blobs are kept as they came, compressed or not. An index within the index is an image for several
//! platforms: of those, this machine's is taken. Blobs are looked up by digest alone; `urls` are never followed.

use failure::{Error, Result};

use crate::contents::Contents;
use crate::documents::{
    DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, Manifest, ManifestHead, OCI_INDEX, OCI_MANIFEST, parse, read_index,
};
use crate::ingest::{Expected, IncomingLayer, ingest};
use crate::names::NAME_ANNOTATION;
use crate::{Digest, ImageId, Loaded, Name, Platform, Progress, Reference, Staging};

pub(crate) const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
/// Where containerd and Docker keep the whole name, while the layout's own annotation has only the tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// An image whose documents were read and verified.
struct Described {
    digest: Digest,
    media_type: String,
    bytes: Vec<u8>,
    config: Vec<u8>,
    manifest: Manifest,
    name: Option<Reference>,
}

/// Which images of a layout are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// The one called so; all otherwise.
    pub(crate) name: Option<&'a str>,
    /// The one of several for this platform; this machine's otherwise.
    pub(crate) platform: Option<&'a Platform>,
}

/// Takes in the images of a layout.
pub(crate) fn load(
    staging: &mut Staging<'_>,
    contents: &Contents,
    wanted: Wanted<'_>,
    progress: &mut dyn Progress,
) -> Result<(Vec<Loaded>, Vec<Name>)> {
    let images = read(staging, contents, wanted)?;
    let layers: Vec<IncomingLayer> = images.iter().flat_map(layers_of).collect();
    let stored = ingest(staging, contents, &layers, progress)?;
    let mut sizes = stored.iter().map(|layer| layer.size);
    let (mut loaded, mut names) = (Vec::new(), Vec::new());
    for image in images {
        for layer in &image.manifest.layers {
            if sizes.next() != Some(layer.size) {
                return Err(Error::invalid(format!(
                    "blob `{}` is damaged: its manifest gives another size",
                    layer.digest
                )));
            }
        }
        let config = staging.put(&image.config)?;
        staging.put(&image.bytes)?;
        let size = image.bytes.len() as u64;
        names.push(Name::of_type(&image.media_type, image.digest, size, image.name.clone()));
        loaded.push(Loaded { id: ImageId(config), manifest: image.digest, names: image.name.into_iter().collect() });
    }
    Ok((loaded, names))
}

/// The layers that the layout's images need, and the paths of all; an error as long as documents are missing.
pub(crate) fn expected(staging: &Staging<'_>, contents: &Contents, wanted: Wanted<'_>) -> Result<Expected> {
    let layers: Vec<IncomingLayer> = read(staging, contents, wanted)?.iter().flat_map(layers_of).collect();
    let paths = layers.iter().map(|layer| layer.path.clone()).collect();
    let is_here = |layer: &IncomingLayer| {
        staging.has_layer(&layer.chain) && layer.digest.is_some_and(|digest| staging.has_blob(&digest))
    };
    Ok(Expected { needed: layers.into_iter().filter(|layer| !is_here(layer)).collect(), paths })
}

/// Reads the index and the documents of all images that are wanted.
fn read(staging: &Staging<'_>, contents: &Contents, wanted: Wanted<'_>) -> Result<Vec<Described>> {
    check_version(staging, contents)?;
    let index = read_index(&contents.document(INDEX, staging)?, INDEX)?;
    let chosen: Vec<Descriptor> =
        index.into_iter().filter(|entry| wanted.name.is_none_or(|name| is_called(entry, name))).collect();
    if chosen.is_empty() {
        let reason =
            wanted.name.map_or_else(|| "no images".to_owned(), |name| format!("no image `{}`", name.escape_debug()));
        return Err(Error::not_found(format!("{} has {reason}", contents.name())));
    }
    let mut images = Vec::new();
    for entry in &chosen {
        images.extend(describe(staging, contents, entry, wanted.platform)?);
    }
    match (images.is_empty(), wanted.platform) {
        (true, Some(platform)) => Err(Error::not_found(format!("{} has no image for `{platform}`", contents.name()))),
        _ => Ok(images),
    }
}

fn check_version(staging: &Staging<'_>, contents: &Contents) -> Result<()> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let layout = contents.document(LAYOUT, staging)?;
    let layout: Layout = parse(&layout, LAYOUT)?;
    match layout.image_layout_version.starts_with("1.") {
        true => Ok(()),
        false => Err(Error::unsupported(format!(
            "{} is an OCI layout of version `{}`; only version 1 is supported",
            contents.name(),
            layout.image_layout_version.escape_debug()
        ))),
    }
}

fn layers_of(image: &Described) -> Vec<IncomingLayer> {
    let pairs = image.manifest.layers.iter().zip(&image.manifest.chain);
    let one = |(layer, chain): (&crate::Layer, &crate::ChainId)| IncomingLayer {
        path: blob_path(&layer.digest),
        digest: Some(layer.digest),
        diff_id: layer.diff_id,
        chain: *chain,
    };
    pairs.map(one).collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The image behind an entry; none when it is for another platform than the one that was asked for.
fn describe(
    staging: &Staging<'_>,
    contents: &Contents,
    entry: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Option<Described>> {
    let bytes = blob(staging, contents, entry)?;
    match entry.media_type.as_str() {
        OCI_MANIFEST | DOCKER_MANIFEST => {
            let image = manifest(staging, contents, entry, bytes, name_of(entry)?)?;
            let config = &image.manifest.configuration;
            let variant = config.variant().as_deref();
            let own = Platform::new(&config.os().to_string(), &config.architecture().to_string(), variant);
            Ok(platform.is_none_or(|wanted| *wanted == own).then_some(image))
        }
        OCI_INDEX | DOCKER_INDEX => {
            let machine = Platform::of_this_machine();
            let wanted = platform.unwrap_or(&machine);
            let entries = read_index(&bytes, &entry.digest)?;
            let Some(mine) = entries.iter().find(|one| one.platform().as_ref() == Some(wanted)) else {
                return Err(Error::unsupported(format!("{} has no image for `{wanted}`", contents.name())));
            };
            if !matches!(mine.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST) {
                return Err(unknown_type(contents, mine));
            }
            let bytes = blob(staging, contents, mine)?;
            manifest(staging, contents, mine, bytes, name_of(entry)?).map(Some)
        }
        _ => Err(unknown_type(contents, entry)),
    }
}

fn unknown_type(contents: &Contents, entry: &Descriptor) -> Error {
    let kind = entry.media_type.escape_debug();
    Error::unsupported(format!("{} lists something of type `{kind}`, which is no image", contents.name()))
}

fn manifest(
    staging: &Staging<'_>,
    contents: &Contents,
    entry: &Descriptor,
    bytes: Vec<u8>,
    name: Option<Reference>,
) -> Result<Described> {
    let head = ManifestHead::parse(&bytes, &entry.digest)?;
    let (digest, size) = head.config()?;
    let config = verified(staging, contents, &digest, size)?;
    let manifest = head.with_configuration(&config, &digest.to_string())?;
    Ok(Described { digest: entry.digest()?, media_type: entry.media_type.clone(), bytes, config, manifest, name })
}

fn blob(staging: &Staging<'_>, contents: &Contents, entry: &Descriptor) -> Result<Vec<u8>> {
    verified(staging, contents, &entry.digest()?, entry.size)
}

/// A small blob; its length and digest are what the reference to it says.
fn verified(staging: &Staging<'_>, contents: &Contents, digest: &Digest, size: u64) -> Result<Vec<u8>> {
    let bytes = contents.document(&blob_path(digest), staging)?;
    if bytes.len() as u64 != size || Digest::of(&bytes) != *digest {
        return Err(Error::invalid(format!("blob `{digest}` of {} is damaged", contents.name())));
    }
    Ok(bytes)
}

/// The name that an entry gives. The layout's own annotation is only a tag with some tools (`latest`, `1.2`): such
/// an image stays without a name.
fn name_of(entry: &Descriptor) -> Result<Option<Reference>> {
    if let Some(name) = entry.annotation(CONTAINERD_NAME) {
        return Reference::parse(name).map(Some);
    }
    match entry.annotation(NAME_ANNOTATION) {
        Some(name) if !is_bare_tag(name) => Reference::parse(name).map(Some),
        _ => Ok(None),
    }
}

fn is_bare_tag(name: &str) -> bool {
    let version = name.strip_prefix('v').unwrap_or(name);
    let bare = !name.contains(['/', ':', '@']);
    name == "latest" || bare && (version.starts_with(|c: char| c.is_ascii_digit()) || Reference::parse(name).is_err())
}

/// Whether an entry has this name, as written or in full.
fn is_called(entry: &Descriptor, wanted: &str) -> bool {
    let full = Reference::parse(wanted).ok();
    [CONTAINERD_NAME, NAME_ANNOTATION]
        .iter()
        .filter_map(|key| entry.annotation(key))
        .any(|name| name == wanted || full.is_some() && Reference::parse(name).ok() == full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_alone_is_no_name() {
        for tag in ["latest", "1.2", "v2", "3", "A"] {
            assert!(is_bare_tag(tag), "{tag}");
        }
        for name in ["busybox", "a:latest", "docker.io/library/a:1"] {
            assert!(!is_bare_tag(name), "{name}");
        }
    }
}
