//! A layer's tree as it lies on disk, compared with what the archive in its blob says: names, kinds, modes, owners,
//! times, attributes, links and bytes. Nothing is unpacked, and no link is followed.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use failure::{Cause, Context, Error, Kind, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::fs::{fstat, makedev, openat, openat2, readlinkat, statat};
use rustix::io::{Errno, pread, retry_on_intr};

use super::model::{Inode, Metadata, Model, Node};
use crate::Limits;
use crate::archive::{Archive, Content, Entry, EntryKind, Tape};
use crate::tarball::{attributes_of, is_opaque};
use crate::unpack::shown;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How many differences are told; of the others only their number.
const MOST_LINES: usize = 8;
/// Times that every file system can hold.
const SURE_TIMES: std::ops::Range<i64> = -0x8000_0000..0x8000_0000;

/// A tree to look at.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// The directories that are marked as hiding those below.
    opaque: HashSet<Vec<u8>>,
}

impl Tree {
    /// Takes a tree. Reads the marks of overlayfs, for which the caller must still have the right.
    pub(crate) fn open(root: OwnedFd) -> Result<Self> {
        let mut opaque = HashSet::new();
        let mut levels = vec![Level::new(root.try_clone().context("copy a descriptor")?, Vec::new())?];
        while let Some((name, path)) = step(&mut levels) {
            let Some(directory) = levels.last().map(|level| level.directory.as_fd()) else { break };
            let Ok(below) = openat(directory, &name, DIRECTORY, Mode::empty()) else { continue };
            if is_opaque(below.as_fd()).with_context(|| read_failed(&path))? {
                opaque.insert(path.clone());
            }
            levels.push(Level::new(below, path)?);
        }
        Ok(Self { root, opaque })
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a file of it for reading; none where there is no regular file.
    fn open_file(&self, path: &[u8]) -> Option<(OwnedFd, Stat)> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let is_regular = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        // Devices and pipes are not even opened.
        let place = openat2(&self.root, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty(), resolve).ok()?;
        fstat(&place).ok().filter(is_regular)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(&self.root, path, flags, Mode::empty(), resolve).ok()?;
        let stat = fstat(&file).ok().filter(is_regular)?;
        Some((file, stat))
    }
}

/// Directories being walked: each open, with the names that are still to come.
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
}

impl Level {
    fn new(directory: OwnedFd, path: Vec<u8>) -> Result<Self> {
        let failed = || read_failed(&path);
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).with_context(failed)? {
            let name = entry.with_context(failed)?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(Self { directory, path, names: names.into_iter() })
    }
}

/// The next name in the last directory that has one, and its path.
fn step(levels: &mut Vec<Level>) -> Option<(CString, Vec<u8>)> {
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.names.next() {
            let separator: &[u8] = if level.path.is_empty() { b"" } else { b"/" };
            let path = [level.path.as_slice(), separator, name.to_bytes()].concat();
            return Some((name, path));
        }
        levels.pop();
    }
    None
}

/// What a comparison has brought to light.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// The bytes of all files in the archive, holes not counted.
    pub(crate) bytes: u64,
    /// The length of the archive.
    pub(crate) length: u64,
    /// What differs, as lines; none: the tree is equal.
    pub(crate) lines: Vec<String>,
}

/// Compares a tree with an archive.
///
/// # Errors
/// The archive cannot be read to its end, or the system fails.
pub(crate) fn compare(archive: &mut Archive<impl Tape>, tree: Tree, limits: &Limits) -> Result<Compared> {
    let mut model = Model::default();
    let (mut entries, mut bytes) = (0, 0);
    while let Some(entry) = archive.next_entry().map_err(cannot_read)? {
        entries += 1;
        if entries > limits.layer_entries {
            return Err(Error::new(Kind::Unavailable, "its blob has too many entries"));
        }
        bytes += if entry.kind == EntryKind::File { entry.stored } else { 0 };
        model.apply(&entry, |path| has_bytes(&tree, path, &entry, archive))?;
    }
    archive.drain().map_err(cannot_read)?;
    let mut comparison = Comparison { tree, model, places: HashMap::new(), differences: Differences::default() };
    comparison.walk()?;
    Ok(Compared { bytes, length: archive.position(), lines: comparison.differences.lines() })
}

fn cannot_read(error: io::Error) -> Error {
    Error::new(error.cause_kind(), format!("its blob cannot be read: {error}"))
}

/// Whether the file at a path has the bytes of this entry, which are read to their end only as long as they are equal.
fn has_bytes(tree: &Tree, path: &[u8], entry: &Entry, archive: &mut Archive<impl Tape>) -> Result<bool> {
    let Some((file, stat)) = tree.open_file(path) else { return Ok(false) };
    if u64::try_from(stat.st_size) != Ok(entry.size) {
        return Ok(false);
    }
    let whole = [(0, entry.stored)];
    let segments = match &entry.content {
        Content::Whole => &whole[..],
        Content::Sparse(segments) => segments,
    };
    let mut buffer = Vec::new();
    let mut position = 0;
    for (offset, length) in segments.iter().copied() {
        if !is_zero(&file, position, offset, &mut buffer)? {
            return Ok(false);
        }
        let mut rest = length;
        position = offset;
        while rest > 0 {
            let bytes = archive.data().map_err(cannot_read)?;
            let bytes = &bytes[..bytes.len().min(usize::try_from(rest).unwrap_or(usize::MAX))];
            if bytes.is_empty() {
                return Err(Error::invalid(format!("its blob ends within `{}`", shown(path))));
            }
            let count = bytes.len();
            if !is_equal(&file, position, bytes, &mut buffer)? {
                return Ok(false);
            }
            archive.consume(count);
            (position, rest) = (position + count as u64, rest - count as u64);
        }
    }
    is_zero(&file, position, entry.size, &mut buffer)
}

/// Whether a file has these bytes at a place. What cannot be read has other bytes.
fn is_equal(file: &OwnedFd, position: u64, bytes: &[u8], buffer: &mut Vec<u8>) -> Result<bool> {
    buffer.resize(buffer.len().max(bytes.len()), 0);
    let mut done = 0;
    while done < bytes.len() {
        match retry_on_intr(|| pread(file, &mut buffer[done..bytes.len()], position + done as u64)) {
            Ok(0) | Err(Errno::IO | Errno::UCLEAN) => return Ok(false),
            Ok(count) => done += count,
            Err(error) => return Err(error).context("read a file of the tree"),
        }
    }
    Ok(buffer[..bytes.len()] == *bytes)
}

/// Whether there is nothing but zeros between two places.
fn is_zero(file: &OwnedFd, from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<bool> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut position = from;
    while position < to {
        // Holes are zeros without being read.
        position = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
            Err(Errno::NXIO) => return Ok(true),
            Err(_) => position,
            Ok(data) if data >= to => return Ok(true),
            Ok(data) => data,
        };
        let step = usize::try_from(to - position).unwrap_or(ZEROS.len()).min(ZEROS.len());
        if !is_equal(file, position, &ZEROS[..step], buffer)? {
            return Ok(false);
        }
        position += step as u64;
    }
    Ok(true)
}

#[derive(Default)]
struct Differences {
    told: Vec<String>,
    more: usize,
}

impl Differences {
    fn tell(&mut self, path: &[u8], what: impl AsRef<str>) {
        match self.told.len() < MOST_LINES {
            true => self.told.push(format!("`/{}` {}", shown(path), what.as_ref())),
            false => self.more += 1,
        }
    }

    fn lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more differences", self.more));
        }
        self.told
    }
}

struct Comparison {
    tree: Tree,
    model: Model,
    /// Where each inode of the model was first found: device and number.
    places: HashMap<usize, (u64, u64)>,
    differences: Differences,
}

impl Comparison {
    fn walk(&mut self) -> Result<()> {
        let root = self.tree.root.try_clone().context("copy a descriptor")?;
        if let Some(metadata) = self.model.root.take() {
            self.directory(root.as_fd(), b"", Some(&metadata), None)?;
        }
        let mut levels = vec![Level::new(root, Vec::new())?];
        while let Some((name, path)) = step(&mut levels) {
            let Some(directory) = levels.last().map(|level| level.directory.as_fd()) else { break };
            let Some(node) = self.model.nodes.remove(&path) else {
                self.differences.tell(&path, "should not be there");
                continue;
            };
            let stat = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW).with_context(|| read_failed(&path))?;
            let below = self.compare(directory, &name, &path, &node, &stat)?;
            if let Some(below) = below {
                levels.push(Level::new(below, path)?);
            }
        }
        let missing: Vec<Vec<u8>> = std::mem::take(&mut self.model.nodes).into_keys().collect();
        for path in missing {
            self.differences.tell(&path, "is missing");
        }
        Ok(())
    }

    /// Compares one path; a directory that is as it should be is given back, open.
    fn compare(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
        node: &Node,
        stat: &Stat,
    ) -> Result<Option<OwnedFd>> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        match node {
            Node::Directory { metadata, opaque } if kind == FileType::Directory => {
                let below = openat(directory, name, DIRECTORY, Mode::empty()).with_context(|| read_failed(path))?;
                self.directory(below.as_fd(), path, metadata.as_ref(), Some(*opaque))?;
                return Ok(Some(below));
            }
            Node::Directory { .. } => self.differences.tell(path, "should be a directory"),
            Node::Whiteout if kind == FileType::CharacterDevice && stat.st_rdev == 0 => {}
            Node::Whiteout => self.differences.tell(path, "should be the mark of a deleted name"),
            Node::Inode(number) => self.inode(directory, name, path, *number, stat)?,
        }
        Ok(None)
    }

    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        metadata: Option<&Metadata>,
        opaque: Option<bool>,
    ) -> Result<()> {
        let stat = fstat(directory).with_context(|| read_failed(path))?;
        match metadata {
            Some(metadata) => {
                self.metadata(path, metadata, &stat, true);
                self.attributes(path, metadata, directory)?;
            }
            None if (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) != (0o755, 0, 0) => {
                self.differences.tell(path, "should be root's, with mode 755");
            }
            None => {}
        }
        if opaque.is_some_and(|opaque| opaque != self.tree.opaque.contains(path)) {
            self.differences.tell(path, "differs in whether it hides the layers below");
        }
        Ok(())
    }

    fn inode(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
        number: usize,
        stat: &Stat,
    ) -> Result<()> {
        let place = (stat.st_dev, stat.st_ino);
        if *self.places.entry(number).or_insert(place) != place {
            self.differences.tell(path, "should be a hard link to another path");
        }
        let inode = &self.model.inodes[number];
        if !is_of_kind(inode, directory, name, stat) {
            self.differences.tell(path, format!("should be {}", kind_of(&inode.kind)));
            return Ok(());
        }
        if inode.kind == EntryKind::File && !inode.intact && !inode.moved {
            self.differences.tell(path, "has other bytes");
        }
        let metadata = inode.metadata.clone();
        self.metadata(path, &metadata, stat, !matches!(self.model.inodes[number].kind, EntryKind::Symlink(_)));
        if self.model.inodes[number].kind == EntryKind::File {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(directory, name, flags, Mode::empty()).with_context(|| read_failed(path))?;
            self.attributes(path, &metadata, file.as_fd())?;
        }
        Ok(())
    }

    fn metadata(&mut self, path: &[u8], wanted: &Metadata, stat: &Stat, has_mode: bool) {
        let mode = stat.st_mode & 0o7777;
        // The mask of an access control list is the mode's group.
        let compared = if wanted.attributes.iter().any(|(name, _)| is_acl(name)) { 0o7707 } else { 0o7777 };
        if has_mode && (mode ^ wanted.mode) & compared != 0 {
            self.differences.tell(path, format!("has mode {mode:o} and should have {:o}", wanted.mode));
        }
        if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
            let (owner, group) = (wanted.uid, wanted.gid);
            let what = format!("belongs to {}:{} and should to {owner}:{group}", stat.st_uid, stat.st_gid);
            self.differences.tell(path, what);
        }
        let same =
            stat.st_mtime == wanted.modified.seconds && stat.st_mtime_nsec == u64::from(wanted.modified.nanoseconds);
        if !same && SURE_TIMES.contains(&wanted.modified.seconds) {
            self.differences.tell(path, "has another time of change");
        }
    }

    fn attributes(&mut self, path: &[u8], wanted: &Metadata, file: BorrowedFd<'_>) -> Result<()> {
        let found = attributes_of(file).with_context(|| read_failed(path))?;
        let compared = |list: &[(Vec<u8>, Vec<u8>)]| -> Vec<(Vec<u8>, Vec<u8>)> {
            list.iter().filter(|(name, _)| !is_acl(name)).cloned().collect()
        };
        if compared(&found) != compared(&wanted.attributes) {
            self.differences.tell(path, "has other extended attributes");
        }
        Ok(())
    }
}

/// The kernel keeps lists in its own order, and none that says no more than the mode.
fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

fn is_of_kind(inode: &Inode, directory: BorrowedFd<'_>, name: &CString, stat: &Stat) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    match &inode.kind {
        EntryKind::File => kind == FileType::RegularFile && u64::try_from(stat.st_size) == Ok(inode.size),
        EntryKind::Symlink(text) => {
            kind == FileType::Symlink
                && readlinkat(directory, name, Vec::new()).is_ok_and(|found| found.as_bytes() == text.as_slice())
        }
        EntryKind::Fifo => kind == FileType::Fifo,
        EntryKind::CharacterDevice(major, minor) => {
            kind == FileType::CharacterDevice && stat.st_rdev == makedev(*major, *minor)
        }
        EntryKind::BlockDevice(major, minor) => {
            kind == FileType::BlockDevice && stat.st_rdev == makedev(*major, *minor)
        }
        EntryKind::Directory | EntryKind::HardLink(_) => false,
    }
}

fn kind_of(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "a file of another length",
        EntryKind::Symlink(_) => "another symbolic link",
        EntryKind::Fifo => "a pipe",
        _ => "another device",
    }
}

fn read_failed(path: &[u8]) -> String {
    format!("read `/{}` of the tree", shown(path))
}
