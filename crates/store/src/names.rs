//! index.json: which manifests are images, and what they are called.

use failure::Result;

use crate::{Digest, Lock, Reference, Store};

/// All images and their names, as index.json has them: a root set for the garbage collection.
#[derive(Clone, Debug, Default)]
pub struct Names {
    entries: Vec<Name>,
}

/// One entry: a manifest, and one of its names (none: an image that lost its last name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The length of the manifest.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: String,
    /// The name.
    pub reference: Option<Reference>,
}

impl Names {
    /// All entries.
    pub fn entries(&self) -> &[Name] {
        &self.entries
    }

    /// The manifest called `reference`.
    pub fn find(&self, reference: &Reference) -> Option<&Name> {
        let _ = reference;
        unimplemented!()
    }

    /// All names of a manifest, sorted.
    pub fn of(&self, manifest: &Digest) -> Vec<Reference> {
        let _ = manifest;
        unimplemented!()
    }

    /// Calls a manifest `reference` (or keeps it without a name). A manifest that loses this name and has no other
    /// stays as a nameless image.
    pub fn set(&mut self, entry: Name) {
        let _ = entry;
        unimplemented!()
    }

    /// Takes a name away and gives back what it named. The image goes with its last name.
    pub fn remove(&mut self, reference: &Reference) -> Option<Name> {
        let _ = reference;
        unimplemented!()
    }

    /// Takes all entries of a manifest away.
    pub fn remove_manifest(&mut self, manifest: &Digest) -> Vec<Name> {
        let _ = manifest;
        unimplemented!()
    }
}

impl Store {
    /// Reads index.json.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn names(&self) -> Result<Names> {
        unimplemented!()
    }

    /// Replaces index.json, durably.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_names(&self, names: &Names, _exclusive: &Lock) -> Result<()> {
        let _ = names;
        unimplemented!()
    }
}
