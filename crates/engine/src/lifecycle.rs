//! What is done to a container that exists: stop, kill, wait, pause, rename, remove, attach.

use failure::Result;
use monitor::client::Attachment;
use runtime::ContainerId;

use crate::{Attach, Home};

/// How to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// The first signal; none: the container's own.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; none: the container's own; negative: never.
    pub timeout: Option<i64>,
}

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also when it runs: kill it first.
    pub force: bool,
    /// Remove its anonymous volumes, too.
    pub volumes: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitFor {
    /// That it does not run.
    #[default]
    NotRunning,
    /// Its next end, even if it does not run now.
    NextExit,
    /// That it is gone.
    Removed,
}

/// Asks it to end, then makes it end.
///
/// # Errors
/// A bad signal, or the kernel's refusal.
pub fn stop(home: &Home, id: &ContainerId, options: &StopOptions) -> Result<()> {
    let _ = (home, id, options);
    unimplemented!()
}

/// Sends a signal, `KILL`, `SIGTERM` or `9`, to its first process.
///
/// # Errors
/// A container that does not run, or a bad signal.
pub fn kill(home: &Home, id: &ContainerId, signal: &str) -> Result<()> {
    let _ = (home, id, signal);
    unimplemented!()
}

/// Stops it if it runs, then starts it.
///
/// # Errors
/// As [`stop`] and [`crate::start`].
pub fn restart(home: &Home, id: &ContainerId, options: &StopOptions) -> Result<()> {
    let _ = (home, id, options);
    unimplemented!()
}

/// Freezes all its processes.
///
/// # Errors
/// A container that does not run or is paused.
pub fn pause(home: &Home, id: &ContainerId) -> Result<()> {
    let _ = (home, id);
    unimplemented!()
}

/// Lets a paused container go on.
///
/// # Errors
/// A container that is not paused.
pub fn unpause(home: &Home, id: &ContainerId) -> Result<()> {
    let _ = (home, id);
    unimplemented!()
}

/// Gives it another name.
///
/// # Errors
/// A name in use or not allowed.
pub fn rename(home: &Home, id: &ContainerId, name: &str) -> Result<()> {
    let _ = (home, id, name);
    unimplemented!()
}

/// Removes it with everything it wrote.
///
/// # Errors
/// A running container, without force.
pub fn remove(home: &Home, id: &ContainerId, options: RemoveOptions) -> Result<()> {
    let _ = (home, id, options);
    unimplemented!()
}

/// Waits, and says the exit code.
///
/// # Errors
/// What keeps it from being known.
pub fn wait(home: &Home, id: &ContainerId, condition: WaitFor) -> Result<i32> {
    let _ = (home, id, condition);
    unimplemented!()
}

/// Connects to the streams of a running container.
///
/// # Errors
/// A container that does not run, or whose monitor is gone.
pub fn attach(home: &Home, id: &ContainerId, streams: Attach) -> Result<Attachment> {
    let _ = (home, id, streams);
    unimplemented!()
}
