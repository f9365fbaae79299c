//! Images out of the store, as archives: `skep save`.
//!
//! ```text
//! docker-archive                              oci-archive
//!   <config hex>.json                           oci-layout
//!   <diff id hex>/layer.tar  uncompressed       index.json          names as annotations
//!   manifest.json            names, paths       blobs/sha256/<hex>  as they are in the store
//!   repositories             names again
//! ```
//!
//! A tar says how long a member is before its bytes, and a compressed layer does not know how long it will be: so the
//! docker-archive's layers are decompressed into an unnamed file first. What a blob says it is, is verified on the
//! way out. Archives depend on the images alone: saving twice gives the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use failure::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use crate::documents::{OCI_INDEX, OCI_MANIFEST};
use crate::input::decompress;
use crate::tarball::{Kind, Member, Writer};
use crate::{Compression, Digest, Hasher, Image, Layer, Reference, Store};

const BUFFER: usize = 256 << 10;

/// The archive's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// What `docker save` writes: manifest.json, repositories, one uncompressed tar a layer.
    #[default]
    DockerArchive,
    /// An OCI image layout in a tar, blobs as they are.
    OciArchive,
}

/// Writes the images called `names` as one archive. Streams; nothing is held in memory but documents.
///
/// # Errors
/// An image does not exist, or the output cannot be written.
pub fn save(store: &Store, names: &[String], format: Format, output: &mut dyn Write) -> Result<()> {
    let chosen = choose(store, names)?;
    let mut archive = Archive { store, writer: Writer::new(output), written: HashSet::new() };
    match format {
        Format::DockerArchive => archive.docker(&chosen)?,
        Format::OciArchive => archive.oci(&chosen)?,
    }
    archive.writer.finish().with_context(cannot_write)
}

/// An image to save, with the names it was asked for by.
struct Chosen {
    image: Image,
    names: Vec<Reference>,
}

/// The images that the names mean, each once. A name without a tag means all tags; an id brings no name along.
fn choose(store: &Store, names: &[String]) -> Result<Vec<Chosen>> {
    let index = store.names()?;
    let mut chosen: Vec<Chosen> = Vec::new();
    for text in names {
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
            add(&mut chosen, store.resolve(text)?, None);
        }
        for name in tags {
            let entry = index.find(&name).ok_or_else(|| Error::not_found(format!("no such image: `{name}`")))?;
            add(&mut chosen, store.image(&entry.target)?, Some(name));
        }
    }
    Ok(chosen)
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

/// The archive being written.
struct Archive<'a, 'o> {
    store: &'a Store,
    writer: Writer<'o>,
    written: HashSet<Digest>,
}

impl Archive<'_, '_> {
    fn docker(&mut self, chosen: &[Chosen]) -> Result<()> {
        let mut manifest = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for Chosen { image, names } in chosen {
            let config = self.store.read_blob(&image.id.0)?;
            let config_path = format!("{}.json", image.id.0.hex());
            self.file(&config_path, &config, image.id.0)?;
            for layer in &image.blobs {
                self.uncompressed(layer)?;
            }
            let layers: Vec<String> = image.blobs.iter().map(layer_path).collect();
            let tags: Vec<String> = names.iter().map(ToString::to_string).collect();
            manifest.push(json!({"Config": config_path, "RepoTags": tags, "Layers": layers}));
            let top = image.blobs.last().map_or_else(String::new, |layer| layer.diff_id.hex());
            for name in names {
                let tags = repositories.entry(name.familiar_repository()).or_default();
                tags.insert(name.tag().unwrap_or("latest").to_owned(), top.clone());
            }
        }
        self.document("manifest.json", &Value::Array(manifest))?;
        self.document("repositories", &json!(repositories))
    }

    fn oci(&mut self, chosen: &[Chosen]) -> Result<()> {
        self.document("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))?;
        self.directory("blobs")?;
        self.directory("blobs/sha256")?;
        let mut manifests = Vec::new();
        for Chosen { image, names } in chosen {
            let bytes = self.store.read_blob(&image.manifest)?;
            let media_type = media_type(&bytes);
            let descriptor = |annotations: Value| {
                let digest = image.manifest.to_string();
                let mut object = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
                if annotations != Value::Null {
                    object["annotations"] = annotations;
                }
                object
            };
            for name in names {
                let full = name.full();
                let names = json!({"io.containerd.image.name": full, "org.opencontainers.image.ref.name": full});
                manifests.push(descriptor(names));
            }
            if names.is_empty() {
                manifests.push(descriptor(Value::Null));
            }
            for layer in &image.blobs {
                self.blob(&layer.digest)?;
            }
            self.blob(&image.id.0)?;
            self.blob(&image.manifest)?;
        }
        self.document("index.json", &json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}))
    }

    fn document(&mut self, path: &str, document: &Value) -> Result<()> {
        self.writer.file(path, document.to_string().as_bytes(), 0).with_context(cannot_write)
    }

    fn file(&mut self, path: &str, contents: &[u8], digest: Digest) -> Result<()> {
        if self.written.insert(digest) {
            self.writer.file(path, contents, 0).with_context(cannot_write)?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        let member = Member { kind: Kind::Directory, mode: 0o755, ..Member::plain(path, 0, 0) };
        self.writer.member(&member).with_context(cannot_write)
    }

    /// A blob as it is.
    fn blob(&mut self, digest: &Digest) -> Result<()> {
        if !self.written.insert(*digest) {
            return Ok(());
        }
        let file = self.store.open_blob(digest)?;
        self.verified(&format!("blobs/sha256/{}", digest.hex()), file, digest)
    }

    /// A layer's tar, whatever its blob is compressed with.
    fn uncompressed(&mut self, layer: &Layer) -> Result<()> {
        if !self.written.insert(layer.diff_id) {
            return Ok(());
        }
        let mut blob = BufReader::with_capacity(BUFFER, self.store.open_blob(&layer.digest)?);
        let file = match Compression::of(&mut blob)? {
            Compression::None => {
                let mut file = blob.into_inner();
                file.seek(SeekFrom::Start(0)).context("read a blob")?;
                file
            }
            compression => {
                let mut file = self.unnamed_file()?;
                let failed = || format!("decompress layer `{}`", layer.digest);
                io::copy(&mut decompress(blob, compression)?, &mut file).with_context(failed)?;
                file.seek(SeekFrom::Start(0)).with_context(failed)?;
                file
            }
        };
        self.directory(&layer.diff_id.hex())?;
        self.verified(&layer_path(layer), file, &layer.diff_id)
    }

    fn unnamed_file(&self) -> Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::openat(self.store.directory(), "leases", flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .context("make a temporary file in the store")
    }

    /// Copies a file into the archive, and checks that it has the digest that it is known by.
    fn verified(&mut self, path: &str, mut file: File, digest: &Digest) -> Result<()> {
        let failed = || format!("read blob `{digest}`");
        let size = file.metadata().with_context(failed)?.len();
        self.writer.member(&Member::plain(path, size, 0)).with_context(cannot_write)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0_u8; BUFFER];
        loop {
            let length = file.read(&mut buffer).with_context(failed)?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
            self.writer.data(&buffer[..length]).with_context(cannot_write)?;
        }
        if hasher.finish() != *digest {
            return Err(Error::internal(format!("blob `{digest}` is damaged; remove the image and load it again")));
        }
        Ok(())
    }
}

fn layer_path(layer: &Layer) -> String {
    format!("{}/layer.tar", layer.diff_id.hex())
}

/// What a manifest says it is.
fn media_type(manifest: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(manifest).ok();
    let said = document.as_ref().and_then(|document| document["mediaType"].as_str());
    said.unwrap_or(OCI_MANIFEST).to_owned()
}

fn cannot_write() -> &'static str {
    "write the archive"
}
