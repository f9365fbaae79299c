//! Other repositories of a registry that may have a blob already, and can lend it.

use std::collections::HashMap;

use failure::Result;

use crate::documents::Parts;
use crate::{Digest, Name, Reference, Store};

impl Store {
    /// By the names of this store: which repositories at `name`'s host, other than its own, have images with a blob. That
    /// they have it there is likely, not certain: the image may never have been pushed.
    ///
    /// # Errors
    /// index.json cannot be read.
    pub fn lenders(&self, name: &Reference) -> Result<HashMap<Digest, Vec<String>>> {
        let mut lenders: HashMap<Digest, Vec<String>> = HashMap::new();
        for entry in self.names()?.entries() {
            let Some(other) = &entry.reference else { continue };
            if other.host() != name.host() || other.path() == name.path() {
                continue;
            }
            for blob in self.blobs_of(entry) {
                let repositories = lenders.entry(blob).or_default();
                if !repositories.iter().any(|known| known == other.path()) {
                    repositories.push(other.path().to_owned());
                }
            }
        }
        Ok(lenders)
    }

    /// The blobs that an image has where it was pulled from or pushed to. What is damaged lends nothing.
    fn blobs_of(&self, entry: &Name) -> Vec<Digest> {
        let target = entry.pushed().unwrap_or(entry.target);
        let parts = |digest: &Digest| Parts::parse(&self.read_blob(digest).ok()?, &digest.to_string()).ok();
        let Some(own) = parts(&target) else { return Vec::new() };
        let below = own.manifests.iter().filter_map(parts).flat_map(|child| child.blobs);
        let below: Vec<Digest> = below.collect();
        own.blobs.into_iter().chain(below).collect()
    }
}
