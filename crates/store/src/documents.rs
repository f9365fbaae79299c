//! Manifests, read strictly. They come from strangers: every field that decides something is checked here, once.
//!
//! An OCI image manifest and a Docker one (schema 2) have the same shape. A document that has the fields of a
//! manifest *and* of an index means different images to different readers, and is refused (CVE-2021-41190). The
//! `urls` of foreign layers are never followed.

use std::collections::BTreeMap;

use failure::{Error, Result};
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::LARGEST_DOCUMENT;
use crate::{ChainId, Digest, Layer, Staging, Store};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
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
    pub(crate) platform: Option<Platform>,
}

/// What an image of an index runs on.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> Result<Digest> {
        if self.size > LARGEST_BLOB {
            return Err(Error::invalid(format!("blob `{}` is too large", self.digest.escape_debug())));
        }
        Digest::parse(&self.digest)
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
        if raw.schema_version != 2 || raw.manifests.is_some() || raw.fs_layers.is_some() {
            let reason = "it is ambiguous or of another version";
            return Err(Error::invalid(format!("`{name}` is not an image manifest: {reason}")));
        }
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
    const BASES: [&str; 4] = [
        OCI_LAYER,
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let suffix = BASES.iter().find_map(|base| media_type.strip_prefix(base));
    match suffix {
        Some("" | "+gzip" | ".gzip" | "+zstd" | ".zstd") => Ok(()),
        _ => Err(Error::unsupported(format!("`{name}` has a layer of type `{}`", media_type.escape_debug()))),
    }
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
