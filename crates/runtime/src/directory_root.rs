//! A directory of the host as the root of a container: what a bundle's `root.path` names.
//!
//! ```text
//!   open    path ---O_PATH---> descriptor        the directory that was checked is the one that is mounted
//!   mount   descriptor ---clone of its tree---> detached mount
//! ```
//! The files are shown as they are: a specification that comes with a directory also says how its owners relate to the
//! container's ids, and whoever wrote both has given the files to the ids that the maps lead to. What is mounted below the
//! directory comes along. How the copy relates to the host's later mounts is decided by whoever attaches it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use failure::{Context as _, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use crate::{Mapping, RootFilesystem};

/// A directory that becomes the root of a container.
#[derive(Debug)]
pub struct DirectoryRoot {
    directory: OwnedFd,
    path: PathBuf,
}

impl DirectoryRoot {
    /// Opens the directory. A relative path starts at the working directory; the caller puts the bundle's in front.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("cannot open the root file system `{}`", path.display()))?;
        Ok(Self { directory, path: path.to_owned() })
    }
}

impl RootFilesystem for DirectoryRoot {
    fn mount(&self, _mapping: Option<&Mapping<'_>>) -> Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        rustix::mount::open_tree(&self.directory, c"", flags)
            .with_context(|| format!("cannot mount the root file system `{}`", self.path.display()))
    }
}
