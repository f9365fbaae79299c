//! Manifests, read strictly. They come from strangers: every field that decides something is checked here, once.
//!
//! An OCI image manifest and a Docker one (schema 2) have the same shape. A document that has the fields of a
//! manifest *and* of an index means different images to different readers, and is refused (CVE-2021-41190). The
//! `urls` of foreign layers are never followed.
//!
//! ```text
//! name -> index -> manifest of a platform -> configuration, layers      [`Target::Index`]: some may not be here
//! name ----------> manifest ---------------> configuration, layers      [`Target::Manifest`]
//! name ----------> manifest ---------------> blobs                      an artifact: kept and passed on, never run
//! ```

use std::collections::BTreeMap;

use failure::{Error, Result};
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::LARGEST_DOCUMENT;
use crate::pull::Blob;
use crate::{ChainId, Digest, Layer, Platform, Staging, Store};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The kernel stacks at most 500 layers.
const MOST_LAYERS: usize = 500;
/// The most entries of an index.
const MOST_MANIFESTS: usize = 1000;
/// The largest blob: what a file can be.
const LARGEST_BLOB: u64 = 1 << 43;

/// A reference from one document to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Clone, Debug, Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> Result<Digest> {
        if self.size > LARGEST_BLOB {
            return Err(Error::invalid(format!("blob `{}` is too large", self.digest.escape_debug())));
        }
        Digest::parse(&self.digest)
    }

    /// What the image runs on, where the index says so.
    pub(crate) fn platform(&self) -> Option<Platform> {
        let raw = self.platform.as_ref()?;
        Some(Platform::new(&raw.os, &raw.architecture, raw.variant.as_deref()))
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u32,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Option<Value>,
    #[serde(default)]
    fs_layers: Option<Value>,
}

impl RawManifest {
    fn check_shape(&self, name: &str) -> Result<()> {
        if self.schema_version != 2 || self.manifests.is_some() || self.fs_layers.is_some() {
            let reason = "it is ambiguous or of another version";
            return Err(Error::invalid(format!("`{name}` is not an image manifest: {reason}")));
        }
        Ok(())
    }

    /// Whether it is an image: an artifact has another kind of configuration, an attestation other layers.
    fn is_image(&self) -> bool {
        matches!(self.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG)
            && self.layers.iter().all(|layer| is_layer_type(&layer.media_type))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawIndex {
    schema_version: u32,
    manifests: Vec<Descriptor>,
    #[serde(default)]
    layers: Option<Value>,
    #[serde(default)]
    config: Option<Value>,
}

/// Reads an index: what it lists.
pub(crate) fn read_index(bytes: &[u8], name: &str) -> Result<Vec<Descriptor>> {
    let index: RawIndex = parse(bytes, name)?;
    if index.schema_version != 2 || index.layers.is_some() || index.config.is_some() {
        return Err(Error::invalid(format!("`{name}` is not an image index: it is ambiguous or of another version")));
    }
    if index.manifests.len() > MOST_MANIFESTS {
        return Err(Error::invalid(format!("`{name}` lists more than {MOST_MANIFESTS} images")));
    }
    Ok(index.manifests)
}

/// What a name refers to.
#[derive(Debug)]
pub(crate) enum Target {
    /// One image.
    Manifest,
    /// An image for each of several platforms.
    Index(Vec<Descriptor>),
}

impl Target {
    /// Tells by the fields that it has which of the two a document is, whatever it calls itself.
    pub(crate) fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Shape {
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = parse(bytes, name)?;
        match shape.manifests {
            Some(_) => read_index(bytes, name).map(Self::Index),
            None => Ok(Self::Manifest),
        }
    }
}

/// All that a document refers to, image or not: what has to be kept with it.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Manifests, of an index.
    pub(crate) manifests: Vec<Digest>,
    /// Blobs, of a manifest.
    pub(crate) blobs: Vec<Digest>,
    /// Whether it is a manifest whose layers are those of a file system.
    pub(crate) is_image: bool,
}

impl Parts {
    /// Reads a manifest or index.
    pub(crate) fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        if let Target::Index(entries) = Target::parse(bytes, name)? {
            let manifests = entries.iter().map(Descriptor::digest).collect::<Result<_>>()?;
            return Ok(Self { manifests, ..Self::default() });
        }
        let raw: RawManifest = parse(bytes, name)?;
        raw.check_shape(name)?;
        let is_image = raw.is_image();
        let blobs = std::iter::once(&raw.config).chain(&raw.layers).map(Descriptor::digest).collect::<Result<_>>()?;
        Ok(Self { blobs, is_image, ..Self::default() })
    }
}

/// The configuration and the layers of a manifest, whatever they are.
pub(crate) fn blobs_of(bytes: &[u8], name: &str) -> Result<Vec<Blob>> {
    let raw: RawManifest = parse(bytes, name)?;
    raw.check_shape(name)?;
    let blob = |one: &Descriptor| Ok(Blob { digest: one.digest()?, size: one.size });
    std::iter::once(&raw.config).chain(&raw.layers).map(blob).collect()
}

/// Reads JSON that must have a certain shape.
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], name: &str) -> Result<T> {
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        return Err(Error::invalid(format!("`{name}` is larger than 4 MB")));
    }
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("`{name}` is damaged")).with_source(error))
}

/// A manifest with its configuration: all that an image is made of.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// The configuration's digest.
    pub(crate) config: Digest,
    /// The configuration, read.
    pub(crate) configuration: ImageConfiguration,
    /// The layers' blobs, bottom first.
    pub(crate) layers: Vec<Layer>,
    /// The layers unpacked, bottom first.
    pub(crate) chain: Vec<ChainId>,
}

/// A manifest alone: its configuration is not read yet.
#[derive(Debug)]
pub(crate) struct ManifestHead {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl ManifestHead {
    /// Reads a manifest's bytes. `name` is what to call it in messages.
    pub(crate) fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let raw: RawManifest = parse(bytes, name)?;
        raw.check_shape(name)?;
        if !matches!(raw.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            let kind = raw.config.media_type.escape_debug();
            return Err(Error::unsupported(format!("`{name}` is not a container image but `{kind}`")));
        }
        if raw.layers.len() > MOST_LAYERS {
            return Err(Error::unsupported(format!("`{name}` has more than {MOST_LAYERS} layers")));
        }
        for layer in &raw.layers {
            check_layer_type(&layer.media_type, name)?;
        }
        Ok(Self { config: raw.config, layers: raw.layers })
    }

    /// The configuration's digest and length.
    pub(crate) fn config(&self) -> Result<(Digest, u64)> {
        Ok((self.config.digest()?, self.config.size))
    }

    /// Joins it with its configuration.
    pub(crate) fn with_configuration(self, bytes: &[u8], name: &str) -> Result<Manifest> {
        let configuration: ImageConfiguration = parse(bytes, name)?;
        let diff_ids = diff_ids(&configuration)?;
        if diff_ids.len() != self.layers.len() {
            let (one, other) = (self.layers.len(), diff_ids.len());
            return Err(Error::invalid(format!("`{name}`: the manifest has {one} layers, the configuration {other}")));
        }
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (descriptor, diff_id) in self.layers.into_iter().zip(&diff_ids) {
            let digest = descriptor.digest()?;
            layers.push(Layer { digest, size: descriptor.size, media_type: descriptor.media_type, diff_id: *diff_id });
        }
        Ok(Manifest { config: self.config.digest()?, configuration, layers, chain: ChainId::chain(&diff_ids) })
    }
}

impl Manifest {
    /// Reads a manifest and its configuration, staged or stored.
    pub(crate) fn read(staging: &Staging<'_>, digest: &Digest) -> Result<Self> {
        let read = |digest: &Digest| Store::read_document(staging.open_blob(digest)?, digest);
        Self::read_by(read, digest)
    }

    /// Reads a manifest and its configuration through `read`, which verifies them.
    pub(crate) fn read_by(read: impl Fn(&Digest) -> Result<Vec<u8>>, digest: &Digest) -> Result<Self> {
        let head = ManifestHead::parse(&read(digest)?, &digest.to_string())?;
        let (config, _) = head.config()?;
        head.with_configuration(&read(&config)?, &config.to_string())
    }
}

/// The diff ids of a configuration, checked.
pub(crate) fn diff_ids(configuration: &ImageConfiguration) -> Result<Vec<Digest>> {
    let rootfs = configuration.rootfs();
    if rootfs.typ() != "layers" || rootfs.diff_ids().len() > MOST_LAYERS {
        return Err(Error::unsupported(format!(
            "the image's root filesystem is not a list of at most {MOST_LAYERS} layers"
        )));
    }
    rootfs.diff_ids().iter().map(|text| Digest::parse(text)).collect()
}

/// The media type of a layer that is stored as it came.
pub(crate) fn layer_type(compression: crate::Compression) -> String {
    match compression {
        crate::Compression::None => OCI_LAYER.to_owned(),
        crate::Compression::Gzip => format!("{OCI_LAYER}+gzip"),
        crate::Compression::Zstd => format!("{OCI_LAYER}+zstd"),
    }
}

/// Whether layers of this type are uncompressed, and may be passed on.
pub(crate) fn is_plain_layer(media_type: &str) -> bool {
    matches!(media_type, OCI_LAYER | "application/vnd.docker.image.rootfs.diff.tar")
}

/// The bytes of an OCI manifest for these layers.
pub(crate) fn manifest_bytes(config: &Digest, config_size: u64, layers: &[Layer]) -> Vec<u8> {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| json!({"mediaType": layer.media_type, "digest": layer.digest.to_string(), "size": layer.size}))
        .collect();
    let config = json!({"mediaType": OCI_CONFIG, "digest": config.to_string(), "size": config_size});
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
    manifest.to_string().into_bytes()
}

fn check_layer_type(media_type: &str, name: &str) -> Result<()> {
    match is_layer_type(media_type) {
        true => Ok(()),
        false => Err(Error::unsupported(format!("`{name}` has a layer of type `{}`", media_type.escape_debug()))),
    }
}

/// Whether it is a file system's changes, compressed in a way that is known or not at all.
fn is_layer_type(media_type: &str) -> bool {
    const BASES: [&str; 4] = [
        OCI_LAYER,
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let suffix = BASES.iter().find_map(|base| media_type.strip_prefix(base));
    matches!(suffix, Some("" | "+gzip" | ".gzip" | "+zstd" | ".zstd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(extra: &str) -> String {
        let digest = Digest::of(b"");
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{OCI_CONFIG}","digest":"{digest}","size":2}},"layers":[]{extra}}}"#
        )
    }

    #[test]
    fn a_manifest_that_is_an_index_too_is_refused() {
        assert!(ManifestHead::parse(manifest("").as_bytes(), "m").is_ok());
        assert!(ManifestHead::parse(manifest(r#","manifests":[]"#).as_bytes(), "m").is_err());
        assert!(read_index(br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "i").is_err());
        for ambiguous in
            [manifest(r#","manifests":[]"#).as_bytes(), br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#]
        {
            assert!(Parts::parse(ambiguous, "a").is_err());
        }
    }

    #[test]
    fn an_artifact_has_parts_but_is_no_image() {
        let artifact = manifest("").replace(OCI_CONFIG, "application/vnd.oci.empty.v1+json");
        let parts = Parts::parse(artifact.as_bytes(), "a").unwrap();
        assert_eq!((parts.blobs.len(), parts.is_image), (1, false));
        assert!(Parts::parse(manifest("").as_bytes(), "m").unwrap().is_image);
        assert!(ManifestHead::parse(artifact.as_bytes(), "a").is_err());
    }

    #[test]
    fn unknown_types_are_refused() {
        let layer = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"sha256:00","size":1}}"#);
        let with = |kind: &str| manifest("").replace("[]", &format!("[{}]", layer(kind)));
        assert!(ManifestHead::parse(with("application/vnd.oci.image.layer.v1.tar+gzip").as_bytes(), "m").is_ok());
        assert!(ManifestHead::parse(with("application/vnd.oci.image.layer.v1.tar+xz").as_bytes(), "m").is_err());
        assert!(ManifestHead::parse(with("text/plain").as_bytes(), "m").is_err());
    }
}
