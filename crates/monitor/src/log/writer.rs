//! The writing end of a log.

use std::path::Path;

use failure::Result;

use super::{Settings, Stream};

/// Writes what a container says.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// Opens the log in `directory` for appending; makes it if missing.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let _ = (directory, settings);
        unimplemented!()
    }

    /// Writes a chunk. A failing disk loses it (counted), never stops the container.
    pub fn write(&mut self, stream: Stream, chunk: &[u8]) {
        let _ = (stream, chunk);
        unimplemented!()
    }
}
