//! What is known here of what was pushed, and what belongs to an image without being part of it.
//!
//! The entry of a name in index.json remembers the digest that the image has in that name's repository, when it is another
//! one than its own (see `names`). The document with that digest is kept as a blob, so that the name with that digest
//! finds the image, and a later push finds what it sent.

use std::collections::BTreeSet;

use failure::{Context, Result};
use serde::Deserialize;

use super::Document;
use crate::documents::{Descriptor, parse};
use crate::{Digest, Name, Reference, Staging, Store};

/// A manifest that says something about another one, by its digest: a signature, a bill of materials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Referrer {
    /// Its own digest.
    pub digest: Digest,
    /// The tag that it is found by, where that is made of the digest it refers to (`sha256-<hex>.sig`).
    pub tag: Option<String>,
}

impl Store {
    /// Remembers that the image called `name` was pushed as `document`. A name that means something else by now, or
    /// nothing, is left alone.
    ///
    /// # Errors
    /// The disk is full.
    pub fn record_push(&self, name: &Reference, target: &Digest, document: &Document) -> Result<()> {
        let known = |entry: &Name| entry.reference.as_ref() == Some(name) && entry.target == *target;
        let pushed = (document.digest != *target).then_some(document.digest);
        let fresh = |entry: &Name| known(entry) && entry.pushed() != pushed;
        if !self.names()?.entries().iter().any(fresh) {
            return Ok(());
        }
        let mut staging = Staging::new(self)?;
        let mut blob = staging.new_blob()?;
        std::io::Write::write_all(&mut blob.file, &document.bytes).context("keep a manifest")?;
        let lock = self.lock_exclusive()?;
        let mut names = self.names()?;
        let Some(entry) = names.entries().iter().find(|entry| known(entry)).cloned() else { return Ok(()) };
        if pushed.is_some() {
            std::fs::rename(&blob.path, self.blob_path(&document.digest)).context("keep a manifest")?;
        }
        names.remove(name);
        names.set(entry.pushed_as(pushed));
        self.write_names(&names, &lock)
    }

    /// What names of this store refer to that says something about `subject`.
    ///
    /// # Errors
    /// index.json cannot be read.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>> {
        let prefix = format!("sha256-{}", subject.hex());
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for entry in self.names()?.entries() {
            let tag = entry.reference.as_ref().and_then(Reference::tag).filter(|tag| tag.starts_with(&prefix));
            if let Some(tag) = tag {
                found.insert(Referrer { digest: entry.target, tag: Some(tag.to_owned()) });
            } else if seen.insert(entry.target) && self.subject_of(&entry.target).as_ref() == Some(subject) {
                found.insert(Referrer { digest: entry.target, tag: None });
            }
        }
        Ok(found.into_iter().collect())
    }

    /// What a manifest says it is about. One that is damaged is about nothing.
    fn subject_of(&self, manifest: &Digest) -> Option<Digest> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            subject: Option<Descriptor>,
        }
        let bytes = self.read_blob(manifest).ok()?;
        let head: Head = parse(&bytes, "manifest").ok()?;
        head.subject?.digest().ok()
    }
}
