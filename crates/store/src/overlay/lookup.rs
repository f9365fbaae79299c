//! Reading one file of the merged tree without mounting it.
//!
//! Layers are asked from the top. A layer answers *found*, *hidden* (a whiteout, an opaque directory or a file where a
//! directory should be: the layers below do not count), *absent* (ask the next) or *a link*. Only a symbolic link
//! needs the merged tree, and only then it is mounted, read-only and detached, for the time of one read.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use failure::{Context, Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::views::{Lower, is_hidden, missing_layer};
use super::{Overlay, UPPER};

/// How often a path is tried while names on the machine change.
const MOST_TRIES: u32 = 100_000;

/// What one layer says about a path.
enum Answer {
    Found(OwnedFd),
    Hidden,
    Absent,
    Link,
}

pub(super) fn read_file(overlay: &Overlay, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let path = Path::new(path.trim_start_matches('/'));
    for layer in layers(overlay) {
        let Some(root) = open_layer(&layer)? else { continue };
        if is_hidden(&layer.hidden, path) {
            return Ok(None);
        }
        match ask(root.as_fd(), path).with_context(|| format!("look up `/{}`", path.display()))? {
            Answer::Found(file) => return read(&file, path, limit),
            Answer::Hidden => return Ok(None),
            Answer::Absent => {}
            Answer::Link => return read_mounted(overlay, path, limit),
        }
    }
    Ok(None)
}

struct Layer {
    path: PathBuf,
    hidden: Vec<PathBuf>,
}

/// The directories of all layers, top first.
fn layers(overlay: &Overlay) -> Vec<Layer> {
    let mut layers = vec![Layer { path: overlay.writable.join(UPPER), hidden: Vec::new() }];
    match &overlay.lower {
        Lower::Layers { directory, trees } => {
            layers.extend(trees.iter().map(|tree| Layer { path: directory.join(tree), hidden: Vec::new() }));
        }
        Lower::Directory { path, hidden } => layers.push(Layer { path: path.clone(), hidden: hidden.clone() }),
    }
    layers.push(Layer { path: overlay.skeleton.clone(), hidden: Vec::new() });
    layers
}

/// Opens a layer. A container that is only being made has no upper directory yet: then it has changed nothing.
fn open_layer(layer: &Layer) -> Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, &layer.path, flags, Mode::empty()) {
        Ok(root) => Ok(Some(root)),
        Err(Errno::NOENT) if layer.path.ends_with(UPPER) => Ok(None),
        Err(Errno::NOENT) => {
            Err(missing_layer(&layer.path.parent().and_then(Path::file_name).map(PathBuf::from).unwrap_or_default()))
        }
        Err(errno) => Err(errno).with_context(|| format!("open layer `{}`", layer.path.display())),
    }
}

fn ask(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Answer> {
    match open_plain(root, path, OFlags::PATH) {
        Ok(file) => {
            let status = rustix::fs::fstat(&file)?;
            Ok(match FileType::from_raw_mode(status.st_mode) {
                FileType::CharacterDevice if status.st_rdev == 0 => Answer::Hidden,
                FileType::Symlink => Answer::Link,
                _ => Answer::Found(file),
            })
        }
        Err(Errno::NOENT | Errno::NOTDIR) => ask_parents(root, path),
        Err(Errno::LOOP | Errno::XDEV) => Ok(Answer::Link),
        Err(errno) => Err(errno),
    }
}

/// Why a path is not in a layer: is a directory above it missing, opaque, or something else than a directory?
fn ask_parents(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Answer> {
    let mut parents: Vec<&Path> = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()).collect();
    parents.reverse();
    for parent in parents {
        let found = match open_plain(root, parent, OFlags::PATH) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(Answer::Absent),
            Err(Errno::LOOP | Errno::XDEV) => return Ok(Answer::Link),
            Err(errno) => return Err(errno),
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Directory if is_opaque(root, parent)? => return Ok(Answer::Hidden),
            FileType::Directory => {}
            FileType::Symlink => return Ok(Answer::Link),
            _ => return Ok(Answer::Hidden),
        }
    }
    Ok(Answer::Absent)
}

fn is_opaque(root: BorrowedFd<'_>, directory: &Path) -> rustix::io::Result<bool> {
    let opened = open_plain(root, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    crate::tarball::is_opaque(opened.as_fd())
}

/// Opens a path of a layer in which no component but the last may be a link, and that one is not followed.
fn open_plain(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    open_below(root, path, flags | OFlags::NOFOLLOW, resolve)
}

/// A rename or a mount anywhere on the machine may make the kernel give up on a path with `..` in it.
fn open_below(root: BorrowedFd<'_>, path: &Path, flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    for _ in 0..MOST_TRIES {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

fn read_mounted(overlay: &Overlay, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let merged = overlay.mount_for_reading()?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match open_below(merged.as_fd(), path, OFlags::PATH, resolve) {
        Ok(file) => read(&file, path, limit),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("open `/{}`", path.display())),
    }
}

/// Reads what an `O_PATH` descriptor names, if it is a regular file: looking first, so that opening has no effects.
fn read(file: &OwnedFd, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let name = || format!("read `/{}`", path.display());
    let status = rustix::fs::fstat(file).with_context(name)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let opened = rustix::fs::openat(CWD, again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).with_context(name)?;
    let mut contents = Vec::with_capacity(usize::try_from(status.st_size).unwrap_or(0).min(1 << 16));
    std::fs::File::from(opened).take(limit + 1).read_to_end(&mut contents).with_context(name)?;
    if contents.len() as u64 > limit {
        return Err(Error::invalid(format!("`/{}` is larger than {limit} bytes", path.display())));
    }
    Ok(Some(contents))
}
