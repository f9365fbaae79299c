//! `diff`, `commit` and `export`: what a container wrote, as a list, as an image, as an archive.

use std::io::Write;

use failure::Result;
use runtime::ContainerId;

use crate::Home;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// `A`
    Added,
    /// `C`
    Modified,
    /// `D`
    Deleted,
}

/// A path that differs from the image's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The absolute path, in bytes as the kernel has it.
    pub path: Vec<u8>,
}

/// What to commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitRequest {
    /// The name of the new image.
    pub reference: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// A note for its history.
    pub message: Option<String>,
    /// Dockerfile instructions (`CMD`, `ENV`, ..) on its configuration.
    pub changes: Vec<String>,
    /// Do not freeze the container meanwhile.
    pub no_pause: bool,
}

/// The paths that the container changed, sorted.
///
/// # Errors
/// A layer that cannot be read.
pub fn diff(home: &Home, id: &ContainerId) -> Result<Vec<Change>> {
    let _ = (home, id);
    unimplemented!()
}

/// Makes an image of the container; returns the image's id.
///
/// # Errors
/// A bad instruction or name, or a full disk.
pub fn commit(home: &Home, id: &ContainerId, request: &CommitRequest) -> Result<String> {
    let _ = (home, id, request);
    unimplemented!()
}

/// Writes the container's whole root filesystem as a tar archive.
///
/// # Errors
/// What the output refuses.
pub fn export(home: &Home, id: &ContainerId, output: &mut dyn Write) -> Result<()> {
    let _ = (home, id, output);
    unimplemented!()
}
