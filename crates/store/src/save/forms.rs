//! What is written in which order, and that it is what it is called.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use failure::{Context, Error, Result};
use serde_json::{Value, json};

use super::Chosen;
use super::target::Target;
use crate::documents::{OCI_INDEX, OCI_MANIFEST, Parts};
use crate::input::Prefixed;
use crate::jobs::{Inflating, inflate};
use crate::{ChainId, Compression, Digest, Hasher, Image, Layer, Store};

const BUFFER: usize = 256 << 10;

/// Images being written.
pub(super) struct Form<'a> {
    store: &'a Store,
    target: &'a mut dyn Target,
    written: HashSet<Digest>,
    buffer: Vec<u8>,
}

impl<'a> Form<'a> {
    pub(super) fn new(store: &'a Store, target: &'a mut dyn Target) -> Self {
        Self { store, target, written: HashSet::new(), buffer: vec![0; BUFFER] }
    }

    /// The form of `docker save`.
    pub(super) fn docker(&mut self, chosen: &[Chosen]) -> Result<()> {
        let mut manifest = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for Chosen { image, names } in chosen {
            let layers: Vec<String> = image.blobs.iter().map(layer_path).collect();
            let tags: Vec<String> = names.iter().map(ToString::to_string).collect();
            manifest.push(json!({"Config": config_path(image), "RepoTags": tags, "Layers": layers}));
            let top = image.blobs.last().map_or_else(String::new, |layer| layer.diff_id.hex());
            for name in names {
                let tags = repositories.entry(name.familiar_repository()).or_default();
                tags.insert(name.tag().unwrap_or("latest").to_owned(), top.clone());
            }
        }
        self.document("manifest.json", &Value::Array(manifest))?;
        self.document("repositories", &json!(repositories))?;
        for Chosen { image, .. } in chosen.iter().filter(|chosen| self.written.insert(chosen.image.id.0)) {
            let config = self.store.read_blob(&image.id.0)?;
            put(self.target, &config_path(image), &config)?;
        }
        for Chosen { image, .. } in chosen {
            for (layer, chain) in image.blobs.iter().zip(&image.layers) {
                self.uncompressed(layer, chain)?;
            }
        }
        Ok(())
    }

    /// An OCI layout. An index of images for several platforms stays one if all of it is here and no platform was
    /// chosen.
    pub(super) fn oci(&mut self, chosen: &[Chosen], one_platform: bool) -> Result<()> {
        self.document("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))?;
        let (mut entries, mut contents) = (Vec::new(), Contents::default());
        for Chosen { image, names } in chosen {
            let root = match image.target != image.manifest && !one_platform && self.is_whole(&image.target) {
                true => image.target,
                false => image.manifest,
            };
            self.gather(&root, &mut contents)?;
            let bytes = self.store.read_blob(&root)?;
            let mut entry = json!({"mediaType": media_type(&bytes), "digest": root.to_string(), "size": bytes.len()});
            if names.is_empty() {
                entries.push(entry.clone());
            }
            for name in names {
                let full = name.full();
                entry["annotations"] =
                    json!({"io.containerd.image.name": full, "org.opencontainers.image.ref.name": full});
                entries.push(entry.clone());
            }
        }
        self.document("index.json", &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))?;
        self.target.directory("blobs")?;
        self.target.directory("blobs/sha256")?;
        for digest in contents.documents.iter().chain(&contents.blobs) {
            self.blob(digest)?;
        }
        Ok(())
    }

    /// Whether everything that a document refers to is here.
    fn is_whole(&self, digest: &Digest) -> bool {
        let parts = self.store.read_blob(digest).and_then(|bytes| Parts::parse(&bytes, &digest.to_string()));
        parts.is_ok_and(|parts| {
            parts.manifests.iter().all(|manifest| self.is_whole(manifest))
                && parts.blobs.iter().all(|blob| self.store.has_blob(blob))
        })
    }

    /// Notes a document and all that it refers to.
    fn gather(&self, digest: &Digest, contents: &mut Contents) -> Result<()> {
        let parts = Parts::parse(&self.store.read_blob(digest)?, &digest.to_string())?;
        contents.documents.push(*digest);
        for manifest in &parts.manifests {
            self.gather(manifest, contents)?;
        }
        // The first is the configuration.
        let (config, layers) = parts.blobs.split_at(parts.blobs.len().min(1));
        contents.documents.extend(config);
        contents.blobs.extend(layers);
        Ok(())
    }

    fn document(&mut self, path: &str, document: &Value) -> Result<()> {
        put(self.target, path, document.to_string().as_bytes())
    }

    /// A blob as it is.
    fn blob(&mut self, digest: &Digest) -> Result<()> {
        if !self.written.insert(*digest) {
            return Ok(());
        }
        let file = self.store.open_blob(digest)?;
        let size = length_of(&file, digest)?;
        self.target.begin(&format!("blobs/sha256/{}", digest.hex()), size)?;
        self.verified(file, size, digest)
    }

    /// A layer's tar, whatever its blob is compressed with.
    fn uncompressed(&mut self, layer: &Layer, chain: &ChainId) -> Result<()> {
        if !self.written.insert(layer.diff_id) {
            return Ok(());
        }
        let failed = || format!("decompress layer `{}`", layer.digest);
        self.target.directory(&layer.diff_id.hex())?;
        let (Plain::As(file), size) = self.open(layer)? else {
            let noted = self.store.layer_archive_size(chain)?;
            let size = noted.map_or_else(|| self.count(layer), Ok)?;
            self.target.begin(&layer_path(layer), size)?;
            if let (Plain::Inflated(inflating), _) = self.open(layer)? {
                self.verified(&inflating.output, size, &layer.diff_id)?;
                inflating.finish().with_context(failed)?;
            }
            return Ok(());
        };
        self.target.begin(&layer_path(layer), size)?;
        self.verified(file, size, &layer.diff_id)
    }

    /// A layer's bytes without compression; how many, where that is known.
    fn open(&self, layer: &Layer) -> Result<(Plain, u64)> {
        use std::os::unix::fs::FileExt;
        let file = self.store.open_blob(&layer.digest)?;
        let mut first = [0; 6];
        let count = file.read_at(&mut first, 0).with_context(|| format!("read blob `{}`", layer.digest))?;
        match Compression::of_bytes(&first[..count])? {
            Compression::None => {
                let size = length_of(&file, &layer.digest)?;
                Ok((Plain::As(file), size))
            }
            compression => {
                let inflating = inflate(Prefixed::new(file)?, compression, self.store.directory().as_fd())?;
                Ok((Plain::Inflated(inflating), 0))
            }
        }
    }

    /// The length of a layer's tar, where it was not noted.
    fn count(&self, layer: &Layer) -> Result<u64> {
        let failed = || format!("decompress layer `{}`", layer.digest);
        let (Plain::Inflated(inflating), _) = self.open(layer)? else { return Ok(layer.size) };
        let size = io::copy(&mut &inflating.output, &mut io::sink()).with_context(failed)?;
        inflating.finish().with_context(failed)?;
        Ok(size)
    }

    /// Copies a file that was begun, and checks that it has the length and digest that it is known by.
    fn verified(&mut self, mut input: impl Read, size: u64, digest: &Digest) -> Result<()> {
        let failed = || format!("read blob `{digest}`");
        let (mut hasher, mut copied) = (Hasher::new(), 0);
        loop {
            let length = match input.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length.with_context(failed)?,
            };
            if length == 0 {
                break;
            }
            hasher.update(&self.buffer[..length]);
            self.target.data(&self.buffer[..length])?;
            copied += length as u64;
        }
        if copied != size || hasher.finish() != *digest {
            return Err(Error::internal(format!("blob `{digest}` is damaged; remove the image and load it again")));
        }
        Ok(())
    }
}

/// What a layout consists of, in its order.
#[derive(Default)]
struct Contents {
    documents: Vec<Digest>,
    blobs: Vec<Digest>,
}

/// A layer's tar.
enum Plain {
    /// The blob itself.
    As(File),
    /// What comes out of a decompressor.
    Inflated(Inflating),
}

fn put(target: &mut dyn Target, path: &str, bytes: &[u8]) -> Result<()> {
    target.begin(path, bytes.len() as u64)?;
    target.data(bytes)
}

fn length_of(file: &File, digest: &Digest) -> Result<u64> {
    file.metadata().map(|metadata| metadata.len()).with_context(|| format!("look at blob `{digest}`"))
}

fn config_path(image: &Image) -> String {
    format!("{}.json", image.id.0.hex())
}

fn layer_path(layer: &Layer) -> String {
    format!("{}/layer.tar", layer.diff_id.hex())
}

/// What a manifest or index says it is.
fn media_type(document: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(document).ok();
    let said = document.as_ref().and_then(|document| document["mediaType"].as_str());
    let shape = document.as_ref().and_then(|document| document.get("manifests"));
    said.unwrap_or(if shape.is_some() { OCI_INDEX } else { OCI_MANIFEST }).to_owned()
}
