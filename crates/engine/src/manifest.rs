//! `skep manifest`: what registries say of images, and lists of images for several platforms.
//!
//! ```text
//! create  LIST NAME...   each NAME: an image here, as a push would send it; else what its registry says
//! annotate LIST NAME     what LIST says about one of its images
//! push    LIST           images: there already? here? else from the repository they were named by; then the list
//! ```
//!
//! A list is kept as an index in the store (see `store::lists`). Its images need not be here.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use failure::{Context, Error, Kind, Result};
use serde_json::{Value, json};
use store::lists::{List, no_such_list};
use store::push::{Arrival, Blob, Destination, Document, Form, Scope};
use store::{Digest, Hasher, Platform, Reference, Store};

use crate::Home;
use crate::push::send_stored;
use crate::registries::{Access, Repository, Session, Which};

/// The largest blob that is passed on from one registry to another.
const LARGEST_BLOB: u64 = 1 << 43;

/// What `manifest annotate` changes.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    /// The operating system.
    pub os: Option<String>,
    /// The architecture.
    pub architecture: Option<String>,
    /// Which kind of that.
    pub variant: Option<String>,
    /// The version of the operating system.
    pub os_version: Option<String>,
    /// What the operating system must have.
    pub os_features: Vec<String>,
}

/// A manifest or index as a registry or a list here has it.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The name it goes by.
    pub name: Reference,
    /// The document.
    pub document: Vec<u8>,
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// What it runs on, if it is an image.
    pub platform: Option<Value>,
}

/// What `name` refers to: a list here, or what the registry says.
///
/// # Errors
/// There is no such list or image.
pub fn inspect(home: &Home, session: &Session, name: &Reference) -> Result<Inspected> {
    let store = home.store()?;
    if store.is_list(name)?
        && let Some(list) = store.list(name)?
    {
        let document = list.to_bytes();
        let (digest, media_type) = (Digest::of(&document), list.media_type().to_owned());
        return Ok(Inspected { name: name.clone(), document, digest, media_type, platform: None });
    }
    let repository = session.repository(name, Access::Pull)?;
    let found = fetch(&repository, Which::of(name))?;
    let platform = if is_index(&found.bytes) { None } else { platform(&repository, &found.bytes)? };
    let Document { digest, media_type, bytes: document } = found;
    Ok(Inspected { name: name.clone(), document, digest, media_type, platform })
}

/// The images of an index that [`inspect`] found, each by its digest.
///
/// # Errors
/// One of them is not to be had.
pub fn inspect_images(home: &Home, session: &Session, index: &Inspected) -> Result<Vec<Inspected>> {
    let store = home.store()?;
    let list = List::read(&index.document, &index.name.to_string())?;
    let sources = store.list(&index.name).ok().flatten();
    let mut images = Vec::new();
    for (entry, (digest, _)) in list.entries().iter().zip(list.images()) {
        let source = sources.iter().flat_map(List::images).find(|(known, _)| *known == digest);
        let name = source.and_then(|(_, source)| source).unwrap_or(&index.name).pinned(digest);
        let document = match store.read_blob(&digest) {
            Ok(document) => document,
            Err(_) => fetch(&session.repository(&name, Access::Pull)?, Which::Digest(&digest))?.bytes,
        };
        let media_type = entry["mediaType"].as_str().unwrap_or_default().to_owned();
        let platform = Some(entry["platform"].clone()).filter(Value::is_object);
        images.push(Inspected { name, document, digest, media_type, platform });
    }
    Ok(images)
}

/// Makes a list of images, or with `amend` adds to one that exists.
///
/// # Errors
/// The list exists, or an image is not to be had.
pub fn create(home: &Home, session: &Session, name: &Reference, images: &[String], amend: bool) -> Result<()> {
    let store = home.store()?;
    let name = &tagged(name)?;
    let mut list = match store.list(name)? {
        Some(_) if !amend => {
            return Err(Error::conflict(format!("refusing to amend the manifest list `{name}` without --amend")));
        }
        known => known.unwrap_or_default(),
    };
    let mut documents = Vec::new();
    for text in images {
        let source = Reference::parse(text)?;
        // In full: what looks like an id here is a name.
        let known = store.resolve(&source.full()).is_ok();
        let added = if known { add_stored(store, &mut list, &source)? } else { None };
        match added {
            Some(document) => documents.push(document),
            None => add_remote(&mut list, session, &source)?,
        }
    }
    store.write_list(name, &list, &documents).map(drop)
}

/// Adds an image that is here, in the form that a push of it sends. None if it is for several platforms.
fn add_stored(store: &Store, list: &mut List, source: &Reference) -> Result<Option<Vec<u8>>> {
    let image = store.resolve(&source.full())?;
    let target = store.push_choice(&image.target, &Scope::Here)?;
    if target != image.manifest {
        return Ok(None);
    }
    // What was pushed under this name is what the registry has.
    let (sent, form) = match image.pushed.get(source).filter(|sent| store.has_blob(sent)) {
        Some(sent) => (*sent, None),
        None => (target, Some(Form::Gzip)),
    };
    let documents = store::push::push(store, &sent, form, &mut Nowhere, &mut Silent)?;
    let document = documents.into_iter().next_back().ok_or_else(|| Error::internal("an image without a manifest"))?;
    let config = store.read_blob(&image.id.0)?;
    let entry = descriptor(&document, platform_of(&config)?);
    list.add(entry, Some(source.clone()))?;
    Ok(Some(document.bytes))
}

/// Adds an image (or all images of an index) that a registry has.
fn add_remote(list: &mut List, session: &Session, source: &Reference) -> Result<()> {
    let repository = session.repository(source, Access::Pull)?;
    let found = fetch(&repository, Which::of(source))?;
    if !is_index(&found.bytes) {
        let platform = platform(&repository, &found.bytes)?;
        return list.add(descriptor(&found, platform), Some(source.clone()));
    }
    let index = List::read(&found.bytes, &source.to_string())?;
    for (entry, (digest, _)) in index.entries().iter().zip(index.images()) {
        list.add(entry.clone(), Some(source.pinned(digest)))?;
    }
    Ok(())
}

fn descriptor(document: &Document, platform: Option<Value>) -> Value {
    let Document { digest, media_type, bytes } = document;
    let mut entry = json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
    if let Some(platform) = platform {
        entry["platform"] = platform;
    }
    entry
}

/// Changes what a list says about one of its images.
///
/// # Errors
/// There is no such list, or the image is not in it.
pub fn annotate(home: &Home, name: &Reference, image: &str, annotations: &Annotations) -> Result<()> {
    let store = home.store()?;
    let name = &tagged(name)?;
    let mut list = store.list(name)?.ok_or_else(|| no_such_list(name))?;
    let missing = || Error::not_found(format!("manifest for image {image} does not exist in {name}"));
    let digest = list.find(image).ok_or_else(missing)?;
    let entry = list.find_mut(&digest).ok_or_else(missing)?;
    if !entry["platform"].is_object() {
        entry["platform"] = json!({"architecture": "", "os": ""});
    }
    let platform = &mut entry["platform"];
    let texts = [
        ("os", &annotations.os),
        ("architecture", &annotations.architecture),
        ("variant", &annotations.variant),
        ("os.version", &annotations.os_version),
    ];
    for (field, value) in texts.into_iter().filter_map(|(field, value)| Some((field, value.as_ref()?))) {
        platform[field] = value.as_str().into();
    }
    if !annotations.os_features.is_empty() {
        platform["os.features"] = annotations.os_features.clone().into();
    }
    let (os, architecture) = (platform["os"].as_str(), platform["architecture"].as_str());
    Platform::parse(&format!("{}/{}", os.unwrap_or_default(), architecture.unwrap_or_default()))?;
    store.write_list(name, &list, &[]).map(drop)
}

/// Sends a list to its registry, its images first; `sent` is told each of them that was not there. Gives its digest.
///
/// # Errors
/// There is no such list, an image is not to be had, or the registry refuses.
pub fn push(home: &Home, session: &Session, name: &Reference, sent: &mut dyn FnMut(&Reference)) -> Result<Digest> {
    let store = home.store()?;
    let name = &tagged(name)?;
    let list = store.list(name)?.ok_or_else(|| no_such_list(name))?;
    let repository = session.repository(name, Access::Push)?;
    for (digest, source) in list.images() {
        if repository.head_manifest(Which::Digest(&digest))?.is_some() {
            continue;
        }
        match store.has_blob(&digest) {
            true => send_stored(store, &repository, name, &digest, &mut Silent)?,
            false => pass_on(store, session, &repository, source.unwrap_or(name), &digest)?,
        }
        sent(&name.pinned(digest));
    }
    let bytes = list.to_bytes();
    repository.put_manifest(Which::of(name), &bytes, list.media_type())?;
    Ok(Digest::of(&bytes))
}

/// Forgets lists that were made here.
///
/// # Errors
/// One of them does not exist; those before it are gone.
pub fn remove(home: &Home, names: &[Reference]) -> Result<()> {
    for name in names {
        home.store()?.remove_list(&tagged(name)?)?;
    }
    crate::images::collect(home).map(drop)
}

/// The name of a list: with a tag.
fn tagged(name: &Reference) -> Result<Reference> {
    match name.digest() {
        Some(_) => Err(Error::invalid(format!("`{name}` has a digest; the name of a list is NAME[:TAG]"))),
        None => Ok(name.clone()),
    }
}

/// Brings an image from the repository that it was named by to another one.
fn pass_on(store: &Store, session: &Session, to: &Repository, source: &Reference, digest: &Digest) -> Result<()> {
    let from = session.repository(source, Access::Pull)?;
    let found = fetch(&from, Which::Digest(digest))?;
    for blob in blobs(&found)? {
        if to.has_blob(&blob.digest)? || to.mount_blob(&blob.digest, source.path()).unwrap_or(false) {
            continue;
        }
        let mut file = fetched(store, &from, &blob)?;
        to.push_blob(&blob.digest, blob.size, &mut file)?;
    }
    to.put_manifest(Which::Digest(digest), &found.bytes, &found.media_type)
}

/// A blob from a registry as a file without a name.
fn fetched(store: &Store, from: &Repository, blob: &Blob) -> Result<File> {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(store.directory(), "leases", flags, Mode::from_raw_mode(0o600));
    let mut file = File::from(file.context("make a temporary file in the store")?);
    let mut hasher = Hasher::new();
    from.blob(&blob.digest, blob.size, 0, &mut |bytes| {
        hasher.update(bytes);
        file.write_all(bytes).context("keep a blob")
    })?;
    if hasher.finish() != blob.digest {
        return Err(Error::invalid(format!("the registry sends other bytes than those of blob `{}`", blob.digest)));
    }
    file.seek(SeekFrom::Start(0)).context("keep a blob")?;
    Ok(file)
}

/// The blobs that a manifest refers to.
fn blobs(manifest: &Document) -> Result<Vec<Blob>> {
    let document = json(&manifest.bytes, &manifest.digest.to_string())?;
    let layers = document["layers"].as_array().map_or(&[][..], Vec::as_slice);
    let blob = |entry: &Value| {
        let size = entry["size"].as_u64().filter(|size| *size <= LARGEST_BLOB);
        let size = size.ok_or_else(|| Error::invalid(format!("manifest `{}` is damaged", manifest.digest)))?;
        Ok(Blob { digest: Digest::parse(entry["digest"].as_str().unwrap_or_default())?, size })
    };
    std::iter::once(&document["config"]).chain(layers).map(blob).collect()
}

fn fetch(repository: &Repository, which: Which<'_>) -> Result<Document> {
    let found = repository.manifest(which)?;
    Ok(Document { digest: found.digest, media_type: found.media_type, bytes: found.bytes })
}

/// What an image in a registry runs on, as its configuration says. An artifact runs on nothing.
fn platform(repository: &Repository, manifest: &[u8]) -> Result<Option<Value>> {
    const LONGEST: u64 = 4 << 20;
    let document = json(manifest, "the manifest")?;
    let size = document["config"]["size"].as_u64().unwrap_or(u64::MAX);
    if size > LONGEST {
        return Err(Error::invalid("the image's configuration is larger than 4 MB"));
    }
    let digest = Digest::parse(document["config"]["digest"].as_str().unwrap_or_default())?;
    let mut config = Vec::new();
    repository.blob(&digest, size, 0, &mut |bytes| {
        config.extend_from_slice(bytes);
        Ok(())
    })?;
    if Digest::of(&config) != digest {
        return Err(Error::invalid(format!("the registry sends other bytes than those of blob `{digest}`")));
    }
    platform_of(&config)
}

/// The platform in a configuration, in the order in which Docker writes it.
fn platform_of(config: &[u8]) -> Result<Option<Value>> {
    let config: Value = match serde_json::from_slice(config) {
        Ok(config) => config,
        // An artifact's configuration may be anything.
        Err(_) => return Ok(None),
    };
    if !config["os"].is_string() {
        return Ok(None);
    }
    let mut platform = json!({"architecture": config["architecture"], "os": config["os"]});
    for field in ["os.version", "os.features", "variant"] {
        if !config[field].is_null() {
            platform[field] = config[field].clone();
        }
    }
    Ok(Some(platform))
}

fn is_index(document: &[u8]) -> bool {
    serde_json::from_slice::<Value>(document).is_ok_and(|document| document["manifests"].is_array())
}

fn json(bytes: &[u8], name: &str) -> Result<Value> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(Kind::Invalid, format!("`{name}` is damaged")).with_source(error))
}

/// Where nothing goes: what a push would send is made and kept.
struct Nowhere;

impl Destination for Nowhere {
    fn carry(&mut self, _: &Blob, _: File, _: &mut dyn FnMut(u64) -> Result<()>) -> Result<Arrival> {
        Ok(Arrival::Present)
    }
}

/// Tells nobody.
struct Silent;

impl store::push::PushProgress for Silent {
    fn waits(&mut self, _: &Digest) {}
    fn compressed(&mut self, _: &Digest, _: u64, _: u64) {}
    fn sent(&mut self, _: &Digest, _: u64, _: u64) {}
    fn arrived(&mut self, _: &Digest, _: &Arrival) {}
}
