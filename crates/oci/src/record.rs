//! `state.json`: what later commands need of a container, besides its specification.
//!
//! The version in front decides how the rest is read; a newer one than this program knows is refused, never guessed at.
//! What only `exec` and `update` need stays in the copy of the specification, so that this stays short to read.

use std::collections::BTreeMap;

use failure::{Error, Result};
use oci_spec::runtime::Hooks;
use runtime::{AfterStart, ProcessIdentity, cgroup};
use serde::{Deserialize, Serialize};

/// The version that this program writes.
const VERSION: u32 = 1;

/// A container that was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Of this form.
    pub(crate) version: u32,
    /// The specification's version.
    pub(crate) oci_version: String,
    /// Its first process.
    pub(crate) process: ProcessIdentity,
    /// The absolute path of its bundle.
    pub(crate) bundle: String,
    /// The absolute path of its root.
    pub(crate) rootfs: String,
    /// When it was created.
    pub(crate) created: String,
    /// Its control group.
    pub(crate) cgroup: cgroup::Path,
    /// What is left to do after the start, for what is said when it fails.
    #[serde(default)]
    pub(crate) after_start: AfterStart,
    /// Its program, for the same.
    pub(crate) program: String,
    /// It has user ids of its own.
    pub(crate) own_users: bool,
    /// It has process ids of its own, so that all of it ends with its first process.
    pub(crate) own_processes: bool,
    /// It has shares of caches or bandwidth (resctrl).
    #[serde(default)]
    pub(crate) shares: bool,
    /// The user's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// Those that are still to come: poststart, poststop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<Hooks>,
}

impl Record {
    /// The version to put into a new one.
    pub(crate) const VERSION: u32 = VERSION;

    /// Reads one.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let wrong = |wrong: serde_json::Error| Error::internal(format!("unreadable: {wrong}"));
        match serde_json::from_slice::<Self>(text) {
            Ok(record) if record.version == VERSION => Ok(record),
            Ok(Self { version, .. }) => Err(unknown(version)),
            Err(error) => match serde_json::from_slice::<Versioned>(text) {
                Ok(Versioned { version }) if version != VERSION => Err(unknown(version)),
                _ => Err(wrong(error)),
            },
        }
    }
}

fn unknown(version: u32) -> Error {
    Error::unsupported(format!("written by another version of this program (form {version}, not {VERSION})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_form_is_refused() {
        let failed = Record::parse(br#"{"version":2,"brandNew":true}"#).unwrap_err();
        assert!(failed.to_string().contains("form 2"), "{failed}");
        assert!(Record::parse(b"{").is_err());
    }
}
