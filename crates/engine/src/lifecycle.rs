//! What is done to a container that exists: stop, kill, wait, pause, rename, remove, attach.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use failure::{Context as _, Error, Kind, Result};
use jiff::Timestamp;
use monitor::client::{Attachment, Waited};
use monitor::state::{Observed, State, Status};
use runtime::cgroup::{self, Cgroup};
use runtime::{ContainerId, ProcessIdentity};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::config::ContainerConfig;
use crate::request::NamespaceMode;
use crate::start::{Attach, start};
use crate::state::{self, Lock};
use crate::{Home, ids, names, recover, signals, volumes};

/// Seconds between the stop signal and SIGKILL when nobody says otherwise.
pub const STOP_TIMEOUT: i64 = 10;
/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(30);
/// In a run directory: the end of this container is a restart, so that `--rm` does not apply.
pub(crate) const RESTART_MARK: &str = "restart";

/// The mark that a forced removal leaves in the state.
const REMOVED_BY_FORCE: &str = "removed by force";

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

/// Asks it to end, then makes it end. One that does not run is left alone.
///
/// # Errors
/// A bad signal, or the kernel's refusal.
pub fn stop(home: &Home, id: &ContainerId, options: &StopOptions) -> Result<()> {
    let config = ContainerConfig::read(home, id)?;
    let signal = signals::parse(options.signal.as_deref().unwrap_or(&config.stop_signal))?;
    let (state, observed) = state::observe(home, id)?;
    let Some(identity) = state.identity.filter(|_| observed.is_running()) else { return Ok(()) };
    let end = End::watch(home, id, identity, observed)?;
    send(&identity, signal)?;
    thaw_if_paused(home, id, &state)?;
    let seconds = options.timeout.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    if !end.wait(patience)? {
        kill_all(&config, &state, &identity)?;
        if !end.wait(Some(KILLED))? {
            return Err(Error::new(
                Kind::Busy,
                format!("container `{}` did not end when killed; the kernel still holds a process of it", config.name),
            ));
        }
    }
    end.record(home, id)
}

/// Sends a signal, `KILL`, `SIGTERM` or `9`, to its first process.
///
/// # Errors
/// A container that does not run, or a bad signal.
pub fn kill(home: &Home, id: &ContainerId, signal: &str) -> Result<()> {
    let signal = signals::parse(signal)?;
    let state = state::running(home, id)?;
    let (_, observed) = state::observe(home, id)?;
    let Some(identity) = state.identity else { return Ok(()) };
    if signal != signals::KILL {
        send(&identity, signal)?;
        return if signal == signals::CONT { Ok(()) } else { thaw_if_paused(home, id, &state) };
    }
    let end = End::watch(home, id, identity, observed)?;
    send(&identity, signal)?;
    thaw_if_paused(home, id, &state)?;
    end.wait(Some(KILLED))?;
    end.record(home, id)
}

/// Stops it if it runs, then starts it. Not a reason for `--rm` to remove it.
///
/// # Errors
/// As [`stop`] and [`crate::start`].
pub fn restart(home: &Home, id: &ContainerId, options: &StopOptions) -> Result<()> {
    let mark = home.container_run(id).join(RESTART_MARK);
    let _ = std::fs::write(&mark, []);
    let stopped = stop(home, id, options);
    let _ = std::fs::remove_file(&mark);
    stopped?;
    start(home, id, Attach::detached()).map(|_| ())
}

/// Freezes all its processes.
///
/// # Errors
/// A container that does not run or is paused.
pub fn pause(home: &Home, id: &ContainerId) -> Result<()> {
    let _lock = Lock::take(home, id)?;
    let state = state::running(home, id)?;
    if state.status == Status::Paused {
        return Err(Error::conflict(format!("container `{}` is already paused", id.short())));
    }
    group(id)?.freeze()?;
    change_status(home, id, Status::Running, Status::Paused)
}

/// Lets a paused container go on.
///
/// # Errors
/// A container that is not paused.
pub fn unpause(home: &Home, id: &ContainerId) -> Result<()> {
    let _lock = Lock::take(home, id)?;
    let state = state::running(home, id)?;
    let group = group(id)?;
    if state.status != Status::Paused && !group.is_frozen()? {
        return Err(Error::conflict(format!("container `{}` is not paused", id.short())));
    }
    group.thaw()?;
    change_status(home, id, Status::Paused, Status::Running)
}

/// Gives it another name.
///
/// # Errors
/// A name in use or not allowed.
pub fn rename(home: &Home, id: &ContainerId, name: &str) -> Result<()> {
    let name = name.strip_prefix('/').unwrap_or(name);
    let _lock = Lock::take(home, id)?;
    let mut config = ContainerConfig::read(home, id)?;
    if config.name == name {
        return Err(Error::invalid(format!("the container is called `{name}` already; choose another name")));
    }
    names::claim_exactly(home, id, name)?;
    let old = std::mem::replace(&mut config.name, name.to_owned());
    if let Err(error) = config.write(&home.container(id), false) {
        let _ = names::release(home, id, name);
        return Err(error);
    }
    names::release(home, id, &old)
}

/// Removes it with everything it wrote.
///
/// # Errors
/// A running container, without force.
pub fn remove(home: &Home, id: &ContainerId, options: RemoveOptions) -> Result<()> {
    let lock = Lock::take(home, id)?;
    let known = state::observe(home, id).and_then(|known| Ok((known, ContainerConfig::read(home, id)?)));
    let ((state, observed), config) = match known {
        Ok(known) => known,
        Err(error) if !options.force => return Err(error),
        // Damaged files must not keep a container for ever: what names it is swept as stale.
        Err(_) => {
            recover::clear_run(home, id)?;
            recover::discard(home, &home.container(id));
            recover::sweep(home);
            return Ok(());
        }
    };
    if let Some(identity) = state.identity.filter(|_| observed.is_running()) {
        if !options.force {
            return Err(Error::conflict(format!(
                "container `{0}` is running; stop it first with `skep stop {0}`, or remove it with `skep rm -f {0}`",
                config.name
            )));
        }
        let end = End::watch(home, id, identity, observed)?;
        State::update(&home.container(id), |state| state.error = REMOVED_BY_FORCE.to_owned())?;
        kill_all(&config, &state, &identity)?;
        end.wait(Some(KILLED))?;
    }
    recover::clear_run(home, id)?;
    remove_locked(home, &config, options.volumes)?;
    drop(lock);
    Ok(())
}

/// Sends SIGKILL to those of several containers that run and are about to be removed by force, so that they end at
/// the same time. Only a saving of time: whatever cannot be done here, [`remove`] does.
pub fn kill_ahead(home: &Home, ids: &[ContainerId]) {
    for id in ids {
        let Ok((state, observed)) = state::observe(home, id) else { continue };
        // One that goes with its end would be gone before its removal, which would then fail.
        let stays = || ContainerConfig::read(home, id).is_ok_and(|config| !config.auto_remove);
        if let Some(identity) =
            state.identity.filter(|_| observed.is_running() && state.status == Status::Running && stays())
        {
            let _ = send(&identity, signals::KILL);
        }
    }
}

/// Whether a forced removal waits for the end of this container.
pub(crate) fn is_being_removed(home: &Home, id: &ContainerId) -> bool {
    State::read(&home.container(id)).is_ok_and(|state| state.error == REMOVED_BY_FORCE)
}

/// Steps 12 and 13 of [`crate::recover`]: what does not run goes into the trash. The caller holds its lock.
pub(crate) fn remove_locked(home: &Home, config: &ContainerConfig, with_volumes: bool) -> Result<()> {
    names::release(home, &config.id, &config.name)?;
    if let Some(range) = config.range {
        ids::release(home, &config.id, range)?;
    }
    // Only the container knows them: they go before it.
    if with_volumes {
        volumes::remove_anonymous(home, config)?;
    }
    store::writable::discard(home.store()?, &home.container(&config.id))
}

/// Waits, and says the exit code.
///
/// # Errors
/// What keeps it from being known.
pub fn wait(home: &Home, id: &ContainerId, condition: WaitFor) -> Result<i32> {
    const PAUSE: Duration = Duration::from_millis(20);
    if condition == WaitFor::NextExit {
        while !state::observe(home, id)?.1.is_running() {
            std::thread::sleep(PAUSE);
        }
    }
    let code = exit_code(home, id)?;
    while condition == WaitFor::Removed && home.container(id).exists() {
        std::thread::sleep(PAUSE);
    }
    Ok(code)
}

/// Connects to the streams of a running container.
///
/// # Errors
/// A container that does not run, is paused, or whose monitor is gone.
pub fn attach(home: &Home, id: &ContainerId, streams: Attach) -> Result<Attachment> {
    let state = state::running(home, id)?;
    if state.status == Status::Paused {
        return Err(Error::conflict(format!("container `{0}` is paused; first `skep unpause {0}`", id.short())));
    }
    match state::observe(home, id)?.1 {
        Observed::Unmonitored => Err(unmonitored(id)),
        _ => Attachment::connect(&home.container_run(id), streams.wants()),
    }
}

/// The failure of what needs a monitor where it was killed.
pub(crate) fn unmonitored(id: &ContainerId) -> Error {
    Error::conflict(format!(
        "the monitor of container `{0}` was killed: its streams are lost; `skep restart {0}` gives it a new one",
        id.short()
    ))
}

fn exit_code(home: &Home, id: &ContainerId) -> Result<i32> {
    let (state, observed) = state::observe(home, id)?;
    match observed {
        Observed::Recorded(Status::Running | Status::Paused) => {
            if let Waited::Exited(exited) = monitor::client::wait(&home.container_run(id))? {
                return Ok(exited.exit.code);
            }
            // It ended between the two looks.
            Ok(state::observe(home, id)?.0.exit_code)
        }
        Observed::Recorded(_) => Ok(state.exit_code),
        Observed::Unmonitored | Observed::EndedUnseen => {
            if let Some(Ok(process)) = state.identity.map(|identity| identity.open()) {
                poll(&process, None)?;
            }
            Err(Error::new(
                Kind::Unavailable,
                format!("the exit code of container `{}` is not known: its monitor was killed", id.short()),
            ))
        }
    }
}

/// How the end of a running container is noticed.
struct End {
    /// Readable at the end: the monitor's word, or without a monitor the process's handle.
    signal: Option<OwnedFd>,
    monitored: bool,
}

impl End {
    fn watch(home: &Home, id: &ContainerId, identity: ProcessIdentity, observed: Observed) -> Result<Self> {
        if observed == Observed::Unmonitored {
            return Ok(Self { signal: identity.open().ok(), monitored: false });
        }
        match monitor::client::end_of(&home.container_run(id)) {
            Ok(signal) => Ok(Self { signal: Some(signal), monitored: true }),
            // It ended just now.
            Err(_) if !identity.is_alive() => Ok(Self { signal: None, monitored: true }),
            // So did its monitor; or it does not answer, which is no reason to leave the container to itself.
            Err(error) if error.kind() == Kind::NotFound => Ok(Self { signal: identity.open().ok(), monitored: false }),
            Err(error) => Err(error),
        }
    }

    /// Whether the end came in time. No time: however long it takes.
    fn wait(&self, patience: Option<Duration>) -> Result<bool> {
        match &self.signal {
            Some(signal) => poll(signal, patience),
            None => Ok(true),
        }
    }

    /// Does the work of a monitor that is gone: there is nobody else to write down the end.
    fn record(self, home: &Home, id: &ContainerId) -> Result<()> {
        // A monitor that is there although it did not answer does its own work.
        if self.monitored || matches!(state::observe(home, id)?.1, Observed::Recorded(_)) {
            return Ok(());
        }
        recover::clear_run(home, id)?;
        State::update(&home.container(id), |state| {
            state.status = Status::Exited;
            state.finished_at = Some(Timestamp::now());
            state.exit_code = 137;
            state.error = "its monitor was killed: how it ended is not known".to_owned();
        })
        .map(|_| ())
    }
}

/// Waits until a descriptor is readable or hung up; false: it took too long.
fn poll(descriptor: &OwnedFd, patience: Option<Duration>) -> Result<bool> {
    let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut polled = [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("wait for the end of the container"),
        }
    }
}

/// Signals exactly this process; one that has ended needs none.
fn send(identity: &ProcessIdentity, signal: i32) -> Result<()> {
    let Ok(process) = identity.open() else { return Ok(()) };
    let signal = Signal::from_named_raw(signal)
        .or_else(|| Signal::from_named_raw(signals::KILL).filter(|_| signal == signals::KILL))
        .ok_or_else(|| Error::unsupported(format!("signal {signal} cannot be sent; choose one with a name")))?;
    match rustix::process::pidfd_send_signal(&process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno).context("signal the container's process"),
    }
}

/// The end of the first process is the end of its pid namespace. In another's, the rest has to be found; and what is
/// frozen has to be thawed to die.
fn kill_all(config: &ContainerConfig, state: &State, identity: &ProcessIdentity) -> Result<()> {
    send(identity, signals::KILL)?;
    if config.namespaces.pid == NamespaceMode::Private && state.status == Status::Running {
        return Ok(());
    }
    match group(&config.id) {
        Ok(group) => group.kill_all(),
        Err(_) => Ok(()),
    }
}

/// A frozen process takes its signal when it goes on.
fn thaw_if_paused(home: &Home, id: &ContainerId, state: &State) -> Result<()> {
    if state.status != Status::Paused {
        return Ok(());
    }
    group(id)?.thaw()?;
    change_status(home, id, Status::Paused, Status::Running)
}

fn change_status(home: &Home, id: &ContainerId, from: Status, to: Status) -> Result<()> {
    let change = |state: &mut State| {
        if state.status == from {
            state.status = to;
        }
    };
    State::update(&home.container(id), change).map(|_| ())
}

fn group(id: &ContainerId) -> Result<Cgroup> {
    Cgroup::open(&cgroup::Path::of_container(id.as_ref())?)
}
