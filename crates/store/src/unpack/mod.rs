//! Unpacking: the entries of a layer's archive become a directory tree in the form that overlayfs wants.
//!
//! [`unpack()`] writes below a directory and nowhere else: each path is walked from there without following links,
//! everything is created anew (what is in the way is removed, never opened), and hard links reach only what the
//! same archive made. It runs in a confined process of its own (see `confine`), so that even a mistake
//! here stays inside the layer.
//!
//! What would need rights over the whole system is left to the parent: `trusted.overlay.opaque` on directories that
//! hide the layers below is asked for in the result.
//!
//! Directories get their times, special bits and attributes last: entries put into them would change the times,
//! setgid and default ACLs would change the entries.

mod metadata;
mod path;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use failure::{Cause, Error, Kind, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::fs::{fstatvfs, ftruncate, linkat, mkdirat, mknodat, openat, statat, symlinkat};
use rustix::io::Errno;

pub(crate) use self::metadata::is_taken;
pub(crate) use self::path::{Marker, normalize, shown, split};
use self::path::{failed, refuse};
use self::tree::{Missing, Tree, is_directory, is_whiteout, locate, remove, same_file};
use crate::Limits;
use crate::archive::{Archive, Content, Entry, EntryKind, Tape, Time};

/// How much memory the directories' names may take until the end.
const MOST_DIRECTORY_BYTES: usize = 32 << 20;
/// How often the free space is looked at, in bytes written.
const SPACE_INTERVAL: u64 = 64 << 20;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// The bytes of all files, holes not counted.
    pub(crate) bytes: u64,
    /// Directories that hide what is below them: to be marked by somebody with the right to.
    pub(crate) opaque: Vec<Vec<u8>>,
}

/// What a directory still needs at the end.
#[derive(Debug, Default)]
struct Pending {
    modified: Option<Time>,
    mode: Option<u32>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    opaque: bool,
}

/// Who makes device nodes: the process that unpacks has no right to.
pub(crate) trait Devices {
    /// Makes one, root's and without rights for anyone, below the root of the tree.
    fn make(&self, path: &[u8], kind: FileType, number: (u32, u32)) -> rustix::io::Result<()>;
}

struct Unpacker<'d> {
    tree: Tree,
    devices: &'d dyn Devices,
    pending: BTreeMap<Vec<u8>, Pending>,
    pending_bytes: usize,
    limits: Limits,
    entries: u64,
    written: u64,
    next_space_check: u64,
}

/// Unpacks a whole archive below `root`. The process's umask must be 0.
///
/// # Errors
/// The archive is damaged or goes beyond a limit, an entry is refused, or the system fails.
pub(crate) fn unpack(
    archive: &mut Archive<impl Tape>,
    root: OwnedFd,
    limits: Limits,
    devices: &dyn Devices,
) -> Result<Unpacked> {
    let mut unpacker = Unpacker {
        tree: Tree::new(root),
        devices,
        pending: BTreeMap::new(),
        pending_bytes: 0,
        limits,
        entries: 0,
        written: 0,
        next_space_check: 0,
    };
    while let Some(entry) = archive.next_entry().map_err(read_failed)? {
        unpacker.count_entry()?;
        unpacker.entry(&entry, archive)?;
    }
    archive.drain().map_err(read_failed)?;
    unpacker.finish()
}

impl Unpacker<'_> {
    fn count_entry(&mut self) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.layer_entries {
            let limit = self.limits.layer_entries;
            return Err(Error::new(Kind::Unavailable, format!("the layer has more than {limit} entries")));
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, archive: &mut Archive<impl Tape>) -> Result<()> {
        let path = normalize(&entry.path).map_err(|reason| refuse(entry, reason))?;
        if path.is_empty() {
            return match entry.kind {
                EntryKind::Directory => self.directory_metadata(path, entry),
                _ => Err(refuse(entry, "only a directory can be the root")),
            };
        }
        let (directory, name) = split(&path);
        match Marker::of(name).map_err(|reason| refuse(entry, reason))? {
            Marker::None => {}
            Marker::Bookkeeping => return Ok(()),
            Marker::Opaque => {
                let opaque = self.tree.directory(directory, Missing::Make)?.opaque;
                self.mark_opaque(opaque)?;
                return self.mark_opaque(vec![directory.to_vec()]);
            }
            Marker::Whiteout(deleted) => {
                let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
                let target = [directory, separator, deleted].concat();
                return self.whiteout(entry, &target);
            }
        }
        match &entry.kind {
            EntryKind::Directory => self.directory(path, entry),
            EntryKind::File => self.file(&path, entry, archive),
            EntryKind::HardLink(target) => self.hard_link(&path, entry, target),
            _ => self.node(&path, entry),
        }
    }

    /// Opens where `path` is to be, and notes the directories on the way that hide what is below them.
    fn locate<'p>(&mut self, path: &'p [u8]) -> Result<(BorrowedFd<'_>, &'p [u8])> {
        let opaque = locate(&mut self.tree, path, Missing::Make)?.0.opaque;
        self.mark_opaque(opaque)?;
        let (walked, name) = locate(&mut self.tree, path, Missing::Refuse)?;
        Ok((walked.directory, name))
    }

    fn file(&mut self, path: &[u8], entry: &Entry, archive: &mut Archive<impl Tape>) -> Result<()> {
        let (directory, name) = self.locate(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(directory, name, flags, Mode::from_raw_mode(entry.mode & 0o777));
        let (file, replaced) = replacing(directory, name, create).map_err(|error| system_failed(entry, error))?;
        self.forget(path, replaced);
        self.content(entry, file.as_fd(), archive)?;
        metadata::set_on_file(file.as_fd(), entry).map_err(|error| system_failed(entry, error))
    }

    fn content(&mut self, entry: &Entry, file: BorrowedFd<'_>, archive: &mut Archive<impl Tape>) -> Result<()> {
        let whole = [(0, entry.stored)];
        let segments = match &entry.content {
            Content::Whole => &whole[..],
            Content::Sparse(segments) => segments,
        };
        for (offset, length) in segments {
            let (mut offset, mut rest) = (*offset, *length);
            while rest > 0 {
                let bytes = archive.data().map_err(|error| read_failed_in(entry, error))?;
                let bytes = &bytes[..bytes.len().min(usize::try_from(rest).unwrap_or(usize::MAX))];
                if bytes.is_empty() {
                    return Err(refuse(entry, "its data ends early"));
                }
                let count = write(file, bytes, offset).map_err(|error| system_failed(entry, error))?;
                archive.consume(count);
                self.count_bytes(count as u64)?;
                (offset, rest) = (offset + count as u64, rest - count as u64);
            }
        }
        if matches!(entry.content, Content::Sparse(_)) {
            ftruncate(file, entry.size).map_err(|error| system_failed(entry, error))?;
        }
        Ok(())
    }

    /// Holds the limits against archives that are small and unpack to a lot.
    fn count_bytes(&mut self, bytes: u64) -> Result<()> {
        self.written += bytes;
        if self.written > self.limits.layer_bytes {
            let limit = self.limits.layer_bytes >> 20;
            return Err(Error::new(
                Kind::Unavailable,
                format!("the layer unpacks to more than {limit} MB; raise the limit if that is right"),
            ));
        }
        if self.written >= self.next_space_check {
            self.next_space_check = self.written + SPACE_INTERVAL;
            let space = fstatvfs(self.tree.root()).map_err(|error| failed(error, "look at the free space".into()))?;
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            if free < self.limits.keep_free {
                let free = free >> 20;
                return Err(Error::new(
                    Kind::Unavailable,
                    format!("only {free} MB of disk are left; free some and try again"),
                ));
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: Vec<u8>, entry: &Entry) -> Result<()> {
        let (directory, name) = self.locate(&path)?;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let mut hides_below = false;
        let made = match mkdirat(directory, name, mode) {
            Err(Errno::EXIST) => replace_by_directory(directory, name, mode, &mut hides_below),
            other => other.map(|()| true),
        };
        let made = made.map_err(|error| system_failed(entry, error))?;
        if !made || (entry.uid, entry.gid) != (0, 0) {
            metadata::set_owner(directory, name, entry).map_err(|error| system_failed(entry, error))?;
        }
        if hides_below {
            self.mark_opaque(vec![path.clone()])?;
        }
        self.directory_metadata(path, entry)
    }

    /// Keeps what a directory gets at the end.
    fn directory_metadata(&mut self, path: Vec<u8>, entry: &Entry) -> Result<()> {
        if path.is_empty() {
            metadata::set_owner(self.tree.root(), b".", entry).map_err(|error| system_failed(entry, error))?;
        }
        let pending = self.pending(path)?;
        pending.modified = Some(entry.modified);
        pending.mode = Some(entry.mode);
        pending.attributes = entry.attributes.iter().filter(|(name, _)| is_taken(name)).cloned().collect();
        let bytes: usize = pending.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.count_pending(bytes)
    }

    fn pending(&mut self, path: Vec<u8>) -> Result<&mut Pending> {
        if !self.pending.contains_key(&path) {
            self.count_pending(path.len() + 160)?;
        }
        Ok(self.pending.entry(path).or_default())
    }

    fn count_pending(&mut self, bytes: usize) -> Result<()> {
        self.pending_bytes += bytes;
        if self.pending_bytes > MOST_DIRECTORY_BYTES {
            return Err(Error::new(Kind::Unavailable, "the layer has too many directories"));
        }
        Ok(())
    }

    /// Drops what was to be set on directories at or below a path, if it was replaced by something else.
    fn forget(&mut self, path: &[u8], replaced: bool) {
        if !replaced {
            return;
        }
        self.pending.remove(path);
        let (first, last) = ([path, b"/"].concat(), [path, b"0"].concat());
        let below: Vec<Vec<u8>> = self.pending.range(first..last).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.pending.remove(&path);
        }
    }

    fn mark_opaque(&mut self, directories: Vec<Vec<u8>>) -> Result<()> {
        for directory in directories {
            self.pending(directory)?.opaque = true;
        }
        Ok(())
    }

    /// Deletes a name of the layers below: as overlayfs has it, a character device 0:0. What this layer has itself
    /// under that name stays, in whatever order the two came: a whiteout never speaks of its own layer.
    fn whiteout(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        let (directory, name) = self.locate(target)?;
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|error| system_failed(entry, error)),
            Err(error) => Err(system_failed(entry, error)),
            Ok(stat) if is_directory(&stat) => self.mark_opaque(vec![target.to_vec()]),
            Ok(_) => Ok(()),
        }
    }

    fn hard_link(&mut self, path: &[u8], entry: &Entry, target: &[u8]) -> Result<()> {
        let wanted = normalize(target).map_err(|reason| refuse(entry, &format!("its target: {reason}")))?;
        let (target_directory, target_name) = split(&wanted);
        let missing = |error: Errno| match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => {
                refuse(entry, &format!("its target `{}` is not in this layer", shown(target)))
            }
            error => system_failed(entry, error),
        };
        let target_directory = self.tree.elsewhere(target_directory).map_err(missing)?;
        if target_name.is_empty() {
            return Err(refuse(entry, "its target is a directory"));
        }
        let stat = statat(&target_directory, target_name, AtFlags::SYMLINK_NOFOLLOW).map_err(missing)?;
        if is_directory(&stat) {
            return Err(refuse(entry, "its target is a directory"));
        }
        let (directory, name) = self.locate(path)?;
        if same_file(&target_directory, target_name, directory, name) {
            return Ok(());
        }
        let link = || linkat(&target_directory, target_name, directory, name, AtFlags::empty());
        let ((), replaced) = replacing(directory, name, link).map_err(missing)?;
        self.forget(path, replaced);
        Ok(())
    }

    /// Symbolic links, pipes and devices.
    fn node(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let devices = self.devices;
        let (directory, name) = self.locate(path)?;
        let mode = Mode::from_raw_mode(entry.mode);
        let make = || match &entry.kind {
            EntryKind::Symlink(target) => symlinkat(target.as_slice(), directory, name),
            EntryKind::CharacterDevice(major, minor) => devices.make(path, FileType::CharacterDevice, (*major, *minor)),
            EntryKind::BlockDevice(major, minor) => devices.make(path, FileType::BlockDevice, (*major, *minor)),
            _ => mknodat(directory, name, FileType::Fifo, mode, 0),
        };
        let ((), replaced) = replacing(directory, name, make).map_err(|error| system_failed(entry, error))?;
        metadata::set_on_node(directory, name, entry).map_err(|error| system_failed(entry, error))?;
        self.forget(path, replaced);
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked> {
        let mut opaque = Vec::new();
        for (path, pending) in std::mem::take(&mut self.pending) {
            let walked = match path.is_empty() {
                true => self.tree.root(),
                false => self.tree.directory(&path, Missing::Refuse)?.directory,
            };
            let Pending { modified, mode, attributes, opaque: is_opaque } = &pending;
            metadata::set_on_directory(walked, *mode, attributes, *modified)
                .map_err(|error| failed(error, format!("entry `{}`", shown(&path))))?;
            if *is_opaque && !path.is_empty() {
                opaque.push(path);
            }
        }
        Ok(Unpacked { bytes: self.written, opaque })
    }
}

/// A directory entry for a name that exists: a directory stays (false), anything else makes room (true).
fn replace_by_directory(
    parent: BorrowedFd<'_>,
    name: &[u8],
    mode: Mode,
    hides_below: &mut bool,
) -> rustix::io::Result<bool> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_directory(&stat) {
        return Ok(false);
    }
    *hides_below = is_whiteout(&stat);
    remove(parent, name)?;
    mkdirat(parent, name, mode).map(|()| true)
}

/// Makes something in the place of whatever is there; whether something was.
fn replacing<T>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<(T, bool)> {
    match make() {
        Err(Errno::EXIST) => remove(parent, name).and_then(|()| make()).map(|made| (made, true)),
        other => other.map(|made| (made, false)),
    }
}

fn write(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> rustix::io::Result<usize> {
    match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))? {
        0 => Err(Errno::IO),
        count => Ok(count),
    }
}

fn system_failed(entry: &Entry, error: Errno) -> Error {
    failed(error, format!("entry `{}`", shown(&entry.path)))
}

fn read_failed(error: io::Error) -> Error {
    Error::new(error.cause_kind(), error.to_string())
}

fn read_failed_in(entry: &Entry, error: io::Error) -> Error {
    Error::new(error.cause_kind(), format!("entry `{}`: {error}", shown(&entry.path)))
}
