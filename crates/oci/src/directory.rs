//! The state directory: one directory for each container, whose presence is its name and whose lock is its maker's.
//!
//! ```text
//! <--root>/                  0700
//!   <id>/                    0700; flock: held while it is created, started or deleted
//!     config.json            the bundle's, as it was at creation
//!     state.json             what later commands need (crate::record); written by rename once the process waits
//!     start                  the socket on which a created container waits for its start; gone once it was told
//!   @seccomp/                compiled filters; `@` is in no id
//!
//!   mkdir, lock     config.json     cgroup, process    state.json    process is left alone
//!   --- creating ---------------------------------------------------- created ------------> running, stopped
//! ```
//! A creation that was killed is a directory without `state.json` whose lock is free: the next `create` or `delete` of this
//! id ends what is left of it. Its process ends by itself, because it waits on its maker until `state.json` is there.
//! Everything is reached from a descriptor of the directory, and no name in it comes from anybody but this program.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use runtime::ContainerId;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use crate::record::Record;

const CONFIG: &str = "config.json";
const RECORD: &str = "state.json";
const NEW_RECORD: &str = "state.json.new";
const START: &str = "start";
const SECCOMP: &str = "@seccomp";
/// More than any specification has; what is longer is no specification.
pub(crate) const LONGEST_CONFIG: u64 = 16 << 20;

/// The directory of all containers.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

impl Root {
    /// Opens it, and makes it if need be.
    pub(crate) fn make(path: &Path) -> Result<Self> {
        if let Some(root) = Self::open(path)? {
            return Ok(root);
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the state directory `{}`", path.display()))?;
        Self::open(path)?.ok_or_else(|| Error::internal(format!("the state directory `{}` vanished", path.display())))
    }

    /// Opens it; none if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        match rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(directory) => Ok(Some(Self { path: path.to_owned(), directory })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("cannot open the state directory `{}`", path.display())),
        }
    }

    /// Where compiled filters are kept.
    pub(crate) fn seccomp_cache(path: &Path) -> PathBuf {
        path.join(SECCOMP)
    }

    /// A new container's directory, locked. What a killed creation left under this id is ended by `clear` first.
    pub(crate) fn claim(&self, id: &ContainerId, clear: impl Fn(&Directory) -> Result<()>) -> Result<Directory> {
        let exists = || Error::conflict(format!("container with given ID already exists: `{id}`"));
        // Once more for each deletion that comes between.
        for _ in 0..100 {
            let made = rustix::fs::mkdirat(&self.directory, id.as_ref(), Mode::RWXU);
            if let Err(errno) = made
                && errno != Errno::EXIST
            {
                return Err(errno).with_context(|| format!("cannot make the directory of container `{id}`"));
            }
            let Some(directory) = self.directory(id)? else { continue };
            // What we have just made is held for a moment at most, by who looks at it.
            let operation = match made {
                Ok(()) => FlockOperation::LockExclusive,
                Err(_) => FlockOperation::NonBlockingLockExclusive,
            };
            if !directory.lock(operation)? {
                return Err(exists());
            }
            // Deleted before it was locked: what has its name by now is another one.
            if directory.is_gone() {
                continue;
            }
            if directory.has(RECORD) {
                return Err(exists());
            }
            // Whoever made it, nobody else is at work on it: it is empty, or what a killed creation left.
            clear(&directory)?;
            directory.clear_files()?;
            return Ok(directory);
        }
        Err(Error::new(failure::Kind::Busy, format!("container `{id}` is being created and deleted all the time")))
    }

    /// The directory of a container; none if there is none.
    pub(crate) fn directory(&self, id: &ContainerId) -> Result<Option<Directory>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, id.as_ref(), flags, Mode::empty()) {
            Ok(descriptor) => Ok(Some(Directory { id: id.clone(), descriptor })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("cannot open the directory of container `{id}`")),
        }
    }

    /// The ids of all containers, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<ContainerId>> {
        let name = |entry: std::fs::DirEntry| entry.file_name().to_str().and_then(|name| container_id(name).ok());
        let entries = std::fs::read_dir(&self.path).context("cannot read the state directory")?;
        let mut ids: Vec<ContainerId> = entries.filter_map(|entry| entry.ok().and_then(name)).collect();
        ids.sort();
        Ok(ids)
    }

    /// Removes a container's directory with all that this program ever puts into it.
    pub(crate) fn remove(&self, directory: Directory) -> Result<()> {
        directory.clear_files()?;
        match rustix::fs::unlinkat(&self.directory, directory.id.as_ref(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).with_context(|| format!("cannot remove the directory of `{}`", directory.id)),
        }
    }

    /// Who owns the state: the directory's owner.
    pub(crate) fn owner(&self, id: &ContainerId) -> u32 {
        rustix::fs::statat(&self.directory, id.as_ref(), AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| stat.st_uid)
    }
}

/// An id by runc's rule: letters, digits, `_`, `+`, `-` and `.`, but no path.
pub(crate) fn container_id(text: &str) -> Result<ContainerId> {
    ContainerId::of_runtime(text)
}

/// The directory of one container.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) id: ContainerId,
    descriptor: OwnedFd,
}

impl Directory {
    /// Takes the lock; false if another process has it and this one does not wait.
    pub(crate) fn lock(&self, operation: FlockOperation) -> Result<bool> {
        loop {
            match rustix::fs::flock(&self.descriptor, operation) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("cannot lock container `{}`", self.id));
                }
            }
        }
    }

    /// Gives the lock back.
    pub(crate) fn unlock(&self) -> Result<()> {
        self.lock(FlockOperation::Unlock).map(drop)
    }

    /// Whether it was removed while we had it open; another of its name may be there by now.
    pub(crate) fn is_gone(&self) -> bool {
        rustix::fs::fstat(&self.descriptor).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whether somebody else holds the lock; not to be asked by its holder.
    pub(crate) fn is_locked(&self) -> bool {
        match self.lock(FlockOperation::NonBlockingLockShared) {
            Ok(false) => true,
            Ok(true) | Err(_) => {
                // Nobody is to wait for who only looked.
                let _ = self.unlock();
                false
            }
        }
    }

    /// Removes all files that this program ever makes in it.
    fn clear_files(&self) -> Result<()> {
        // The record last: what is cut off here is still a container that can be deleted.
        for name in [START, NEW_RECORD, CONFIG, RECORD] {
            match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("cannot remove `{name}` of container `{}`", self.id));
                }
            }
        }
        Ok(())
    }

    /// Keeps the specification.
    pub(crate) fn write_config(&self, text: &[u8]) -> Result<()> {
        self.write(CONFIG, text)
    }

    /// The specification as it was at creation.
    pub(crate) fn read_config(&self) -> Result<Option<Vec<u8>>> {
        self.read(CONFIG)
    }

    /// Keeps the record; from now on the container exists.
    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|wrong| Error::internal(wrong.to_string()))?;
        self.write(NEW_RECORD, &text)?;
        rustix::fs::renameat(&self.descriptor, NEW_RECORD, &self.descriptor, RECORD)
            .with_context(|| format!("cannot keep the state of container `{}`", self.id))
    }

    /// What is known; none: its creation has not come, or never came, to an end.
    pub(crate) fn read_record(&self) -> Result<Option<Record>> {
        let parse =
            |text: Vec<u8>| Record::parse(&text).with_context(|| format!("the state of container `{}`", self.id));
        self.read(RECORD)?.map(parse).transpose()
    }

    /// Gives a socket its name here, and lets it listen.
    pub(crate) fn listen(&self, socket: &OwnedFd) -> Result<()> {
        rustix::net::bind(socket, &self.start_address()?)
            .and_then(|()| rustix::net::listen(socket, 1))
            .with_context(|| format!("cannot listen for the start of container `{}`", self.id))
    }

    /// Whether the container waits for its start.
    pub(crate) fn waits(&self) -> bool {
        self.has(START)
    }

    /// Connects to the container that waits for its start; false if it does not wait. The name stays until
    /// [`Directory::forget_start`]: a starter that is killed before it said its word leaves a container to be started.
    pub(crate) fn connect(&self, socket: &OwnedFd) -> Result<bool> {
        match rustix::net::connect(socket, &self.start_address()?) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(false),
            Err(errno) => return Err(errno).with_context(|| format!("cannot reach container `{}`", self.id)),
        }
        Ok(true)
    }

    /// Takes the name of the socket away once the container was started.
    pub(crate) fn forget_start(&self) {
        // It leads nowhere any more, and goes with the directory.
        let _ = rustix::fs::unlinkat(&self.descriptor, START, AtFlags::empty());
    }

    /// Through the descriptor, because the path of a socket must be short.
    fn start_address(&self) -> Result<SocketAddrUnix> {
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{START}", self.descriptor.as_raw_fd()))
            .context("cannot name the socket for the start")
    }

    fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.descriptor, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = rustix::fs::openat(&self.descriptor, name, flags, Mode::RUSR | Mode::WUSR)
            .map(std::fs::File::from)
            .with_context(|| format!("cannot make `{name}` of container `{}`", self.id))?;
        file.write_all(text).with_context(|| format!("cannot write `{name}` of container `{}`", self.id))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(file) => read_whole(file, name).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("cannot open `{name}` of container `{}`", self.id)),
        }
    }
}

/// A file of reasonable length.
pub(crate) fn read_whole(file: OwnedFd, name: impl AsRef<OsStr>) -> Result<Vec<u8>> {
    let name = name.as_ref().display();
    let mut text = Vec::with_capacity(16 * 1024);
    std::fs::File::from(file)
        .take(LONGEST_CONFIG + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read `{name}`"))?;
    if text.len() as u64 > LONGEST_CONFIG {
        return Err(Error::invalid(format!("`{name}` is longer than {} MiB", LONGEST_CONFIG >> 20)));
    }
    Ok(text)
}

/// A socket of the kind on which a start is told.
pub(crate) fn start_socket() -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("cannot make the socket for the start")
}
