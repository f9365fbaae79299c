//! Detached clones of the mounts that layers lie on, idmapped for one container.
//!
//! One clone of the directory of all layers serves every layer of an image: the layers are opened inside it. So the
//! price of 120 layers is 120 `openat`s, and not 120 mounts.
//!
//! A base that contains the engine's own data gets a small overlay of its own:
//!
//! ```text
//!   tmpfs: /run (opaque)  /var/lib/skep (opaque)     hides these places; their parents copy owner and mode
//!   idmapped clone of the base's mount               and of nothing mounted below it
//! ```
//!
//! A tmpfs, because an overlay refuses two layers of which one lies inside the other.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use failure::{Context, Error, Kind, Result};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::assemble::{Stack, Way};
use super::{Base, IdMap, UPPER, WORK};
use crate::Store;

/// What a host base never shows: the sockets, locks and secrets of running services.
const RUNTIME_STATE: &str = "run";

/// Where the lower layers are on disk.
#[derive(Debug)]
pub(super) enum Lower {
    /// Layer trees below one directory, top first.
    Layers { directory: PathBuf, trees: Vec<PathBuf> },
    /// One directory, without the places named (relative to it).
    Directory { path: PathBuf, hidden: Vec<PathBuf> },
}

impl Lower {
    pub(super) fn new(store: &Store, base: &Base) -> Result<Lower> {
        match base {
            Base::Layers(chain) => {
                let trees = chain.iter().rev().map(|layer| Path::new(&layer.hex()).join("tree")).collect();
                Ok(Lower::Layers { directory: store.layers_directory(), trees })
            }
            Base::Directory(path) => {
                let path = real_directory(path)?;
                let hidden = hidden_below(store, &path)?;
                Ok(Lower::Directory { path, hidden })
            }
            Base::Host => {
                let mut hidden = hidden_below(store, Path::new("/"))?;
                if !hidden.iter().any(|place| place.starts_with(RUNTIME_STATE)) {
                    hidden.push(RUNTIME_STATE.into());
                }
                Ok(Lower::Directory { path: "/".into(), hidden })
            }
        }
    }
}

/// The places of the engine inside a directory, relative to it.
fn hidden_below(store: &Store, directory: &Path) -> Result<Vec<PathBuf>> {
    let data = real_directory(store.root())?;
    match data.strip_prefix(directory) {
        Ok(inside) if inside.as_os_str().is_empty() => {
            Err(Error::invalid(format!("`{}` is the engine's own data directory", directory.display())))
        }
        Ok(inside) => Ok(vec![inside.to_owned()]),
        Err(_) => Ok(Vec::new()),
    }
}

/// The path of an existing directory of the host, without links.
fn real_directory(path: &Path) -> Result<PathBuf> {
    let real = path.canonicalize().with_context(|| format!("root file system `{}`", path.display()))?;
    if !real.is_dir() {
        return Err(Error::invalid(format!("root file system `{}`: not a directory", path.display())));
    }
    Ok(real)
}

/// The opened lower layers, top first, and the detached mounts that they lie on.
#[derive(Debug)]
pub(super) struct Views {
    pub(super) mounts: Vec<OwnedFd>,
    pub(super) lower: Vec<OwnedFd>,
}

impl Views {
    /// Opens the layers of a base, and the skeleton below them.
    pub(super) fn open(lower: &Lower, skeleton: &Path, mapping: Option<&IdMap<'_>>, way: Way) -> Result<Views> {
        let mut views = Self::of_lower(lower, mapping, way)?;
        let view = detach(skeleton, mapping)?;
        views.lower.push(open_directory(view.as_fd(), Path::new(".")).context("open the mount points")?);
        views.mounts.push(view);
        Ok(views)
    }

    /// Opens the layers of a base alone.
    pub(super) fn of_lower(lower: &Lower, mapping: Option<&IdMap<'_>>, way: Way) -> Result<Views> {
        match lower {
            Lower::Layers { directory, trees } => layers(directory, trees, mapping),
            Lower::Directory { path, hidden } => {
                let mut base = detach(path, mapping)?;
                if !hidden.is_empty() {
                    base = hide(base, hidden, mapping, way)
                        .with_context(|| format!("use `{}` as a root file system", path.display()))?;
                }
                let root = open_directory(base.as_fd(), Path::new(".")).context("open the base")?;
                Ok(Views { mounts: vec![base], lower: vec![root] })
            }
        }
    }
}

/// The view of a container's writable layer, with its upper and work directories opened inside.
pub(super) fn writable(path: &Path, mapping: Option<&IdMap<'_>>) -> Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let view = detach(path, mapping)?;
    let open = |name: &str| {
        open_directory(view.as_fd(), Path::new(name))
            .with_context(|| format!("open `{}` of writable layer `{}`", name, path.display()))
    };
    let (upper, work) = (open(UPPER)?, open(WORK)?);
    Ok((view, upper, work))
}

fn layers(directory: &Path, trees: &[PathBuf], mapping: Option<&IdMap<'_>>) -> Result<Views> {
    let view = detach(directory, mapping)?;
    let lower = trees
        .iter()
        .map(|tree| {
            open_directory(view.as_fd(), tree).map_err(|errno| match errno {
                Errno::NOENT => missing_layer(tree),
                _ => Error::new(Kind::Internal, format!("open layer `{}`", tree.display()))
                    .with_source(std::io::Error::from(errno)),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Views { mounts: vec![view], lower })
}

/// What is said when an unpacked layer is not there.
pub(super) fn missing_layer(tree: &Path) -> Error {
    let name = tree.components().next().map(Component::as_os_str).unwrap_or_default();
    let short: String = name.to_string_lossy().chars().take(12).collect();
    Error::not_found(format!("layer `{short}` of the image is missing; load the image again"))
}

/// A detached clone of the mount that `path` lies on, rooted there, without submounts, with the container's ids.
pub(super) fn detach(path: &Path, mapping: Option<&IdMap<'_>>) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = rustix::mount::open_tree(CWD, path, flags)
        .with_context(|| format!("open the mount of `{}`", path.display()))?;
    if let Some(mapping) = mapping {
        sys::idmap::set_idmap(view.as_fd(), mapping.user_namespace, 0).map_err(|errno| cannot_map(path, errno))?;
    }
    Ok(view)
}

fn cannot_map(path: &Path, errno: Errno) -> Error {
    let message = format!("the file system of `{}` cannot be idmapped; use `--userns=host`", path.display());
    Error::unsupported(message).with_source(std::io::Error::from(errno))
}

fn open_directory(base: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(base, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// A small detached tmpfs, owned by the container's root.
fn memory(mapping: Option<&IdMap<'_>>) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "755")?;
    if let Some(mapping) = mapping {
        rustix::mount::fsconfig_set_string(&context, "uid", mapping.root_uid.to_string())?;
        rustix::mount::fsconfig_set_string(&context, "gid", mapping.root_gid.to_string())?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// A read-only overlay of `view` without the hidden places.
fn hide(view: OwnedFd, hidden: &[PathBuf], mapping: Option<&IdMap<'_>>, way: Way) -> Result<OwnedFd> {
    let mask = memory(mapping).context("make a mask")?;
    for place in hidden {
        cover(mask.as_fd(), view.as_fd(), place).with_context(|| format!("hide `/{}`", place.display()))?;
    }
    let lower = [mask.as_fd(), view.as_fd()]
        .into_iter()
        .map(|mount| open_directory(mount, Path::new(".")))
        .collect::<rustix::io::Result<Vec<_>>>()
        .context("open a mask")?;
    let stack = Stack { views: vec![mask, view], lower, upper: None, writable: None };
    stack.mount(mapping, way)
}

/// Makes an opaque directory in the mask where the view has a directory, its parents like the view's.
fn cover(mask: BorrowedFd<'_>, view: BorrowedFd<'_>, place: &Path) -> rustix::io::Result<()> {
    let mut shadow = mask.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    let mut original = view.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    for name in place.components() {
        let name = Path::new(name.as_os_str());
        original = match open_directory(original.as_fd(), name) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let status = rustix::fs::fstat(&original)?;
        match rustix::fs::mkdirat(&shadow, name, Mode::from_raw_mode(status.st_mode & 0o7777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let (owner, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
        rustix::fs::chownat(&shadow, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::chmodat(&shadow, name, Mode::from_raw_mode(status.st_mode & 0o7777), AtFlags::empty())?;
        shadow = rustix::fs::openat(
            &shadow,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
    }
    rustix::fs::fsetxattr(&shadow, "trusted.overlay.opaque", b"y", XattrFlags::empty())
}

/// Whether a relative path lies in a hidden place.
pub(super) fn is_hidden(hidden: &[PathBuf], path: &Path) -> bool {
    hidden.iter().any(|place| path.as_os_str().as_bytes() != place.as_os_str().as_bytes() && path.starts_with(place))
}
