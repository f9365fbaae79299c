//! Where a container's output goes: `--log-driver` and `--log-opt`.

use failure::Result;
use serde::{Deserialize, Serialize};

/// What keeps the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// JSON lines in rotated files.
    #[default]
    JsonFile,
    /// Nothing keeps it.
    None,
}

/// How output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What keeps it.
    pub driver: Driver,
    /// A file is rotated away before it grows beyond this; `None`: never.
    pub max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
}

impl Default for Settings {
    /// 3 files of 10 MB.
    fn default() -> Self {
        Self { driver: Driver::JsonFile, max_size: Some(10_000_000), max_files: 3 }
    }
}

impl Settings {
    /// Reads `--log-driver` (empty: the default) and the `key=value` pairs of `--log-opt`.
    ///
    /// # Errors
    /// The driver or an option is unknown, or a value is wrong.
    pub fn parse<'a>(driver: &str, options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let _ = (driver, options.into_iter());
        unimplemented!()
    }
}
