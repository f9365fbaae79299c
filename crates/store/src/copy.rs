//! Files into and out of a container: `skep cp`, with Docker's rules.
//!
//! Everything goes through a tar stream, also between the host and a container: one reader of trees ([`crate::tarball`])
//! and one writer of trees ([`extract`]), both working relative to open directories.
//!
//! The container may be running and hostile. A path of the container is resolved by the kernel, with the container's
//! root as the only root (`openat2`: IN_ROOT, NO_MAGICLINKS), once for each use; whatever the container swaps meanwhile,
//! the worst it can do is to have its own files copied or overwritten. On the host's side of a copy no link is
//! followed below the destination. FIFOs and devices are never opened, and nothing is ever executed.
//!
//! Where Docker's manual and Docker differ, this does what Docker does: a copy into a container keeps the owners of
//! its source, with and without `-a`; a copy out of it belongs to the caller. Stricter than Docker: without `-a`,
//! nothing that comes out of a container is set-uid, has file capabilities, or is a device.

mod extract;
mod place;

use std::ffi::OsStr;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use failure::{Context, Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::tarball::{Marks, Source, Tree, Writer};
use extract::{Reach, Target};
use place::{Destination, place};

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

/// How many links in a row a path may have: the kernel's limit.
const MOST_LINKS: usize = 40;

/// What is at a path of the container.
///
/// # Errors
/// Nothing is there.
pub fn status(root: &Root<'_>, path: &str) -> Result<PathStatus> {
    let handle = open(root, path, false)?;
    let status = rustix::fs::fstat(&handle).with_context(|| cannot_read(path))?;
    let link_target = match FileType::from_raw_mode(status.st_mode) {
        FileType::Symlink => open(root, path, true).map(|target| place_of(&target)).unwrap_or_default(),
        _ => PathBuf::new(),
    };
    Ok(PathStatus {
        name: place::last_name(Path::new(path)).to_string_lossy().into_owned(),
        size: u64::try_from(status.st_size).unwrap_or(0),
        mode: status.st_mode,
        modified: (status.st_mtime, u32::try_from(status.st_mtime_nsec).unwrap_or(0)),
        link_target,
    })
}

/// `cp CONTAINER:path -`: writes a tar whose first entry is the last component of `path`.
///
/// # Errors
/// Nothing is there, or it cannot be read or written.
pub fn out(root: &Root<'_>, path: &str, options: Options, output: &mut dyn Write) -> Result<()> {
    let handle = open(root, path, options.follow_link)?;
    pack(handle, place::last_name(Path::new(path)), inside(root), output)
}

/// `cp - CONTAINER:path`: unpacks a tar, plain or compressed, below the directory `path`, which must exist.
///
/// # Errors
/// It is no directory, or the archive is damaged or leads out of it.
pub fn into(root: &Root<'_>, path: &str, _options: Options, input: &mut dyn Read) -> Result<()> {
    let handle = open(root, path, true)?;
    if !is_directory(&handle).with_context(|| cannot_read(path))? {
        return Err(Error::invalid(format!("destination `{path}` must be a directory")));
    }
    into_container(root, Path::new(path), input)
}

/// `cp CONTAINER:source destination` of the host.
///
/// # Errors
/// As `docker cp`.
pub fn to_host(root: &Root<'_>, source: &str, destination: &Path, options: Options) -> Result<()> {
    let handle = open(root, source, options.follow_link)?;
    let source_is_directory = is_directory(&handle).with_context(|| cannot_read(source))?;
    let destination = host_destination(destination)?;
    let (directory, name) = place(source_is_directory, Path::new(source), &destination)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, &directory, flags, Mode::empty())
        .with_context(|| format!("open directory `{}`", directory.display()))?;
    let reach = Reach::Below { keep_owners: options.archive };
    let target = Target { root: opened.as_fd(), directory: PathBuf::new(), reach, root_uid: 0, root_gid: 0 };
    pipe(|output| pack(handle, &name, inside(root), output), |input| target.extract(input))
}

/// `cp source CONTAINER:destination` from the host.
///
/// # Errors
/// As `docker cp`.
pub fn from_host(root: &Root<'_>, source: &Path, destination: &str, options: Options) -> Result<()> {
    let handle = host_source(source, options.follow_link)?;
    let source_is_directory = is_directory(&handle).with_context(|| cannot_read(&source.to_string_lossy()))?;
    let destination = container_destination(root, destination)?;
    let (directory, name) = place(source_is_directory, source, &destination)?;
    let outside = Source { root_uid: 0, root_gid: 0, marks: Marks::Plain, one_file_system: false };
    pipe(|output| pack(handle, &name, outside, output), |input| into_container(root, &directory, input))
}

/// How a container's tree is read.
fn inside(root: &Root<'_>) -> Source {
    Source { root_uid: root.root_uid, root_gid: root.root_gid, marks: Marks::Plain, one_file_system: false }
}

fn pack(handle: OwnedFd, name: &OsStr, source: Source, output: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(output);
    Tree::new(&mut writer, source).append(handle, name.as_bytes())?;
    writer.finish().context("write the archive")
}

fn into_container(root: &Root<'_>, directory: &Path, input: &mut dyn Read) -> Result<()> {
    let directory = directory.strip_prefix("/").unwrap_or(directory).to_owned();
    let (root_uid, root_gid) = (root.root_uid, root.root_gid);
    let target = Target { root: root.directory, directory, reach: Reach::InRoot, root_uid, root_gid };
    target.extract(input)
}

/// Runs a writer and a reader of one stream side by side. The reader's failure is the one that is told: it is why
/// the writer fails too.
fn pipe(
    write: impl FnOnce(&mut dyn Write) -> Result<()> + Send,
    read: impl FnOnce(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    let (mut reader, writer) = std::io::pipe().context("make a pipe")?;
    std::thread::scope(|scope| {
        let work = move || {
            let mut writer = std::io::BufWriter::with_capacity(64 << 10, writer);
            write(&mut writer).and_then(|()| writer.flush().context("write the archive"))
        };
        let written = std::thread::Builder::new().spawn_scoped(scope, work).context("start the thread that reads")?;
        let outcome = read(&mut BufReader::with_capacity(64 << 10, &mut reader));
        drop(reader);
        let written = written.join().unwrap_or_else(|_| Err(Error::internal("the reading half of the copy failed")));
        // A source that failed leaves a stream that ends too early.
        match (outcome, written) {
            (Err(read), Err(written)) if written.message() != "write the archive" => Err(written.with_source(read)),
            (Err(read), _) => Err(read),
            (Ok(()), written) => written,
        }
    })
}

/// Takes hold of a path of the container. A trailing slash or `/.` asks for a directory, through a link too.
fn open(root: &Root<'_>, path: &str, follow: bool) -> Result<OwnedFd> {
    let must_be_directory = place::asserts_directory(Path::new(path));
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if must_be_directory {
        flags |= OFlags::DIRECTORY;
    } else if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    open_in_root(root.directory, Path::new(path), flags).map_err(|errno| match errno {
        Errno::NOENT => Error::not_found(format!("no such file or directory `{path}` in the container")),
        Errno::NOTDIR => Error::invalid(format!("`{path}` in the container is not a directory")),
        Errno::LOOP => {
            Error::invalid(format!("`{path}` in the container leads through a link that cannot be followed"))
        }
        errno => Error::internal(cannot_read(path)).with_source(std::io::Error::from(errno)),
    })
}

/// Opens a path with `root` as the only root there is. Racing renames may make the kernel ask for another try.
fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..1000 {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The destination in a container, a link at its end followed even where nothing is yet.
fn container_destination(root: &Root<'_>, text: &str) -> Result<Destination> {
    let mut path = Path::new("/").join(text);
    for _ in 0..MOST_LINKS {
        let directory = place::asserts_directory(&path);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let flags = if directory { flags | OFlags::DIRECTORY } else { flags | OFlags::NOFOLLOW };
        let handle = match open_in_root(root.directory, &path, flags) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Destination { path, kind: None }),
            Err(errno) => return Err(errno).with_context(|| cannot_read(text)),
        };
        let mode = rustix::fs::fstat(&handle).with_context(|| cannot_read(text))?.st_mode;
        match FileType::from_raw_mode(mode) {
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&handle, c"", Vec::new()).with_context(|| cannot_read(text))?;
                path = place::parent(&path).join(OsStr::from_bytes(link.to_bytes()));
            }
            kind => return Destination::existing(path, kind),
        }
    }
    Err(Error::invalid(format!("destination `{text}`: too many links")))
}

/// The destination on the host: an ordinary path of the caller's, links followed.
fn host_destination(path: &Path) -> Result<Destination> {
    let failed = || format!("look at `{}`", path.display());
    match rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty()) {
        Ok(status) => Destination::existing(path.to_owned(), FileType::from_raw_mode(status.st_mode)),
        Err(Errno::NOENT | Errno::NOTDIR) => match std::fs::read_link(path) {
            Ok(link) => Ok(Destination { path: place::parent(path).join(link), kind: None }),
            Err(_) => Ok(Destination { path: path.to_owned(), kind: None }),
        },
        Err(errno) => Err(errno).with_context(failed),
    }
}

fn host_source(path: &Path, follow: bool) -> Result<OwnedFd> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if !follow && !place::asserts_directory(path) {
        flags |= OFlags::NOFOLLOW;
    }
    rustix::fs::openat(CWD, path, flags, Mode::empty()).with_context(|| cannot_read(&path.to_string_lossy()))
}

fn is_directory(handle: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(handle)?.st_mode) == FileType::Directory)
}

/// The path of an open file in the tree of mounts that it belongs to.
fn place_of(handle: &OwnedFd) -> PathBuf {
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let text = rustix::fs::readlinkat(CWD, link, Vec::new()).map(|text| text.into_bytes()).unwrap_or_default();
    std::ffi::OsString::from_vec(text).into()
}

fn cannot_read(path: &str) -> String {
    format!("read `{path}`")
}
