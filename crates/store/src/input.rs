//! Where an archive comes from, and how it is compressed.

use std::fs::File;
use std::path::PathBuf;

/// An archive to read.
#[derive(Debug)]
pub enum Input {
    /// A file by its path.
    Path(PathBuf),
    /// An open file or pipe and what to call it in messages: standard input is ``Open(file, "standard input")``.
    Open(File, String),
}

/// How bytes are compressed, told by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, with any number of members.
    Gzip,
    /// zstd, with any number of frames.
    Zstd,
}
