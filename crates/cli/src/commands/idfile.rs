//! `--cidfile`: the id in a file that must not exist. It is made once the container is, so that none is left behind when
//! there is no container; that it does not exist is checked before, too, when nothing was done yet.

use engine::ContainerId;
use failure::{Context as _, Error, Result};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

/// The file, or nothing if none was asked for.
#[derive(Debug)]
pub(super) struct IdFile(Option<PathBuf>);

impl IdFile {
    /// Notes which file is wanted.
    ///
    /// # Errors
    /// It exists.
    pub(super) fn new(path: Option<String>) -> Result<Self> {
        match path.map(PathBuf::from) {
            Some(path) if path.symlink_metadata().is_ok() => Err(exists(&path)),
            path => Ok(Self(path)),
        }
    }

    /// Makes the file.
    ///
    /// # Errors
    /// It exists by now, or cannot be written.
    pub(super) fn write(&self, id: &ContainerId) -> Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        let failed = || format!("write the container ID file `{}`", path.display());
        let mut file = match File::create_new(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(exists(path)),
            other => other.with_context(failed)?,
        };
        let written = file.write_all(id.as_ref().as_bytes());
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written.with_context(failed)
    }
}

fn exists(path: &std::path::Path) -> Error {
    let line = "container ID file found, make sure the other container isn't running or delete";
    Error::conflict(format!("{line} `{}`", path.display()))
}
