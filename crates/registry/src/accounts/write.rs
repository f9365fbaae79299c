//! Changing a file of accounts: all that is not understood stays as it is, in its order.
//!
//! The file is locked by its directory while it is read and replaced, so that of two logins at once both are kept. A new
//! file is complete before it gets the name, and only its owner may read it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use serde::Serialize as _;
use serde_json::{Map, Value};

use super::{LONGEST, document};
use crate::Credentials;
use crate::settings::file;

/// Sets the account of `key`; without credentials the entry says only that a helper has it.
pub(super) fn put(path: &Path, key: &str, credentials: Option<&Credentials>) -> Result<()> {
    change(path, |auths| {
        let mut entry = Map::new();
        let mut set = |name: &str, value: String| entry.insert(name.to_owned(), Value::String(value));
        match credentials {
            None => {}
            Some(Credentials::Password { user, password }) => {
                set("auth", document::encoded(user, password));
            }
            Some(Credentials::Identity(token)) => {
                set("auth", document::encoded("<token>", ""));
                set("identitytoken", token.clone());
            }
            Some(Credentials::Bearer(token)) => {
                set("registrytoken", token.clone());
            }
        }
        auths.insert(key.to_owned(), Value::Object(entry));
    })
}

/// Removes the accounts whose keys are `meant`.
pub(super) fn remove(path: &Path, meant: impl Fn(&str) -> bool) -> Result<()> {
    change(path, |auths| auths.retain(|key, _| !meant(key)))
}

fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<()> {
    // A link is kept: it may lead into a person's repository of such files.
    let path = &target(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("make `{}`", directory.display()))?;
    let lock = File::open(directory).with_context(|| format!("open `{}`", directory.display()))?;
    flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("lock `{}`", directory.display()))?;
    let text = file::read(path, LONGEST)?.unwrap_or_default();
    let mut document = parse(path, &text)?;
    let auths = document.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(auths) = auths else { return Err(odd(path)) };
    let before = auths.clone();
    change(auths);
    if *auths == before && !text.is_empty() {
        return Ok(());
    }
    replace(path, directory, &written(&document)?)
}

/// What the path is a link to.
fn target(path: &Path) -> PathBuf {
    match std::fs::read_link(path) {
        Ok(link) => path.parent().unwrap_or(Path::new("/")).join(link),
        Err(_) => path.to_owned(),
    }
}

fn parse(path: &Path, text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).map_err(|_| odd(path))
}

fn odd(path: &Path) -> Error {
    Error::invalid(format!("`{}` is not a JSON object with `auths`; nothing was changed", path.display()))
}

/// As Docker writes it: with tabs.
fn written(document: &Map<String, Value>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    document.serialize(&mut serializer).map_err(|_| Error::internal("write accounts as JSON"))?;
    Ok(text)
}

fn replace(path: &Path, directory: &Path, text: &[u8]) -> Result<()> {
    let (temporary, mut file) = temporary(path, directory)?;
    let mut complete = || -> std::io::Result<()> {
        file.write_all(text)?;
        if let Ok(old) = path.metadata() {
            // Called through sudo, the file stays its owner's.
            let _ = fchown(&file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())));
        }
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    complete()
        .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
        .with_context(|| format!("write `{}`", path.display()))
}

/// A new file beside the old one that only its owner may read.
fn temporary(path: &Path, directory: &Path) -> Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The directory is locked: a file of that name is what a killed process left.
    let temporary = directory.join(format!(".{name}.new"));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove `{}`", temporary.display()));
        }
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let file = file.with_context(|| format!("make `{}`", temporary.display()))?;
    Ok((temporary, file))
}
