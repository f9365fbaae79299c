//! Lists of manifests that are being put together here: `skep manifest create`, `annotate`, `push`.
//!
//! A list is an image index under a name, as one that was pulled would be. Its entry in index.json has an annotation more,
//! `skep.list`, which says by what name each of its images was added: that is where an image lies that is not here, and
//! what it is called until the list is pushed.
//!
//! ```text
//! "annotations": { "org.opencontainers.image.ref.name": "host:5000/app:1",
//!                  "skep.list": "sha256:<manifest>=host:5000/app:1-amd64 sha256:<manifest>=..." }
//! ```

use std::collections::BTreeMap;

use failure::{Error, Result};
use serde_json::{Map, Value, json};

use crate::documents::{DOCKER_INDEX, OCI_INDEX, Target, parse};
use crate::{Digest, Name, Reference, Staging, Store};

const LIST_ANNOTATION: &str = "skep.list";

/// A list of images for several platforms.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// The index: fields that are not understood are kept.
    document: Map<String, Value>,
    /// By what name each image was added.
    sources: BTreeMap<Digest, Reference>,
}

impl Default for List {
    fn default() -> Self {
        let document = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
        let Value::Object(document) = document else { unreachable!("an object was just made") };
        Self { document, sources: BTreeMap::new() }
    }
}

impl List {
    /// Reads an index.
    ///
    /// # Errors
    /// It is damaged, or none.
    pub fn read(bytes: &[u8], name: &str) -> Result<Self> {
        match Target::parse(bytes, name)? {
            Target::Index(_) => Ok(Self { document: parse(bytes, name)?, sources: BTreeMap::new() }),
            Target::Manifest => Err(Error::invalid(format!("`{name}` is no list of manifests but an image"))),
        }
    }

    /// The index to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        Value::Object(self.document.clone()).to_string().into_bytes()
    }

    /// Its media type.
    pub fn media_type(&self) -> &str {
        match self.document.get("mediaType").and_then(Value::as_str) {
            Some(DOCKER_INDEX) => DOCKER_INDEX,
            _ => OCI_INDEX,
        }
    }

    /// The descriptors of its images.
    pub fn entries(&self) -> &[Value] {
        self.document.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The digests of its images with the names that they were added by.
    pub fn images(&self) -> impl Iterator<Item = (Digest, Option<&Reference>)> {
        let digest = |entry: &Value| Digest::parse(entry["digest"].as_str()?).ok();
        self.entries().iter().filter_map(digest).map(|digest| (digest, self.sources.get(&digest)))
    }

    /// Adds an image, or replaces what is said about it.
    pub fn add(&mut self, descriptor: Value, source: Option<Reference>) -> Result<()> {
        let digest = Digest::parse(descriptor["digest"].as_str().unwrap_or_default())?;
        match self.find_mut(&digest) {
            Some(entry) => *entry = descriptor,
            None => self.entries_mut().push(descriptor),
        }
        self.sources.extend(source.map(|source| (digest, source)));
        Ok(())
    }

    /// The image that is meant by the name it was added by, a name with its digest, or the digest alone.
    pub fn find(&self, text: &str) -> Option<Digest> {
        if let Ok(digest) = Digest::parse(text) {
            return self.images().map(|(known, _)| known).find(|known| *known == digest);
        }
        let reference = Reference::parse(text).ok()?;
        let means = |(digest, source): &(Digest, Option<&Reference>)| {
            reference.digest() == Some(digest) || *source == Some(&reference)
        };
        self.images().find(means).map(|(digest, _)| digest)
    }

    /// What is said about an image, to be changed.
    pub fn find_mut(&mut self, digest: &Digest) -> Option<&mut Value> {
        let digest = digest.to_string();
        self.entries_mut().iter_mut().find(|entry| entry["digest"] == digest.as_str())
    }

    fn entries_mut(&mut self) -> &mut Vec<Value> {
        let entries = self.document.entry("manifests").or_insert_with(|| json!([]));
        if !entries.is_array() {
            *entries = json!([]);
        }
        match entries {
            Value::Array(entries) => entries,
            _ => unreachable!("an array was just put there"),
        }
    }

    fn sources_text(&self) -> String {
        let pair = |(digest, source): (&Digest, &Reference)| format!("{digest}={}", source.full());
        self.sources.iter().map(pair).collect::<Vec<_>>().join(" ")
    }
}

fn read_sources(text: &str) -> BTreeMap<Digest, Reference> {
    let pair = |pair: &str| {
        let (digest, source) = pair.split_once('=')?;
        Some((Digest::parse(digest).ok()?, Reference::parse(source).ok()?))
    };
    text.split(' ').filter_map(pair).collect()
}

impl Store {
    /// The list, or another index, that is called so.
    ///
    /// # Errors
    /// What is called so is an image, or damaged.
    pub fn list(&self, name: &Reference) -> Result<Option<List>> {
        let names = self.names()?;
        let Some(entry) = names.find(name) else { return Ok(None) };
        let mut list = List::read(&self.read_blob(&entry.target)?, &name.to_string())?;
        list.sources = entry.annotation(LIST_ANNOTATION).map(read_sources).unwrap_or_default();
        Ok(Some(list))
    }

    /// Whether `name` is a list that was made here.
    ///
    /// # Errors
    /// index.json cannot be read.
    pub fn is_list(&self, name: &Reference) -> Result<bool> {
        Ok(self.names()?.find(name).is_some_and(|entry| entry.annotation(LIST_ANNOTATION).is_some()))
    }

    /// Gives a list its name, together with `documents` that it refers to; what it was before goes.
    ///
    /// # Errors
    /// The disk is full, or an image of it was removed at the same time.
    pub fn write_list(&self, name: &Reference, list: &List, documents: &[Vec<u8>]) -> Result<Digest> {
        let before = self.names()?.find(name).map(|entry| entry.target);
        let mut staging = Staging::new(self)?;
        for document in documents {
            staging.put(document)?;
        }
        let bytes = list.to_bytes();
        let digest = staging.put(&bytes)?;
        let mut entry = Name::of_type(list.media_type(), digest, bytes.len() as u64, Some(name.clone()));
        entry.annotate(LIST_ANNOTATION, Some(list.sources_text()));
        staging.publish(vec![entry])?;
        if let Some(before) = before.filter(|before| *before != digest) {
            let lock = self.lock_exclusive()?;
            let mut names = self.names()?;
            names.remove_nameless(&before);
            self.write_names(&names, &lock)?;
        }
        Ok(digest)
    }

    /// Takes the name of a list away.
    ///
    /// # Errors
    /// There is no such list.
    pub fn remove_list(&self, name: &Reference) -> Result<()> {
        let lock = self.lock_exclusive()?;
        let mut names = self.names()?;
        if names.find(name).is_none_or(|entry| entry.annotation(LIST_ANNOTATION).is_none()) {
            return Err(no_such_list(name));
        }
        names.remove(name);
        self.write_names(&names, &lock)
    }
}

/// There is no list of that name.
pub fn no_such_list(name: &Reference) -> Error {
    Error::not_found(format!("no such manifest: {name}; make it with `skep manifest create`"))
}
