//! What is known of a container's life: one small file, and how far it is true now.
//!
//! ```text
//! containers/<id>/state.json     version 1, mode 0600; replaced by rename, never fsynced (a crash of programs is the
//!                                model, not of the machine: boot_id tells that one)
//! <run>/<id>/                    its monitor holds a read lock (F_OFD_SETLK) on this directory while it lives;
//!                                whoever asks (F_OFD_GETLK) takes nothing, so asking never disturbs
//!
//!             create           start              pause            process ends
//!   (nothing) ------> created -------> running <---------> paused -------------> exited --+--> removed
//!                        ^                 |    unpause                            |  ^   |
//!                        |                 +-- process ends ---------------------->+  |   +--> dead (removal cut off)
//!                        +---- start failed: `error` says why                 start --+
//! ```
//!
//! On a full disk it is written in its own place instead: the end of a container must be known even if that filled it.
//!
//! Reading takes no lock. A change is read-modify-write under flock(2) of `containers/<id>/`, held for microseconds;
//! lock order: `containers/<id>/lock` (the engine's), then this one.
//!
//! [`observe`] compares the file with the world: a monitor that holds its lock writes the end itself, so the file
//! is the truth and nothing else is asked. Only without a monitor does the process itself matter.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use failure::{Context, Error, Kind, Result};
use jiff::Timestamp;
use runtime::ProcessIdentity;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Exit;

/// The version that is written.
pub const VERSION: u32 = 1;
const NAME: &str = "state.json";
const NEW_NAME: &str = ".state.json.new";
/// More than any state can be.
const LARGEST: usize = 64 * 1024;

/// Where a container is in its life, as Docker names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, never started; or its start failed.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// A policy is about to start it again.
    Restarting,
    /// It is being removed.
    Removing,
    /// Its process has ended.
    Exited,
    /// A removal was cut off.
    Dead,
}

impl Status {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// The content of `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The format, [`VERSION`].
    pub version: u32,
    /// The last recorded status; [`observe`] says what is true now.
    pub status: Status,
    /// The container's first process: of the running one, or of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ProcessIdentity>,
    /// The boot of the machine in which `identity` means something.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// When it was started last.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended last.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The exit code of the last run.
    #[serde(default)]
    pub exit_code: i32,
    /// The signal that ended the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last run lost a process for lack of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why the last start failed, or what is to be said of the end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// How often a policy started it again.
    #[serde(default)]
    pub restart_count: u32,
}

impl State {
    /// The state of a container that was just made.
    pub fn created() -> Self {
        Self { version: VERSION, ..Self::default() }
    }

    /// Records that the process runs.
    pub fn set_running(&mut self, identity: ProcessIdentity, boot_id: &str, started_at: Timestamp) {
        self.status = Status::Running;
        self.identity = Some(identity);
        boot_id.clone_into(&mut self.boot_id);
        self.started_at = Some(started_at);
        self.exit_code = 0;
        self.signal = None;
        self.oom_killed = false;
        self.error.clear();
    }

    /// Records how the process ended.
    pub fn set_exited(&mut self, exit: &Exit, oom_killed: bool) {
        self.status = Status::Exited;
        self.finished_at = Some(exit.finished_at);
        self.exit_code = exit.code;
        self.signal = exit.signal;
        self.oom_killed = oom_killed;
    }

    /// Reads the state of the container whose directory this is.
    ///
    /// # Errors
    /// There is none, or it cannot be read or understood.
    pub fn read(container: &Path) -> Result<Self> {
        let path = container.join(NAME);
        let file = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let bytes = read_whole(file).with_context(|| format!("read `{}`", path.display()))?;
        parse(&bytes, &path)
    }

    /// Writes the state of a container that nobody else knows yet. Everyone else uses [`State::update`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, container: &Path) -> Result<()> {
        let directory = open_directory(container)?;
        self.replace(directory.as_fd(), container)
    }

    /// Changes the state: reads it, lets `change` work on it and writes it, with all other changes kept out.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn update(container: &Path, change: impl FnOnce(&mut Self)) -> Result<Self> {
        let directory = open_directory(container)?;
        while let Err(errno) = flock(&directory, FlockOperation::LockExclusive) {
            if errno != Errno::INTR {
                return Err(errno).with_context(|| format!("lock `{}`", container.display()));
            }
        }
        let path = container.join(NAME);
        let file = openat(&directory, NAME, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let bytes = read_whole(file).with_context(|| format!("read `{}`", path.display()))?;
        let mut state = parse(&bytes, &path)?;
        change(&mut state);
        state.replace(directory.as_fd(), container)?;
        Ok(state)
    }

    fn replace(&self, directory: BorrowedFd<'_>, container: &Path) -> Result<()> {
        let context = || format!("write `{}`", container.join(NAME).display());
        let bytes = serde_json::to_vec(self).map_err(|error| Error::internal(context()).with_source(error))?;
        match write_anew(directory, &bytes) {
            Err(full @ (Errno::NOSPC | Errno::DQUOT)) => write_in_place(directory, bytes).map_err(|_| full),
            other => other,
        }
        .with_context(context)
    }
}

/// What is true of a container now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// As the file says; if that is running or paused, its monitor lives.
    Recorded(Status),
    /// The process runs, but its monitor is gone: no log, no stdin, nobody will record the end.
    Unmonitored,
    /// The process has ended (or the machine was booted anew) and nobody saw it: the exit code is unknown.
    EndedUnseen,
}

impl Observed {
    /// The status to show.
    pub fn status(self) -> Status {
        match self {
            Self::Recorded(status) => status,
            Self::Unmonitored => Status::Running,
            Self::EndedUnseen => Status::Exited,
        }
    }

    /// Whether the container has a live process.
    pub fn is_running(self) -> bool {
        matches!(self.status(), Status::Running | Status::Paused)
    }
}

/// Reads the state of a container and looks how far it is true. `boot_id` is [`boot_id`]'s, asked once.
///
/// # Errors
/// The state cannot be read.
pub fn observe(container: &Path, run: &Path, boot_id: &str) -> Result<(State, Observed)> {
    let state = State::read(container)?;
    let observed = compare(&state, run, boot_id);
    if observed == Observed::Recorded(state.status) {
        return Ok((state, observed));
    }
    // The monitor may have written the end and gone between our two looks: then the second look is the truth.
    let state = State::read(container)?;
    let observed = compare(&state, run, boot_id);
    Ok((state, observed))
}

/// The id of this boot of the machine.
///
/// # Errors
/// There is no /proc.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let bytes = read_whole(file).with_context(|| format!("read `{path}`"))?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Says to all who ask that the run directory's monitor lives, until the descriptor is closed (or the process ends).
/// [`crate::Monitor::new`] does so itself; a monitor's process that writes "running" before that holds this first, so
/// that nobody takes the container for one without a monitor. The lock is shared: holding it twice is no conflict.
///
/// # Errors
/// The directory is missing.
pub fn hold(run: &Path) -> Result<OwnedFd> {
    let directory = open_directory(run)?;
    sys::lock::hold(directory.as_fd()).with_context(|| format!("lock `{}`", run.display()))?;
    Ok(directory)
}

fn compare(state: &State, run: &Path, boot_id: &str) -> Observed {
    if !matches!(state.status, Status::Running | Status::Paused) {
        return Observed::Recorded(state.status);
    }
    if state.boot_id != boot_id {
        return Observed::EndedUnseen;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, run, flags, Mode::empty());
    if directory.is_ok_and(|directory| sys::lock::is_held(directory.as_fd()).unwrap_or(false)) {
        return Observed::Recorded(state.status);
    }
    match &state.identity {
        Some(identity) if identity.is_alive() => Observed::Unmonitored,
        _ => Observed::EndedUnseen,
    }
}

fn parse(bytes: &[u8], path: &Path) -> Result<State> {
    let state: State = serde_json::from_slice(bytes)
        .map_err(|error| Error::internal(format!("`{}` is damaged", path.display())).with_source(error))?;
    if state.version > VERSION {
        let line = format!("`{}` was written by a newer skep; use that one", path.display());
        return Err(Error::new(Kind::Unsupported, line));
    }
    Ok(state)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).with_context(|| format!("open `{}`", path.display()))
}

fn read_whole(file: rustix::io::Result<OwnedFd>) -> rustix::io::Result<Vec<u8>> {
    let file = file?;
    let mut bytes = vec![0; 1024];
    let mut filled = 0;
    loop {
        match rustix::io::read(&file, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        // A file shorter than the buffer needs no second read to find its end: it is replaced, never appended to.
        if filled < bytes.len() {
            break;
        }
        if filled >= LARGEST {
            return Err(Errno::FBIG);
        }
        bytes.resize(filled * 2, 0);
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn write_anew(directory: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(directory, NEW_NAME, flags, Mode::RUSR | Mode::WUSR)?;
    let written = write_whole(file.as_fd(), bytes).and_then(|()| renameat(directory, NEW_NAME, directory, NAME));
    if written.is_err() {
        let _ = unlinkat(directory, NEW_NAME, AtFlags::empty());
    }
    written
}

/// On a full disk, which a container can bring about, what it did last must not be lost: the file's own block takes the
/// new text in one write, with blanks up to the end of the old one.
fn write_in_place(directory: BorrowedFd<'_>, mut bytes: Vec<u8>) -> rustix::io::Result<()> {
    let file = openat(directory, NAME, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let length = usize::try_from(fstat(&file)?.st_size).unwrap_or(0);
    if bytes.len() < length {
        bytes.resize(length, b' ');
    }
    write_whole(file.as_fd(), &bytes)
}

fn write_whole(file: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Times as RFC 3339 text.
mod moment {
    use jiff::Timestamp;
    use serde::de::{Deserialize as _, Error as _};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
