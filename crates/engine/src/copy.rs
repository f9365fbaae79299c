//! `cp`: files between the host and a container's tree. The container may run or not.
//!
//! A running container's tree is the one that it sees, with its volumes: its root directory, opened once, below which
//! nothing is resolved by name outside. Of one that does not run, the root filesystem is mounted for the
//! purpose, attached nowhere.

use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use failure::{Context as _, Error, Result};
use runtime::ContainerId;
use rustix::fs::{self as rfs, Mode, OFlags};
use store::copy::Root;
pub use store::copy::{Options, PathStatus};

use crate::config::ContainerConfig;
use crate::{Home, create, ids, state};

/// What a path in the container is.
///
/// # Errors
/// No such path.
pub fn stat_path(home: &Home, id: &ContainerId, path: &str) -> Result<PathStatus> {
    let tree = Tree::open(home, id, false)?;
    store::copy::status(&tree.root(), path)
}

/// `cp CONTAINER:path -`: a tar stream.
///
/// # Errors
/// No such path, or what the output refuses.
pub fn copy_out(home: &Home, id: &ContainerId, path: &str, options: Options, output: &mut dyn Write) -> Result<()> {
    let tree = Tree::open(home, id, false)?;
    store::copy::out(&tree.root(), path, options, output)
}

/// `cp - CONTAINER:directory`: unpacks a tar stream.
///
/// # Errors
/// No such directory, a read-only container, a bad archive.
pub fn copy_in(home: &Home, id: &ContainerId, directory: &str, options: Options, input: &mut dyn Read) -> Result<()> {
    let tree = Tree::open(home, id, true)?;
    store::copy::into(&tree.root(), directory, options, input)
}

/// `cp CONTAINER:source destination`.
///
/// # Errors
/// As `docker cp`.
pub fn copy_to_host(home: &Home, id: &ContainerId, source: &str, destination: &Path, options: Options) -> Result<()> {
    let tree = Tree::open(home, id, false)?;
    store::copy::to_host(&tree.root(), source, destination, options)
}

/// `cp source CONTAINER:destination`.
///
/// # Errors
/// As `docker cp`.
pub fn copy_from_host(home: &Home, id: &ContainerId, source: &Path, destination: &str, options: Options) -> Result<()> {
    let tree = Tree::open(home, id, true)?;
    store::copy::from_host(&tree.root(), source, destination, options)
}

/// A container's tree, open.
struct Tree {
    directory: OwnedFd,
    first_id: u32,
}

impl Tree {
    fn open(home: &Home, id: &ContainerId, for_writing: bool) -> Result<Self> {
        let config = ContainerConfig::read(home, id)?;
        if for_writing && config.security.read_only {
            return Err(Error::conflict(format!("container `{}` is read-only (`--read-only`)", config.name)));
        }
        if let Ok(state) = state::running(home, id)
            && let Some(identity) = state.identity
        {
            let path = format!("/proc/{}/root", identity.pid);
            let directory = rfs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .with_context(|| format!("open the root of container `{}`", config.name))?;
            // If the process still lives, the directory was its own and not a later process's.
            if identity.is_alive() {
                return Ok(Self { directory, first_id: config.range.map_or(0, ids::first_id) });
            }
        }
        let overlay = create::overlay(home, &config, &home.container(id))?;
        let directory = if for_writing { overlay.mount(None)? } else { overlay.mount_for_reading()? };
        Ok(Self { directory, first_id: 0 })
    }

    fn root(&self) -> Root<'_> {
        Root { directory: self.directory.as_fd(), root_uid: self.first_id, root_gid: self.first_id }
    }
}
