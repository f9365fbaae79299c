//! What the values of flags mean: text to the engine's types, one file each. An error is a reason, the flag's name
//! is put before it by [`crate::usage`].

pub(crate) mod bytes;
pub(crate) mod csv;
pub(crate) mod device;
pub(crate) mod environment;
pub(crate) mod epoch;
pub(crate) mod host;
pub(crate) mod label;
pub(crate) mod mount;
pub(crate) mod namespace;
pub(crate) mod network;
pub(crate) mod processors;
pub(crate) mod security;
pub(crate) mod switch;
pub(crate) mod sysctl;
pub(crate) mod tmpfs;
pub(crate) mod ulimit;
pub(crate) mod volume;

/// `--workdir`: an absolute path in the container; empty: the image's.
pub(crate) fn directory(text: &str) -> Parsed<String> {
    if text.starts_with('/') || text.is_empty() {
        return Ok(text.into());
    }
    Err(format!("the working directory '{text}' is invalid, it needs to be an absolute path"))
}

/// A value, or why it is none.
pub(crate) type Parsed<T> = Result<T, String>;
