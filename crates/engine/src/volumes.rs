//! Volumes: directories of ours that outlive containers, or go with theirs; and paths of the host that are bound in.
//!
//! ```text
//! volumes/<name>/_data      made by mkdir(2) when first named; the container's ids as on any bind: unshifted
//! ```
//! A volume that is empty when a container is created gets what the image has at the mount's target (Docker's rule),
//! with the target's owner and mode. Anonymous volumes have 64 hex digits as their name; which container they go
//! with, its configuration tells.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use runtime::ContainerId;
use rustix::fs::{self as rfs, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use store::copy::{Options, Root};
use store::overlay::Overlay;

use crate::config::ContainerConfig;
use crate::request::MountSource;
use crate::{Home, files, list, recover};

/// The directory that is mounted.
pub(crate) fn data(home: &Home, name: &str) -> PathBuf {
    home.volumes().join(name).join("_data")
}

/// What was made for a container that may still fail.
#[derive(Debug, Default)]
pub(crate) struct Made {
    volumes: Vec<String>,
    directories: Vec<PathBuf>,
}

impl Made {
    /// Takes it back; directories only as long as they are empty.
    pub(crate) fn undo(&self, home: &Home) {
        for name in &self.volumes {
            remove(home, name);
        }
        for directory in self.directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// In the directory of a container: its anonymous volumes' names, a line each. Nobody else could find them, should the
/// creation be cut off.
const ANONYMOUS: &str = "volumes";

/// Removes the anonymous volumes of a container whose creation was cut off.
pub(crate) fn remove_of_unfinished(home: &Home, directory: &Path) {
    let names = fs::read_to_string(directory.join(ANONYMOUS)).unwrap_or_default();
    names.lines().for_each(|name| remove(home, name));
}

/// Gives names to the anonymous volumes, and writes them down before there is one.
fn name_anonymous(config: &mut ContainerConfig, directory: &Path) -> Result<()> {
    let mut names = String::new();
    for entry in config.mounts.iter_mut().filter(|entry| matches!(entry.mount.source, MountSource::Anonymous)) {
        let name = entry.volume.insert(ContainerId::random().to_string());
        names.extend([name.as_str(), "\n"]);
    }
    if names.is_empty() { Ok(()) } else { files::write_new(&directory.join(ANONYMOUS), names.as_bytes()) }
}

/// Makes what the mounts of a new container need: volumes with their first content, missing directories of `-v`.
/// `unfinished`: the container's own directory.
pub(crate) fn prepare(
    home: &Home,
    config: &mut ContainerConfig,
    unfinished: &Path,
    overlay: &Overlay,
    made: &mut Made,
) -> Result<()> {
    name_anonymous(config, unfinished)?;
    let mut view: Option<OwnedFd> = None;
    for entry in &mut config.mounts {
        match &entry.mount.source {
            MountSource::Bind { path, create } => prepare_bind(path, *create, &mut made.directories)?,
            MountSource::Tmpfs { .. } | MountSource::Anonymous => {}
            MountSource::Volume(name) => {
                validate(name)?;
                entry.volume = Some(name.clone());
            }
        }
        let Some(name) = &entry.volume else { continue };
        let directory = data(home, name);
        if !make(home, name, &mut made.volumes)? && !is_empty(&directory) {
            continue;
        }
        if !entry.mount.no_copy {
            let view = match &view {
                Some(view) => view,
                None => view.insert(overlay.mount_for_reading()?),
            };
            copy_up(view, &entry.mount.target, &directory)?;
        }
    }
    Ok(())
}

/// Removes the anonymous volumes of a container. Others that mount one keep it.
pub(crate) fn remove_anonymous(home: &Home, config: &ContainerConfig) -> Result<()> {
    for entry in &config.mounts {
        if let (MountSource::Anonymous, Some(name)) = (&entry.mount.source, &entry.volume) {
            validate(name)?;
            store::writable::discard(home.store()?, &home.volumes().join(name))?;
        }
    }
    Ok(())
}

/// Removes a volume with all it holds.
pub(crate) fn remove(home: &Home, name: &str) {
    if validate(name).is_ok() {
        recover::discard(home, &home.volumes().join(name));
    }
}

/// Volumes without a name of their own that no container has, nor one that is being made.
pub(crate) fn unused_anonymous(home: &Home) -> Result<Vec<String>> {
    // First what is there: a container that is made meanwhile writes its volumes' names down before it makes them.
    let mut there: Vec<String> =
        recover::entries(&home.volumes()).iter().filter_map(|name| name.to_str().map(str::to_owned)).collect();
    there.retain(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let mut used: Vec<String> = Vec::new();
    for directory in recover::entries(&home.containers()) {
        let path = home.containers().join(&directory).join(ANONYMOUS);
        used.extend(fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned));
    }
    for id in list::ids(home)? {
        match ContainerConfig::read(home, &id) {
            Ok(config) => used.extend(config.mounts.into_iter().filter_map(|entry| entry.volume)),
            Err(_) if !home.container(&id).exists() => {}
            Err(error) => return Err(error),
        }
    }
    there.retain(|name| !used.contains(name));
    there.sort_unstable();
    Ok(there)
}

fn validate(name: &str) -> Result<()> {
    crate::names::validate(name).map_err(|_| {
        Error::invalid(format!(
            "the volume name `{name}` is not allowed; use a-z A-Z 0-9 _ . - or, for a path of the host, begin with `/`"
        ))
    })
}

fn prepare_bind(path: &Path, create: bool, made: &mut Vec<PathBuf>) -> Result<()> {
    match rfs::stat(path) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) if create => {
            let mut missing: Vec<_> =
                path.ancestors().take_while(|part| rfs::stat(*part).is_err()).map(Path::to_owned).collect();
            missing.reverse();
            made.extend(missing);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .with_context(|| format!("make `{}` for a mount", path.display()))
        }
        Err(Errno::NOENT) => Err(Error::not_found(format!(
            "the mount's source `{}` does not exist; make it first, or use `-v`, which does",
            path.display()
        ))),
        Err(errno) => Err(errno).with_context(|| format!("look at the mount's source `{}`", path.display())),
    }
}

/// Whether the volume was made now. What was begun is in the list, whatever becomes of it.
fn make(home: &Home, name: &str, made: &mut Vec<String>) -> Result<bool> {
    let volume = home.volumes().join(name);
    let failed = || format!("make the volume `{name}`");
    match rfs::mkdir(&volume, Mode::from_raw_mode(0o701)) {
        Ok(()) => made.push(name.to_owned()),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).with_context(failed),
    }
    let data = volume.join("_data");
    let mode = Mode::from_raw_mode(0o755);
    match rfs::mkdir(&data, mode) {
        // All users of the container may look into it, whatever mask the caller has.
        Ok(()) => rfs::chmod(&data, mode).map(|()| true).with_context(failed),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno).with_context(failed),
    }
}

fn is_empty(directory: &Path) -> bool {
    recover::entries(directory).is_empty()
}

/// Copies what the image has at the target into the empty volume, and gives the volume the target's owner and mode.
fn copy_up(view: &OwnedFd, target: &str, directory: &Path) -> Result<()> {
    let failed = || format!("fill the volume at `{target}` from the image");
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rfs::openat2(view, target.trim_start_matches('/'), flags, Mode::empty(), resolve)
    };
    // A rename anywhere on the machine may make the kernel give up on a link with `..` in it.
    let found = std::iter::repeat_with(open).find(|found| !matches!(found, Err(Errno::AGAIN | Errno::INTR)));
    let found = match found.unwrap_or(Err(Errno::AGAIN)) {
        Ok(found) => found,
        // Nothing there, or a file: the volume stays empty.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(errno).with_context(failed),
    };
    let root = Root { directory: view.as_fd(), root_uid: 0, root_gid: 0 };
    let options = Options { archive: true, follow_link: true };
    store::copy::to_host(&root, &format!("{target}/."), directory, options).with_context(failed)?;
    let status = rfs::fstat(&found).with_context(failed)?;
    let volume = rfs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let volume = volume.with_context(failed)?;
    let (owner, group) = (rfs::Uid::from_raw(status.st_uid), rfs::Gid::from_raw(status.st_gid));
    rfs::fchown(&volume, Some(owner), Some(group)).with_context(failed)?;
    rfs::fchmod(&volume, Mode::from_raw_mode(status.st_mode & 0o7777)).with_context(failed)
}
