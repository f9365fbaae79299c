//! Where in which file something stands, for errors that a person can act on: `/etc/x.toml, line 3: ...`.

use std::path::Path;

use failure::{Error, Result};
use serde::de::DeserializeOwned;

/// A file's name and text, to find lines in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The file.
    pub(crate) path: &'a Path,
    /// All of it.
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// Reads the text as TOML.
    ///
    /// # Errors
    /// It is none, or a value has the wrong type.
    pub(crate) fn toml<T: DeserializeOwned>(self) -> Result<T> {
        toml::from_str(self.text).map_err(|error| match error.span() {
            Some(span) => self.wrong_at(span.start, error.message()),
            None => Error::invalid(format!("`{}`: {}", self.path.display(), error.message())),
        })
    }

    /// The failure that something at this byte is wrong.
    pub(crate) fn wrong_at(self, byte: usize, reason: impl AsRef<str>) -> Error {
        let before = self.text.as_bytes().iter().take(byte);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        let reason = reason.as_ref().trim().replace('\n', ", ");
        Error::invalid(format!("`{}`, line {line}: {reason}", self.path.display()))
    }
}
