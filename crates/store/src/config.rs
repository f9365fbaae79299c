//! An image's configuration as a JSON document: changed field by field, what is not understood is kept.

use failure::Result;
use serde_json::{Map, Value};

/// The largest JSON document (manifest, index, configuration) that is read: as registries allow.
pub(crate) const LARGEST_DOCUMENT: u64 = 4 << 20;

/// The configuration blob as JSON, for `import`, `commit` and their `--change`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigDocument(pub(crate) Map<String, Value>);

impl ConfigDocument {
    /// A configuration for this machine's platform, with no layers and nothing set.
    pub fn empty() -> Self {
        unimplemented!()
    }

    /// Reads the blob.
    ///
    /// # Errors
    /// It is not a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let _ = bytes;
        unimplemented!()
    }

    /// The blob to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// The whole document.
    pub fn json(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The `config` object (Docker's `Config`: `Env`, `Cmd`, `Healthcheck` ...); made when it is missing.
    pub fn config_mut(&mut self) -> &mut Map<String, Value> {
        unimplemented!()
    }

    /// Sets a field of the document itself: `created`, `author` ...
    pub fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.0.insert(field.to_owned(), value.into());
    }

    /// Adds a layer on top: its diff id, and its line in the history.
    ///
    /// # Errors
    /// `rootfs` or `history` have a wrong shape.
    pub fn push_layer(&mut self, diff_id: &crate::Digest, history: History) -> Result<()> {
        let _ = (diff_id, history);
        unimplemented!()
    }
}

/// A line of `skep history`.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// RFC 3339.
    pub created: String,
    /// Who made it, if known.
    pub author: String,
    /// What made it.
    pub created_by: String,
    /// What was said about it.
    pub comment: String,
}
