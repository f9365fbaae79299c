//! index.json: which manifests and indexes are images, and what they are called.
//!
//! ```text
//! { "schemaVersion": 2, "manifests": [ { "mediaType", "digest", "size",
//!     "annotations": { "org.opencontainers.image.ref.name": "docker.io/library/busybox:latest" } }, ... ] }
//! ```
//!
//! A further annotation, `skep.pushed.digest`, is there when the image was pushed under this name with another digest than
//! its own, because its layers were compressed for that: the digest that it has in that repository. It goes when the
//! name's repository changes.
//!
//! One entry for each name; an image without a name has one entry without the annotation. Entries and fields that
//! other tools wrote are kept as they are. The file is replaced by rename under the store's exclusive lock, and read
//! without any: a reader sees the state before or after.

use std::collections::BTreeMap;

use failure::{Context, Error, Kind, Result};
use rustix::fs::{Mode, OFlags, openat};
use serde_json::{Map, Value, json};

use crate::blobs::read_bounded;
use crate::config::LARGEST_DOCUMENT;
use crate::documents::{OCI_MANIFEST, parse};
use crate::{Digest, Lock, Reference, Store};

/// Where an entry keeps its name.
pub(crate) const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Where an entry keeps the digest that the image has in the name's repository.
const PUSHED_ANNOTATION: &str = "skep.pushed.digest";

/// All images and their names, as index.json has them: a root set for the garbage collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    document: Map<String, Value>,
    entries: Vec<Name>,
    /// How many entries of the file are left out, since they are not ours.
    unread: usize,
}

/// One entry: a manifest, or an index of manifests for several platforms, and one of its names (none: an image that
/// lost its last name).
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// The digest of the manifest or index.
    pub target: Digest,
    /// The name.
    pub reference: Option<Reference>,
    /// The descriptor as it is in the file.
    pub(crate) descriptor: Map<String, Value>,
}

impl Name {
    /// A name (or none) for an OCI manifest of `size` bytes.
    pub fn new(target: Digest, size: u64, reference: Option<Reference>) -> Self {
        Self::of_type(OCI_MANIFEST, target, size, reference)
    }

    /// A name (or none) for a manifest or index of this media type.
    pub fn of_type(media_type: &str, target: Digest, size: u64, reference: Option<Reference>) -> Self {
        let mut descriptor = Map::new();
        descriptor.insert("mediaType".into(), media_type.into());
        descriptor.insert("digest".into(), target.to_string().into());
        descriptor.insert("size".into(), size.into());
        let mut name = Self { target, reference: None, descriptor };
        name.rename(reference);
        name
    }

    /// The same manifest under another name, or none.
    #[must_use]
    pub fn renamed(&self, reference: Option<Reference>) -> Self {
        let mut name = self.clone();
        name.rename(reference);
        name
    }

    /// The digest that it was pushed with under this name, if that is not its own.
    pub fn pushed(&self) -> Option<Digest> {
        Digest::parse(self.annotation(PUSHED_ANNOTATION)?).ok()
    }

    /// The same entry after a push.
    #[must_use]
    pub(crate) fn pushed_as(&self, digest: Option<Digest>) -> Self {
        let mut name = self.clone();
        name.annotate(PUSHED_ANNOTATION, digest.map(|digest| digest.to_string()));
        name
    }

    /// An annotation of the entry.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.descriptor.get("annotations")?.get(key)?.as_str()
    }

    /// Sets an annotation of the entry, or takes it away.
    pub(crate) fn annotate(&mut self, key: &str, value: Option<String>) {
        let annotations = match value {
            Some(_) => self.descriptor.entry("annotations").or_insert_with(|| json!({})).as_object_mut(),
            None => self.descriptor.get_mut("annotations").and_then(Value::as_object_mut),
        };
        match (annotations, value) {
            (Some(annotations), Some(value)) => drop(annotations.insert(key.to_owned(), value.into())),
            (Some(annotations), None) => drop(annotations.remove(key)),
            (None, _) => {}
        }
    }

    fn rename(&mut self, reference: Option<Reference>) {
        let repository =
            |name: &Option<Reference>| name.as_ref().map(|name| (name.host().to_owned(), name.path().to_owned()));
        if reference.is_none() || repository(&reference) != repository(&self.reference) {
            self.annotate(PUSHED_ANNOTATION, None);
        }
        match &reference {
            Some(reference) => {
                let annotations = self.descriptor.entry("annotations").or_insert_with(|| json!({}));
                annotations[NAME_ANNOTATION] = reference.full().into();
            }
            None => {
                if let Some(Value::Object(annotations)) = self.descriptor.get_mut("annotations") {
                    annotations.remove(NAME_ANNOTATION);
                }
            }
        }
        self.reference = reference;
    }

    /// An entry of the file; none if it is not one of ours (another algorithm, no digest).
    fn read(descriptor: Map<String, Value>) -> Option<Self> {
        let target = Digest::parse(descriptor.get("digest")?.as_str()?).ok()?;
        let annotations = descriptor.get("annotations");
        if annotations.is_some_and(|annotations| !annotations.is_object()) {
            return None;
        }
        let name = annotations.and_then(|annotations| annotations.get(NAME_ANNOTATION)).and_then(Value::as_str);
        Some(Self { target, reference: name.and_then(|name| Reference::parse(name).ok()), descriptor })
    }
}

impl Names {
    fn parse(bytes: &[u8], path: &str) -> Result<Self> {
        let mut document: Map<String, Value> = parse(bytes, path)?;
        let Some(Value::Array(manifests)) = document.remove("manifests") else {
            return Err(Error::invalid(format!("`{path}` is damaged: it has no list of manifests")));
        };
        let listed = manifests.len();
        let entries: Vec<Name> = manifests
            .into_iter()
            .filter_map(|entry| match entry {
                Value::Object(descriptor) => Name::read(descriptor),
                _ => None,
            })
            .collect();
        let unread = listed - entries.len();
        Ok(Self { document, entries, unread })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut document = self.document.clone();
        document.entry("schemaVersion").or_insert_with(|| 2.into());
        let entries =
            self.entries.iter().map(|name| Value::Object(name.renamed(name.reference.clone()).descriptor)).collect();
        document.insert("manifests".into(), Value::Array(entries));
        Value::Object(document).to_string().into_bytes()
    }

    /// How many entries of the file are none that this store can use.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// All entries.
    pub fn entries(&self) -> &[Name] {
        &self.entries
    }

    /// What is called `reference`.
    pub fn find(&self, reference: &Reference) -> Option<&Name> {
        self.entries.iter().find(|entry| entry.reference.as_ref() == Some(reference))
    }

    /// All names of a manifest or index, sorted.
    pub fn of(&self, target: &Digest) -> Vec<Reference> {
        let mine = self.entries.iter().filter(|entry| entry.target == *target);
        let mut names: Vec<Reference> = mine.filter_map(|entry| entry.reference.clone()).collect();
        names.sort();
        names
    }

    /// Calls a manifest as `entry` says (or keeps it without a name). The manifest that loses this name stays, as a
    /// nameless image if it has no other.
    pub fn set(&mut self, entry: Name) {
        if let Some(reference) = &entry.reference
            && let Some(place) = self.entries.iter().position(|one| one.reference.as_ref() == Some(reference))
        {
            let before = self.entries.remove(place);
            if before.target != entry.target {
                self.keep(before.renamed(None));
            } else if let (None, Some(pushed)) = (entry.pushed(), before.pushed()) {
                return self.keep(entry.pushed_as(Some(pushed)));
            }
        }
        self.keep(entry);
    }

    /// Adds an entry. An image is nameless or has names, never both.
    fn keep(&mut self, entry: Name) {
        let known = self.entries.iter().any(|one| one.target == entry.target);
        if entry.reference.is_none() && known {
            return;
        }
        self.entries.retain(|one| one.target != entry.target || one.reference.is_some());
        self.entries.push(entry);
    }

    /// The digest of a manifest or index as each of its names' repositories have it, where that is another one than here.
    pub fn pushed(&self, target: &Digest) -> BTreeMap<Reference, Digest> {
        let mine = self.entries.iter().filter(|entry| entry.target == *target);
        mine.filter_map(|entry| Some((entry.reference.clone()?, entry.pushed()?))).collect()
    }

    /// Takes a name away and gives back what it named. The image goes with its last name.
    pub fn remove(&mut self, reference: &Reference) -> Option<Name> {
        let place = self.entries.iter().position(|entry| entry.reference.as_ref() == Some(reference))?;
        Some(self.entries.remove(place))
    }

    /// Takes the entry of a manifest or index away that has no name.
    pub(crate) fn remove_nameless(&mut self, target: &Digest) {
        self.entries.retain(|entry| entry.target != *target || entry.reference.is_some());
    }

    /// Takes all entries of a manifest or index away.
    pub fn remove_target(&mut self, target: &Digest) -> Vec<Name> {
        self.entries.extract_if(.., |entry| entry.target == *target).collect()
    }
}

impl Store {
    /// Reads index.json.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn names(&self) -> Result<Names> {
        let path = self.root().join("index.json");
        let shown = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(self.directory(), "index.json", flags, Mode::empty());
        let file = file.with_context(|| format!("open `{shown}`"))?;
        let bytes = read_bounded(std::fs::File::from(file)).with_context(|| format!("read `{shown}`"))?;
        Names::parse(&bytes, &shown)
    }

    /// Replaces index.json, durably.
    ///
    /// # Errors
    /// It cannot be written, or would become larger than what is ever read again.
    pub fn write_names(&self, names: &Names, _exclusive: &Lock) -> Result<()> {
        self.replace_file("index.json", &readable(names.to_bytes())?)?;
        if names.entries.is_empty() { self.forget_catalog() } else { Ok(()) }
    }
}

/// An index that outgrew its limit would lock everybody out of all images, and out of removing the names that did it.
fn readable(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        let reason = "the store has too many image names; remove some with `skep rmi`";
        return Err(Error::new(Kind::Unavailable, reason));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_could_not_be_read_is_not_written() {
        let most = usize::try_from(LARGEST_DOCUMENT).unwrap();
        assert!(readable(vec![b' '; most]).is_ok());
        assert!(readable(vec![b' '; most + 1]).unwrap_err().to_string().contains("skep rmi"));
    }

    fn reference(text: &str) -> Option<Reference> {
        Some(Reference::parse(text).unwrap())
    }

    fn name(content: &str, text: &str) -> Name {
        Name::new(Digest::of(content.as_bytes()), 1, reference(text))
    }

    #[test]
    fn a_name_moves_and_its_old_image_stays_nameless() {
        let mut names = Names::default();
        names.set(name("one", "a"));
        names.set(name("one", "b"));
        names.set(name("two", "a"));
        assert_eq!(names.of(&Digest::of(b"one")), [reference("b").unwrap()]);
        names.set(name("two", "b"));
        assert_eq!(names.entries().len(), 3);
        assert!(names.entries().iter().any(|e| e.target == Digest::of(b"one") && e.reference.is_none()));
        names.set(name("one", "c"));
        assert_eq!(names.entries().len(), 3, "a name takes the nameless entry away");
    }

    #[test]
    fn what_was_pushed_stays_with_the_repository() {
        let pushed = Digest::of(b"compressed");
        let mut names = Names::default();
        names.set(name("one", "host:5000/a:1").pushed_as(Some(pushed)));
        names.set(name("one", "host:5000/a:1"));
        assert_eq!(names.entries()[0].pushed(), Some(pushed), "the same image under the same name");
        let again = Names::parse(&names.to_bytes(), "index.json").unwrap();
        assert_eq!(again.entries()[0].pushed(), Some(pushed));
        assert_eq!(again.entries()[0].renamed(reference("host:5000/a:2")).pushed(), Some(pushed));
        assert_eq!(again.entries()[0].renamed(reference("host:5000/b:1")).pushed(), None);
        assert_eq!(again.entries()[0].renamed(None).pushed(), None);
        names.set(name("two", "host:5000/a:1"));
        assert!(names.entries().iter().all(|entry| entry.pushed().is_none()));
    }

    #[test]
    fn what_others_wrote_is_kept() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"schemaVersion":2,"x":1,"manifests":[{{"mediaType":"m","digest":"{digest}","size":3,"annotations":{{"k":"v"}}}}]}}"#
        );
        let mut names = Names::parse(text.as_bytes(), "index.json").unwrap();
        names.set(names.entries()[0].renamed(reference("a:1")));
        let text = String::from_utf8(names.to_bytes()).unwrap();
        for part in [r#""x":1"#, r#""k":"v""#, r#""org.opencontainers.image.ref.name":"docker.io/library/a:1""#] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(Names::parse(text.as_bytes(), "index.json").unwrap(), names);
    }
}
