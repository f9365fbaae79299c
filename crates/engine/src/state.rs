//! How a container fares now: the monitor's record, compared with the world; and the lock of its life.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use failure::{Context as _, Error, Result};
use monitor::state::{Observed, State};
use runtime::ContainerId;
use rustix::fs::{self as rfs, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::{Home, find};

/// What is true of the container now.
pub(crate) fn observe(home: &Home, id: &ContainerId) -> Result<(State, Observed)> {
    let directory = home.container(id);
    match monitor::state::observe(&directory, &home.container_run(id), boot_id()?) {
        Ok(known) => Ok(known),
        Err(_) if !directory.exists() => Err(find::gone(id)),
        // The state is written before the container is published, so that this is damage.
        Err(error) => Err(error),
    }
}

/// As [`observe`], for what needs a live process.
pub(crate) fn running(home: &Home, id: &ContainerId) -> Result<State> {
    let (state, observed) = observe(home, id)?;
    if observed.is_running() && state.identity.is_some() {
        return Ok(state);
    }
    Err(Error::conflict(format!("container `{0}` is not running; start it with `skep start {0}`", id.short())))
}

/// This boot's id, read once for each process.
pub(crate) fn boot_id() -> Result<&'static str> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(known);
    }
    let text = monitor::state::boot_id()?;
    Ok(BOOT_ID.get_or_init(|| text))
}

/// Where its log lies.
pub(crate) fn log_directory(home: &Home, id: &ContainerId) -> PathBuf {
    home.container(id).join("log")
}

/// The lock of a container's life: start, stop, rename and removal happen one at a time. It is a flock of
/// `layer/`, which every container has (its own directory is the state's lock).
#[derive(Debug)]
pub(crate) struct Lock {
    directory: OwnedFd,
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Lock {
    /// Waits for it.
    pub(crate) fn take(home: &Home, id: &ContainerId) -> Result<Self> {
        let path = home.container(id).join("layer");
        loop {
            let lock = match Self::of(&path) {
                Ok(lock) => lock,
                Err(Errno::NOENT) => return Err(find::gone(id)),
                Err(errno) => return Err(errno).with_context(|| format!("lock container `{}`", id.short())),
            };
            // Whoever held it may have removed the container.
            if path.exists() {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock of a container that is being made in `directory`; nobody can hold it.
    pub(crate) fn of_new(directory: &std::path::Path) -> Result<Self> {
        Self::of(&directory.join("layer")).context("lock the new container")
    }

    /// Takes it if it is free.
    pub(crate) fn attempt(path: &std::path::Path) -> rustix::io::Result<Option<Self>> {
        let directory = rfs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        match rfs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { directory })),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn of(path: &std::path::Path) -> rustix::io::Result<Self> {
        let directory = rfs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        loop {
            match rfs::flock(&directory, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { directory }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
