//! Writing a tar stream into a tree that may be somebody else's and changing.
//!
//! Each entry's directory is resolved anew from the root of the tree, in one of two ways, and everything is then done
//! by name in that open directory: what is in the way is removed, never written to, and files are made with O_EXCL. So a
//! link or a FIFO that somebody puts there at the wrong moment is an error, not a way out.
//!
//! A directory does not replace a file, nor a file a directory, as with `docker cp`.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use failure::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::open_in_root;
use crate::archive::{Archive, Content, Entry, EntryKind, Tape};
use crate::input::{Compression, decompress};
use crate::overlay::as_ids;

/// How far paths of the archive may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anywhere in the root, through its links: a container's tree, where the container could put it there itself.
    InRoot,
    /// Only below the directory and through no link: the host's.
    Below {
        /// Whether to keep owners, set-id bits, capabilities and devices; without it all belongs to the caller.
        keep_owners: bool,
    },
}

/// Where to unpack.
pub(super) struct Target<'a> {
    /// The root of the tree.
    pub(super) root: BorrowedFd<'a>,
    /// The directory in it.
    pub(super) directory: PathBuf,
    pub(super) reach: Reach,
    /// Added to owners.
    pub(super) root_uid: u32,
    /// Added to groups.
    pub(super) root_gid: u32,
}

/// A stream as the archive reader wants it.
struct Stream<R>(BufReader<R>);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> BufRead for Stream<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl<R: Read> Tape for Stream<R> {}

type Tar<'s> = Archive<Stream<Box<dyn Read + 's>>>;

/// What a directory gets when everything is in it.
struct Pending {
    path: PathBuf,
    modified: Timestamps,
}

impl Target<'_> {
    /// Unpacks a whole stream, compressed or not.
    pub(super) fn extract(&self, input: &mut dyn Read) -> Result<()> {
        let mut input = BufReader::with_capacity(64 << 10, input);
        let compression = Compression::of(&mut input)?;
        let mut archive = Archive::new(Stream(BufReader::with_capacity(64 << 10, decompress(input, compression)?)));
        let ids = (self.root_uid != 0).then_some((self.root_uid, self.root_gid));
        let mut outcome = Ok(());
        as_ids(ids, || {
            outcome = self.entries(&mut archive);
            Ok(())
        })
        .context("take the container's ids")?;
        outcome
    }

    fn entries(&self, archive: &mut Tar<'_>) -> Result<()> {
        let mut directories = Vec::new();
        while let Some(entry) = archive.next_entry().context("read the archive")? {
            let path = relative(&entry)?;
            self.entry(&entry, &path, archive, &mut directories)
                .with_context(|| format!("unpack `{}`", path.display()))?;
        }
        // Deepest last in the archive, so first here: setting a parent's time must not be undone by its children.
        for Pending { path, modified } in directories.iter().rev() {
            if let Ok(directory) = self.open(path) {
                let again = reopen_directory(directory.as_fd()).context("open a directory")?;
                rustix::fs::futimens(&again, modified).context("set a time")?;
            }
        }
        archive.drain().context("read the archive")
    }

    fn entry(&self, entry: &Entry, path: &Path, archive: &mut Tar<'_>, pending: &mut Vec<Pending>) -> Result<()> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            // The root of the archive is the destination itself, and stays what it is.
            return Ok(());
        };
        let parent = self.make_directories(parent)?;
        let (parent, name) = (parent.as_fd(), Path::new(name));
        if !self.make_way(parent, name, entry)? {
            self.directory_metadata(parent, name, entry)?;
            pending.push(Pending { path: path.to_owned(), modified: times(entry) });
            return Ok(());
        }
        match &entry.kind {
            EntryKind::Directory => {
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).context("make a directory")?;
                self.directory_metadata(parent, name, entry)?;
                pending.push(Pending { path: path.to_owned(), modified: times(entry) });
                Ok(())
            }
            EntryKind::File => self.file(parent, name, entry, archive),
            EntryKind::HardLink(target) => self.hard_link(parent, name, target),
            EntryKind::Symlink(text) => {
                rustix::fs::symlinkat(text.as_slice(), parent, name).context("make a link")?;
                self.node_metadata(parent, name, entry)
            }
            EntryKind::Fifo => self.node(parent, name, entry, FileType::Fifo, 0),
            EntryKind::CharacterDevice(major, minor) if self.keeps_owners() => {
                self.node(parent, name, entry, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            EntryKind::BlockDevice(major, minor) if self.keeps_owners() => {
                self.node(parent, name, entry, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
            EntryKind::CharacterDevice(..) | EntryKind::BlockDevice(..) => Ok(()),
        }
    }

    /// Removes what is in the way. False: it is a directory as the entry is, and stays.
    fn make_way(&self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry) -> Result<bool> {
        let status = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(true),
            status => status.context("look at what is there")?,
        };
        let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        match (is_directory, entry.kind == EntryKind::Directory) {
            (true, true) => Ok(false),
            (true, false) => Err(Error::conflict("cannot overwrite a directory with a file")),
            (false, true) => Err(Error::conflict("cannot overwrite a file with a directory")),
            (false, false) => match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(true),
                Err(errno) => Err(errno).context("replace what is there"),
            },
        }
    }

    fn file(&self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry, archive: &mut Tar<'_>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).context("make a file")?;
        let whole = [(0, entry.size)];
        let ranges = match &entry.content {
            Content::Whole => &whole[..],
            Content::Sparse(ranges) => ranges,
        };
        for (offset, length) in ranges {
            write_range(&file, *offset, *length, archive)?;
        }
        if matches!(entry.content, Content::Sparse(_)) {
            rustix::fs::ftruncate(&file, entry.size).context("write a file")?;
        }
        self.open_metadata(file.as_fd(), entry)?;
        rustix::fs::futimens(&file, &times(entry)).context("set a time")
    }

    fn hard_link(&self, parent: BorrowedFd<'_>, name: &Path, target: &[u8]) -> Result<()> {
        let target = clean(target)?;
        let (Some(target_name), Some(target_parent)) = (target.file_name(), target.parent()) else {
            return Err(Error::invalid("a hard link to nothing"));
        };
        let directory = self.open(target_parent).context("find what a hard link names")?;
        rustix::fs::linkat(&directory, Path::new(target_name), parent, name, AtFlags::empty())
            .context("make a hard link")
    }

    fn node(&self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry, kind: FileType, device: u64) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        rustix::fs::mknodat(parent, name, kind, mode, device).context("make a special file")?;
        self.node_metadata(parent, name, entry)
    }

    /// What a link or a special file gets, which is never opened.
    fn node_metadata(&self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry) -> Result<()> {
        if self.keeps_owners() {
            let (owner, group) = self.owner(entry)?;
            rustix::fs::chownat(parent, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .context("set the owner")?;
        }
        rustix::fs::utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW).context("set a time")
    }

    fn directory_metadata(&self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty()).context("open a directory")?;
        self.open_metadata(directory.as_fd(), entry)
    }

    /// What an open file or directory gets: a new owner clears set-id bits and capabilities, so the owner is first.
    fn open_metadata(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        let mut mode = entry.mode & 0o7777;
        if self.keeps_owners() {
            let (owner, group) = self.owner(entry)?;
            rustix::fs::fchown(file, Some(owner), Some(group)).context("set the owner")?;
        } else {
            mode &= !0o6000;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).context("set the mode")?;
        for (name, value) in &entry.attributes {
            let taken = name.starts_with(b"user.") || (name == b"security.capability" && self.keeps_owners());
            if taken {
                match rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(errno) => return Err(errno).context("set an attribute"),
                }
            }
        }
        Ok(())
    }

    fn keeps_owners(&self) -> bool {
        matches!(self.reach, Reach::InRoot | Reach::Below { keep_owners: true })
    }

    fn owner(&self, entry: &Entry) -> Result<(Uid, Gid)> {
        let shift = |id: u32, root: u32| match id.checked_add(root) {
            Some(shifted) if id != u32::MAX && (root == 0 || id < 65536) => Ok(shifted),
            _ => Err(Error::invalid(format!("owner {id} cannot exist in the container, which has ids 0 to 65535"))),
        };
        Ok((Uid::from_raw(shift(entry.uid, self.root_uid)?), Gid::from_raw(shift(entry.gid, self.root_gid)?)))
    }

    /// Opens a directory of the tree.
    fn open(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.reach {
            Reach::InRoot => open_in_root(self.root, &self.directory.join(path), flags),
            Reach::Below { .. } => {
                let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                rustix::fs::openat2(self.root, path, flags, Mode::empty(), resolve)
            }
        }
    }

    /// Opens a directory of the tree, and makes it where it is missing; the destination itself must exist.
    fn make_directories(&self, path: &Path) -> Result<OwnedFd> {
        match self.open(path) {
            Err(Errno::NOENT) if !path.as_os_str().is_empty() => {}
            Err(Errno::NOENT) => {
                return Err(Error::not_found(format!("no such directory `/{}`", self.directory.display())));
            }
            other => return other.context("open a directory"),
        }
        let parent = self.make_directories(path.parent().unwrap_or(Path::new("")))?;
        let name = Path::new(path.file_name().unwrap_or_default());
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).context("make a directory"),
        }
        self.open(path).context("open a directory")
    }
}

fn reopen_directory(directory: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn write_range(file: &OwnedFd, offset: u64, length: u64, archive: &mut Tar<'_>) -> Result<()> {
    let mut position = offset;
    while position < offset + length {
        let bytes = archive.data().context("read the archive")?;
        let step = bytes.len().min(usize::try_from(offset + length - position).unwrap_or(usize::MAX));
        if step == 0 {
            return Err(Error::invalid("the archive ends within a file"));
        }
        let count = match rustix::io::pwrite(file, &bytes[..step], position) {
            Err(Errno::INTR) => continue,
            count => count.context("write a file")?,
        };
        archive.consume(count);
        position += count as u64;
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let modified = Timespec { tv_sec: entry.modified.seconds, tv_nsec: entry.modified.nanoseconds.into() };
    Timestamps { last_access: omit, last_modification: modified }
}

fn relative(entry: &Entry) -> Result<PathBuf> {
    clean(&entry.path).map_err(|error| {
        let path = entry.path.escape_ascii();
        Error::invalid(format!("entry `{path}` of the archive is refused")).with_source(error)
    })
}

/// A path of the archive without `.`, empty parts and a leading slash. One that goes upwards is refused.
fn clean(path: &[u8]) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Error::invalid("the path goes upwards (`..`)")),
            part => clean.push(std::ffi::OsStr::from_bytes(part)),
        }
    }
    Ok(clean)
}
