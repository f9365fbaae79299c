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
            Some(span) => self.wrong_at(span.start, without_value(error.message())),
            None => Error::invalid(format!("`{}`: {}", self.path.display(), without_value(error.message()))),
        })
    }

    /// Reads the text as JSON.
    ///
    /// # Errors
    /// It is none, or a value has the wrong type.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T> {
        serde_json::from_str(self.text).map_err(|error| {
            let reason = error.to_string();
            // serde_json says the place at the end; it is said in front here, as for every file.
            let reason = reason.split(" at line ").next().unwrap_or(&reason);
            Error::invalid(format!("`{}`, line {}: {reason}", self.path.display(), error.line()))
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

/// A value of the wrong type may be a password: `invalid type: string "...", expected a map` loses it.
fn without_value(message: &str) -> String {
    match (message.find(": string \""), message.rfind("\", expected ")) {
        (Some(start), Some(end)) if start < end => format!("{}: a string{}", &message[..start], &message[end + 1..]),
        _ => message.to_owned(),
    }
}
