//! An image's configuration as a JSON document: changed field by field, what is not understood is kept.

use failure::{Error, Result};
use serde_json::{Map, Value, json};

use crate::documents::parse;
use crate::{Digest, Platform};

/// The largest JSON document (manifest, index, configuration) that is read: as registries allow.
pub(crate) const LARGEST_DOCUMENT: u64 = 4 << 20;

/// The configuration blob as JSON, for `import`, `commit` and their `--change`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigDocument(Map<String, Value>);

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

impl ConfigDocument {
    /// A configuration for this machine's platform, with no layers and nothing set.
    pub fn empty() -> Self {
        let mut document = Map::new();
        document.insert("architecture".into(), architecture().into());
        document.insert("os".into(), "linux".into());
        document.insert("config".into(), json!({}));
        document.insert("rootfs".into(), json!({"type": "layers", "diff_ids": []}));
        document.insert("history".into(), json!([]));
        Self(document)
    }

    /// Reads the blob.
    ///
    /// # Errors
    /// It is not a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        parse(bytes, "the image's configuration").map(Self)
    }

    /// The blob to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        Value::Object(self.0.clone()).to_string().into_bytes()
    }

    /// The whole document.
    pub fn json(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The `config` object (Docker's `Config`: `Env`, `Cmd`, `Healthcheck` ...); made when it is missing.
    pub fn config_mut(&mut self) -> &mut Map<String, Value> {
        object_at(&mut self.0, "config")
    }

    /// Sets a field of the document itself: `created`, `author` ...
    pub fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.0.insert(field.to_owned(), value.into());
    }

    /// Says what the image runs on.
    pub fn set_platform(&mut self, platform: &Platform) {
        self.set("os", platform.os());
        self.set("architecture", platform.architecture());
        match platform.variant() {
            Some(variant) => self.set("variant", variant),
            None => self.remove("variant"),
        }
    }

    /// Takes a field of the document itself away.
    pub fn remove(&mut self, field: &str) {
        self.0.remove(field);
    }

    /// Adds a layer on top: its diff id, and its line in the history.
    ///
    /// # Errors
    /// `rootfs` or `history` have a wrong shape.
    pub fn push_layer(&mut self, diff_id: &Digest, history: History) -> Result<()> {
        let wrong = |field: &str| Error::invalid(format!("the image's configuration has a damaged field `{field}`"));
        let rootfs = object_at(&mut self.0, "rootfs");
        rootfs.entry("type").or_insert_with(|| "layers".into());
        let diff_ids = rootfs.entry("diff_ids").or_insert_with(|| json!([]));
        diff_ids.as_array_mut().ok_or_else(|| wrong("rootfs"))?.push(diff_id.to_string().into());
        let lines = self.0.entry("history").or_insert_with(|| json!([]));
        if lines.is_null() {
            *lines = json!([]);
        }
        lines.as_array_mut().ok_or_else(|| wrong("history"))?.push(history.into_json());
        Ok(())
    }
}

impl History {
    fn into_json(self) -> Value {
        let mut line = Map::new();
        let fields = [
            ("created", self.created),
            ("author", self.author),
            ("created_by", self.created_by),
            ("comment", self.comment),
        ];
        for (field, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            line.insert(field.into(), value.into());
        }
        Value::Object(line)
    }
}

/// The object in a field; anything else that is there (`null` too) makes room for it.
pub(crate) fn object_at<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(field).or_insert(Value::Null);
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("an object was just put there"),
    }
}

/// This machine's architecture in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_and_nulls_survive() {
        let text = br#"{"os":"linux","x":1,"config":{"Healthcheck":{"Test":["NONE"]}},"rootfs":{"type":"layers","diff_ids":[]},"history":null}"#;
        let mut document = ConfigDocument::parse(text).unwrap();
        document.push_layer(&Digest::of(b"a"), History { comment: "c".into(), ..History::default() }).unwrap();
        let text = String::from_utf8(document.to_bytes()).unwrap();
        assert!(
            text.contains(r#""x":1"#) && text.contains("Healthcheck") && text.contains(r#"[{"comment":"c"}]"#),
            "{text}"
        );
    }
}
