//! What a container changed: `skep diff`.

use std::fmt;
use std::path::{Path, PathBuf};

use failure::Result;

use crate::Store;
use crate::overlay::Base;

/// How a path differs from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It is another file, or has other contents, or (a directory) something in it changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it changed.
    pub kind: ChangeKind,
    /// Absolute in the container.
    pub path: PathBuf,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Added => "A",
            Self::Modified => "C",
            Self::Deleted => "D",
        })
    }
}

/// All changes of a writable layer against its base, sorted by path.
///
/// # Errors
/// A layer is missing or cannot be read.
pub fn changes(store: &Store, base: &Base, writable: &Path) -> Result<Vec<Change>> {
    let _ = (store, base, writable);
    unimplemented!()
}
