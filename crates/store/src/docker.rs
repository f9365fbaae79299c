//! The form of `docker save`: manifest.json names, for each image, its configuration, layers and tags.
//!
//! ```text
//! [ { "Config": "<hex>.json", "RepoTags": ["busybox:latest"], "Layers": ["<hex>/layer.tar", ...] }, ... ]
//! ```
//!
//! The configuration is kept to the byte, so that the image's id is Docker's. Layers are not compressed as a rule;
//! then their digests are the diff ids that the configuration gives. An OCI manifest is made for each image.

use failure::{Error, Result};
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;

use crate::contents::Contents;
use crate::documents::{diff_ids, manifest_bytes, parse};
use crate::ingest::{IncomingLayer, ingest};
use crate::{ChainId, Digest, ImageId, Layer, Loaded, Name, Progress, Reference, Staging};

pub(crate) const MANIFEST: &str = "manifest.json";
/// The most images that one archive may have.
const MOST_IMAGES: usize = 1000;
/// The most names that one archive may give: each is read again by every later command.
const MOST_NAMES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image whose configuration was read.
struct Described {
    config: Vec<u8>,
    names: Vec<Reference>,
    layers: Vec<IncomingLayer>,
}

/// Takes in all images of an archive.
pub(crate) fn load(
    staging: &mut Staging<'_>,
    contents: &Contents,
    progress: &mut dyn Progress,
) -> Result<(Vec<Loaded>, Vec<Name>)> {
    let bytes = contents.document(MANIFEST, staging)?;
    let raw: Vec<RawImage> = parse(&bytes, MANIFEST)?;
    if raw.is_empty() || raw.len() > MOST_IMAGES {
        return Err(Error::invalid(format!("{} has no images, or more than {MOST_IMAGES}", contents.name())));
    }
    if raw.iter().flat_map(|image| &image.repo_tags).map(Vec::len).sum::<usize>() > MOST_NAMES {
        return Err(Error::invalid(format!("{} gives more than {MOST_NAMES} names", contents.name())));
    }
    let images = raw.into_iter().map(|image| describe(staging, contents, image)).collect::<Result<Vec<_>>>()?;
    let layers: Vec<IncomingLayer> = images.iter().flat_map(|image| image.layers.iter().cloned()).collect();
    let mut stored = ingest(staging, contents, &layers, progress)?.into_iter();
    let (mut loaded, mut names) = (Vec::new(), Vec::new());
    for image in images {
        let layers: Vec<Layer> = stored.by_ref().take(image.layers.len()).collect();
        let config = staging.put(&image.config)?;
        let manifest = manifest_bytes(&config, image.config.len() as u64, &layers);
        let digest = staging.put(&manifest)?;
        names.extend(entries(digest, manifest.len() as u64, &image.names));
        loaded.push(Loaded { id: ImageId(config), manifest: digest, names: image.names });
    }
    Ok((loaded, names))
}

/// An entry of index.json for each name, or one without.
fn entries(manifest: Digest, size: u64, names: &[Reference]) -> Vec<Name> {
    match names {
        [] => vec![Name::new(manifest, size, None)],
        names => names.iter().map(|name| Name::new(manifest, size, Some(name.clone()))).collect(),
    }
}

fn describe(staging: &Staging<'_>, contents: &Contents, image: RawImage) -> Result<Described> {
    let path = normal(&image.config);
    let config = contents.document(path, staging)?;
    check_config_name(path, &config)?;
    let configuration: ImageConfiguration = parse(&config, path)?;
    let diff_ids = diff_ids(&configuration)?;
    if diff_ids.len() != image.layers.len() {
        let (one, other) = (image.layers.len(), diff_ids.len());
        return Err(Error::invalid(format!("`{MANIFEST}` has {one} layers for an image of {other}")));
    }
    let names = image.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| Reference::parse(name)).collect::<Result<Vec<_>>>()?;
    let chain = ChainId::chain(&diff_ids);
    let mut layers = Vec::with_capacity(diff_ids.len());
    for ((path, diff_id), chain) in image.layers.iter().zip(diff_ids).zip(chain) {
        let path = normal(path).to_owned();
        let digest = (!contents.is_compressed(&path, staging)?).then_some(diff_id);
        layers.push(IncomingLayer { path, digest, diff_id, chain });
    }
    Ok(Described { config, names, layers })
}

/// A configuration that is called by a digest has that digest.
fn check_config_name(path: &str, config: &[u8]) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match Digest::from_hex(name.trim_end_matches(".json")) {
        Ok(digest) if digest != Digest::of(config) => {
            Err(Error::invalid(format!("`{path}` is damaged: its bytes have another digest")))
        }
        _ => Ok(()),
    }
}

fn normal(path: &str) -> &str {
    path.trim_start_matches("./")
}
