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
use crate::ingest::{Expected, IncomingLayer, ingest};
use crate::known::{Known, KnownImage};
use crate::{ChainId, Digest, ImageId, Layer, Loaded, Name, Platform, Progress, Reference, Staging};

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
    what: What,
}

/// How much of an image is here.
enum What {
    /// All.
    Known(KnownImage),
    /// Some of its layers, perhaps.
    New(Vec<Part>),
}

/// A layer of a new image.
enum Part {
    /// It is here.
    Stored(Layer),
    /// It is in the archive.
    Coming(IncomingLayer),
}

/// Takes in all images of an archive, or those for a platform.
pub(crate) fn load(
    staging: &mut Staging<'_>,
    contents: &Contents,
    platform: Option<&Platform>,
    progress: &mut dyn Progress,
) -> Result<(Vec<Loaded>, Vec<Name>)> {
    let mut images = read(staging, contents, platform)?;
    let mut coming = Vec::new();
    for part in images.iter_mut().flat_map(Described::parts) {
        match part {
            Part::Stored(layer) => progress.present(&layer.diff_id),
            Part::Coming(layer) => {
                layer.digest = (!contents.is_compressed(&layer.path, staging)?).then_some(layer.diff_id);
                coming.push(layer.clone());
            }
        }
    }
    let mut ingested = ingest(staging, contents, &coming, progress)?.into_iter();
    let (mut loaded, mut names) = (Vec::new(), Vec::new());
    for image in images {
        let id = ImageId(Digest::of(&image.config));
        let manifest = match image.what {
            What::Known(known) => {
                names.extend(image.names.iter().map(|name| known.named(name)));
                known.manifest
            }
            What::New(parts) => {
                let layers = parts.into_iter().filter_map(|part| match part {
                    Part::Stored(layer) => Some(layer),
                    Part::Coming(_) => ingested.next(),
                });
                let layers: Vec<Layer> = layers.collect();
                let config = staging.put(&image.config)?;
                let manifest = manifest_bytes(&config, image.config.len() as u64, &layers);
                let digest = staging.put(&manifest)?;
                names.extend(entries(digest, manifest.len() as u64, &image.names));
                digest
            }
        };
        loaded.push(Loaded { id, manifest, names: image.names });
    }
    Ok((loaded, names))
}

/// The layers that the archive's images need, and the paths of those that none of them does; an error as long as
/// documents are missing.
pub(crate) fn expected(staging: &Staging<'_>, contents: &Contents, platform: Option<&Platform>) -> Result<Expected> {
    let mut expected = Expected::default();
    for mut image in read(staging, contents, platform)? {
        for part in image.parts() {
            if let Part::Coming(layer) = part {
                expected.needed.push(layer.clone());
            }
        }
    }
    let raw: Vec<RawImage> = parse(&contents.document(MANIFEST, staging)?, MANIFEST)?;
    expected.paths = raw.iter().flat_map(|image| &image.layers).map(|path| normal(path).to_owned()).collect();
    Ok(expected)
}

fn list(bytes: &[u8], name: &str) -> Result<Vec<RawImage>> {
    let raw: Vec<RawImage> = parse(bytes, MANIFEST)?;
    if raw.is_empty() || raw.len() > MOST_IMAGES {
        return Err(Error::invalid(format!("{name} has no images, or more than {MOST_IMAGES}")));
    }
    if raw.iter().flat_map(|image| &image.repo_tags).map(Vec::len).sum::<usize>() > MOST_NAMES {
        return Err(Error::invalid(format!("{name} gives more than {MOST_NAMES} names")));
    }
    Ok(raw)
}

/// Whether the bytes are a manifest.json, and its tags names.
pub(crate) fn check(bytes: &[u8]) -> Result<()> {
    for image in list(bytes, MANIFEST)? {
        for tag in image.repo_tags.unwrap_or_default() {
            Reference::parse(&tag)?;
        }
    }
    Ok(())
}

/// Reads manifest.json and all configurations.
fn read(staging: &Staging<'_>, contents: &Contents, platform: Option<&Platform>) -> Result<Vec<Described>> {
    let bytes = contents.document(MANIFEST, staging)?;
    let raw = list(&bytes, contents.name())?;
    let known = Known::new(staging.store());
    let mut images = Vec::new();
    for image in raw {
        images.extend(describe(staging, contents, image, &known, platform)?);
    }
    match (images.is_empty(), platform) {
        (true, Some(platform)) => Err(Error::not_found(format!("{} has no image for `{platform}`", contents.name()))),
        _ => Ok(images),
    }
}

/// An entry of index.json for each name, or one without.
fn entries(manifest: Digest, size: u64, names: &[Reference]) -> Vec<Name> {
    match names {
        [] => vec![Name::new(manifest, size, None)],
        names => names.iter().map(|name| Name::new(manifest, size, Some(name.clone()))).collect(),
    }
}

impl Described {
    fn parts(&mut self) -> &mut [Part] {
        match &mut self.what {
            What::Known(_) => &mut [],
            What::New(parts) => parts,
        }
    }
}

/// An image's documents; none if it is for another platform.
fn describe(
    staging: &Staging<'_>,
    contents: &Contents,
    image: RawImage,
    known: &Known<'_>,
    platform: Option<&Platform>,
) -> Result<Option<Described>> {
    let path = normal(&image.config);
    let config = contents.document(path, staging)?;
    check_config_name(path, &config)?;
    let configuration: ImageConfiguration = parse(&config, path)?;
    let variant = configuration.variant().as_deref();
    let own = Platform::new(&configuration.os().to_string(), &configuration.architecture().to_string(), variant);
    if platform.is_some_and(|wanted| *wanted != own) {
        return Ok(None);
    }
    let diff_ids = diff_ids(&configuration)?;
    if diff_ids.len() != image.layers.len() {
        let (one, other) = (image.layers.len(), diff_ids.len());
        return Err(Error::invalid(format!("`{MANIFEST}` has {one} layers for an image of {other}")));
    }
    let names = image.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| Reference::parse(name)).collect::<Result<Vec<_>>>()?;
    let chain = ChainId::chain(&diff_ids);
    if let Some(image) = known.image(&ImageId(Digest::of(&config)), &chain) {
        return Ok(Some(Described { config, names, what: What::Known(image.clone()) }));
    }
    let parts =
        image.layers.iter().zip(diff_ids).zip(chain).map(|((path, diff_id), chain)| match known.layer(&chain) {
            Some(layer) => Part::Stored(layer.clone()),
            None => Part::Coming(IncomingLayer { path: normal(path).to_owned(), digest: None, diff_id, chain }),
        });
    let parts = parts.collect();
    Ok(Some(Described { config, names, what: What::New(parts) }))
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
