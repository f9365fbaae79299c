//! Directory trees into archives.
//!
//! The tree may belong to a running, hostile container. So every step goes from an open directory to a name in it;
//! what a name is, is asked of the very descriptor that is read afterwards (`O_PATH`, then the same file again through
//! `/proc/self/fd`); no link is followed, no FIFO or device opened. What vanishes while we look is left out.
//!
//! Names are sorted, so that equal trees give equal archives.

use std::collections::HashMap;
use std::collections::hash_map;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use failure::{Context, Error, Result};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Kind, Member, Writer, attributes, holes};

const BUFFER: usize = 256 << 10;

/// What the marks of overlayfs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Nothing: the tree is a whole one.
    Plain,
    /// The tree is an upper layer: a character device 0/0 is a deletion, an opaque directory hides what is below it.
    /// The archive gets the `.wh.` files that image layers have instead.
    Layer,
}

/// How to read a tree.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Subtracted from owners: the host's ids of the container's root where the tree is seen through a map.
    pub root_uid: u32,
    /// Subtracted from groups.
    pub root_gid: u32,
    /// What overlayfs' marks mean.
    pub marks: Marks,
    /// Whether to leave out what is mounted in the tree.
    pub one_file_system: bool,
}

/// Writes trees into an archive; remembers files with several names from one to the next.
pub struct Tree<'w, 'o> {
    writer: &'w mut Writer<'o>,
    source: Source,
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    device: Option<u64>,
    /// Where an appended tree began.
    top: Option<u64>,
    /// No time after this second is written.
    latest: Option<i64>,
    newest: Option<(i64, u32)>,
}

/// A directory whose entries are being written.
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
}

/// What a name turned out to be.
struct Found {
    handle: OwnedFd,
    status: Stat,
    path: Vec<u8>,
}

/// File systems whose files are views of the kernel: they come and go, and some never end. The magic numbers of proc,
/// sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, configfs and bpf.
const OF_KERNEL: [u64; 11] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0xcafe_4a11,
];

impl<'w, 'o> Tree<'w, 'o> {
    /// Trees read as `source` says.
    pub fn new(writer: &'w mut Writer<'o>, source: Source) -> Self {
        Self {
            writer,
            source,
            links: HashMap::new(),
            buffer: Vec::new(),
            device: None,
            top: None,
            latest: None,
            newest: None,
        }
    }

    /// The same, where every time after `latest` (in seconds) becomes that, if there is one.
    #[must_use]
    pub fn clamped(mut self, latest: Option<i64>) -> Self {
        self.latest = latest;
        self
    }

    /// The newest time that was written of a file, in seconds and nanoseconds; none when there was none.
    pub fn newest(&self) -> Option<(i64, u32)> {
        self.newest
    }

    /// Writes everything in a directory, but not itself.
    ///
    /// # Errors
    /// Something cannot be read, or the output fails.
    pub fn contents(&mut self, directory: BorrowedFd<'_>) -> Result<()> {
        let directory =
            rustix::fs::openat(directory, ".", READ_DIRECTORY, Mode::empty()).context("open a directory")?;
        if self.source.one_file_system {
            self.device = Some(rustix::fs::fstat(&directory).context("look at a directory")?.st_dev);
        }
        let level = Level::new(directory, Vec::new())?;
        self.walk(level)
    }

    /// Writes what `handle` names (a descriptor that may be `O_PATH`), called `path` in the archive, and all in it; but
    /// not what the kernel shows in /proc and its like, unless it begins there.
    ///
    /// # Errors
    /// It cannot be read, or the output fails.
    pub fn append(&mut self, handle: OwnedFd, path: &[u8]) -> Result<()> {
        let status = rustix::fs::fstat(&handle).with_context(|| name_of(path))?;
        self.top = Some(status.st_dev);
        let found = Found { handle, status, path: path.to_vec() };
        match self.write(found)? {
            Some(level) => self.walk(level),
            None => Ok(()),
        }
    }

    fn walk(&mut self, top: Level) -> Result<()> {
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let path = join(&level.path, name.to_bytes());
            if let Some(found) = look(level.directory.as_fd(), &name, path)?
                && let Some(below) = self.write(found)?
            {
                levels.push(below);
            }
        }
        Ok(())
    }

    /// Writes one thing. A directory is given back, to be walked.
    fn write(&mut self, found: Found) -> Result<Option<Level>> {
        let (major, minor) = (rustix::fs::major(found.status.st_rdev), rustix::fs::minor(found.status.st_rdev));
        match FileType::from_raw_mode(found.status.st_mode) {
            FileType::RegularFile => self.regular(&found)?,
            FileType::Directory => return self.directory(&found),
            FileType::Symlink => {
                let failed = || name_of(&found.path);
                let text = rustix::fs::readlinkat(&found.handle, c"", Vec::new()).with_context(failed)?;
                self.member(&found, Kind::Symlink(text.to_bytes()), &[])?;
            }
            FileType::CharacterDevice if self.source.marks == Marks::Layer && found.status.st_rdev == 0 => {
                self.whiteout(&found)?;
            }
            FileType::CharacterDevice => self.member(&found, Kind::CharacterDevice(major, minor), &[])?,
            FileType::BlockDevice => self.member(&found, Kind::BlockDevice(major, minor), &[])?,
            FileType::Fifo => self.member(&found, Kind::Fifo, &[])?,
            // A socket is nothing without the process that listens on it.
            FileType::Socket | FileType::Unknown => {}
        }
        Ok(None)
    }

    fn directory(&mut self, found: &Found) -> Result<Option<Level>> {
        let failed = || name_of(&found.path);
        let directory = match reopen(&found.handle, READ_DIRECTORY) {
            Err(Errno::NOENT) => return Ok(None),
            directory => directory.with_context(failed)?,
        };
        let attributes = attributes::read(directory.as_fd(), self.source.root_uid).with_context(failed)?;
        self.member(found, Kind::Directory, &attributes)?;
        if self.source.marks == Marks::Layer && attributes::is_opaque(directory.as_fd()).with_context(failed)? {
            self.mark(&join(&found.path, b".wh..wh..opq"))?;
        }
        if self.device.is_some_and(|device| device != found.status.st_dev) {
            return Ok(None);
        }
        let entered = self.top.is_some_and(|top| top != found.status.st_dev);
        if entered && is_of_kernel(&directory).with_context(failed)? {
            return Ok(None);
        }
        Level::new(directory, found.path.clone()).map(Some)
    }

    fn whiteout(&mut self, found: &Found) -> Result<()> {
        let (parent, name) = match found.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&found.path[..slash], &found.path[slash + 1..]),
            None => (&b""[..], &found.path[..]),
        };
        self.mark(&join(parent, &[b".wh.", name].concat()))
    }

    /// Writes the empty file that stands for a mark. It has no time: when something was deleted is not in the tree.
    fn mark(&mut self, path: &[u8]) -> Result<()> {
        let (kind, modified) = (Kind::File(0), (0, 0));
        let member = Member { path, kind, mode: 0, uid: 0, gid: 0, modified, attributes: &[] };
        self.writer.member(&member).context("write the archive")
    }

    fn regular(&mut self, found: &Found) -> Result<()> {
        let failed = || name_of(&found.path);
        if found.status.st_nlink > 1 {
            match self.links.entry((found.status.st_dev, found.status.st_ino)) {
                hash_map::Entry::Occupied(first) => {
                    let target = first.get().clone();
                    return self.member(found, Kind::HardLink(&target), &[]);
                }
                hash_map::Entry::Vacant(place) => {
                    place.insert(found.path.clone());
                }
            }
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = reopen(&found.handle, flags).with_context(failed)?;
        let attributes = attributes::read(file.as_fd(), self.source.root_uid).with_context(failed)?;
        let size = u64::try_from(found.status.st_size).unwrap_or(0);
        let pieces = match self.source.marks {
            Marks::Layer => holes::by_content(&file, &found.status),
            Marks::Plain => holes::allocated(&file, &found.status),
        };
        match pieces.with_context(failed)? {
            Some(mut pieces) => {
                let stored: Vec<(u64, u64)> = pieces.clone();
                if pieces.last().is_none_or(|(offset, length)| offset + length < size) {
                    // The length of a file that ends in a hole is told by an empty piece.
                    pieces.push((size, 0));
                }
                self.member(found, Kind::Sparse(size, &pieces), &attributes)?;
                for (offset, length) in stored {
                    self.copy(&file, offset, length).with_context(failed)?;
                }
            }
            None => {
                self.member(found, Kind::File(size), &attributes)?;
                self.copy(&file, 0, size).with_context(failed)?;
            }
        }
        Ok(())
    }

    /// Copies a range. A file that has become shorter gives zeros, so that the archive stays whole.
    fn copy(&mut self, file: &OwnedFd, offset: u64, length: u64) -> Result<()> {
        self.buffer.resize(BUFFER, 0);
        let end = offset + length;
        let mut position = offset;
        while position < end {
            let step = usize::try_from(end - position).unwrap_or(BUFFER).min(BUFFER);
            let count = match rustix::io::pread(file, &mut self.buffer[..step], position) {
                Err(Errno::INTR) => continue,
                count => count.context("read")?,
            };
            if count == 0 {
                self.buffer[..step].fill(0);
            }
            let count = if count == 0 { step } else { count };
            self.writer.data(&self.buffer[..count]).context("write the archive")?;
            position += count as u64;
        }
        Ok(())
    }

    fn member(&mut self, found: &Found, kind: Kind<'_>, attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut modified = (found.status.st_mtime, u32::try_from(found.status.st_mtime_nsec).unwrap_or(0));
        if let Some(latest) = self.latest.filter(|latest| modified > (*latest, 0)) {
            modified = (latest, 0);
        }
        self.newest = self.newest.max(Some(modified));
        let member = Member {
            path: &found.path,
            kind,
            mode: found.status.st_mode,
            uid: unmapped(found.status.st_uid, self.source.root_uid),
            gid: unmapped(found.status.st_gid, self.source.root_gid),
            modified,
            attributes,
        };
        self.writer.member(&member).context("write the archive")
    }
}

const READ_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn is_of_kernel(directory: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(OF_KERNEL.contains(&(rustix::fs::fstatfs(directory)?.f_type as u64)))
}

impl Level {
    fn new(directory: OwnedFd, path: Vec<u8>) -> Result<Self> {
        let failed = || name_of(&path);
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable();
        Ok(Self { directory, path, names: names.into_iter() })
    }
}

/// Takes hold of what a name in a directory is now; none when it is gone.
fn look(directory: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> Result<Option<Found>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::MFILE) => {
            return Err(Error::invalid(format!("{}: too deep for the limit on open files", name_of(&path))));
        }
        handle => handle.with_context(|| name_of(&path))?,
    };
    let status = rustix::fs::fstat(&handle).with_context(|| name_of(&path))?;
    Ok(Some(Found { handle, status, path }))
}

/// Opens the very file that an `O_PATH` descriptor holds.
fn reopen(handle: &OwnedFd, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    if flags.contains(OFlags::DIRECTORY) {
        return rustix::fs::openat(handle, ".", flags, Mode::empty());
    }
    rustix::fs::openat(CWD, format!("/proc/self/fd/{}", handle.as_raw_fd()), flags - OFlags::NOFOLLOW, Mode::empty())
}

/// An id as the container has it; `nobody` for those that it cannot have.
fn unmapped(id: u32, root: u32) -> u32 {
    match id.checked_sub(root) {
        Some(inside) if root == 0 || inside < 65536 => inside,
        _ => 65534,
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn name_of(path: &[u8]) -> String {
    format!("read `/{}`", String::from_utf8_lossy(path))
}
