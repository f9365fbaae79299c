//! Files into and out of a container: `skep cp`, with Docker's rules.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use failure::Result;

/// A container's file system as the host sees it.
#[derive(Clone, Copy, Debug)]
pub struct Root<'a> {
    /// Its root directory: `/proc/<pid>/root` of the running container, or a mount of its overlay.
    pub directory: BorrowedFd<'a>,
    /// The host's ids of the container's root user and group: 0 when ids are not mapped.
    pub root_uid: u32,
    /// See `root_uid`.
    pub root_gid: u32,
}

/// What `HEAD /containers/ID/archive` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// The last component.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `st_mode`.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Where a link points, resolved in the container.
    pub link_target: PathBuf,
}

/// The flags of `cp`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `-a`: keep owner and group.
    pub archive: bool,
    /// `-L`: copy what a source link points to.
    pub follow_link: bool,
}

/// What is at a path of the container.
///
/// # Errors
/// Nothing is there.
pub fn status(root: &Root<'_>, path: &str) -> Result<PathStatus> {
    let _ = (root, path);
    unimplemented!()
}

/// `cp CONTAINER:path -`: writes a tar whose first entry is the last component of `path`.
///
/// # Errors
/// Nothing is there, or it cannot be read or written.
pub fn out(root: &Root<'_>, path: &str, options: Options, output: &mut dyn Write) -> Result<()> {
    let _ = (root, path, options, output);
    unimplemented!()
}

/// `cp - CONTAINER:path`: unpacks a tar below the directory `path`, which must exist.
///
/// # Errors
/// It is no directory, or the archive is damaged or leads out of it.
pub fn into(root: &Root<'_>, path: &str, options: Options, input: &mut dyn Read) -> Result<()> {
    let _ = (root, path, options, input);
    unimplemented!()
}

/// `cp CONTAINER:source destination` of the host.
///
/// # Errors
/// As `docker cp`.
pub fn to_host(root: &Root<'_>, source: &str, destination: &Path, options: Options) -> Result<()> {
    let _ = (root, source, destination, options);
    unimplemented!()
}

/// `cp source CONTAINER:destination` from the host.
///
/// # Errors
/// As `docker cp`.
pub fn from_host(root: &Root<'_>, source: &Path, destination: &str, options: Options) -> Result<()> {
    let _ = (root, source, destination, options);
    unimplemented!()
}
