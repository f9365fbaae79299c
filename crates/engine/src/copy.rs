//! `cp`: a tar stream out of a container's tree, or into it. The container may run or not.

use std::io::{Read, Write};

use failure::Result;
use runtime::ContainerId;

use crate::Home;

/// What is known of the path that was copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// Its last component.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Where it points, if it is a symbolic link.
    pub link_target: String,
}

/// What a path in the container is.
///
/// # Errors
/// No such path.
pub fn stat_path(home: &Home, id: &ContainerId, path: &str) -> Result<PathStat> {
    let _ = (home, id, path);
    unimplemented!()
}

/// Writes a path of the container, with all below it, as a tar stream.
///
/// # Errors
/// No such path, or what the output refuses.
pub fn copy_out(home: &Home, id: &ContainerId, path: &str, follow: bool, output: &mut dyn Write) -> Result<()> {
    let _ = (home, id, path, follow, output);
    unimplemented!()
}

/// Unpacks a tar stream into a directory of the container.
///
/// # Errors
/// No such directory, a read-only container, a bad archive.
pub fn copy_in(home: &Home, id: &ContainerId, directory: &str, archive: bool, input: &mut dyn Read) -> Result<()> {
    let _ = (home, id, directory, archive, input);
    unimplemented!()
}
