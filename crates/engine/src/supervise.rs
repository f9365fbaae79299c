//! What the monitor's process does: launch, supervise, and clear up after the end.
//!
//! ```text
//! setup_process      own session; every descriptor but the socket and the container's lock is closed
//! launch             plan, run directory, cgroups, clone; state: running; exec     -- failed --> undo, tell, exit
//! supervise          heap given back; one loop until the process has ended
//! after the end      cgroups away; state: exited (or, with --rm, the container away); run directory away;
//!                    tell all clients; last, empty the trash: nobody waits for that
//! ```

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use failure::{Context as _, Error, Result};
use jiff::Timestamp;
use monitor::state::{State, Status};
use monitor::{Exit, FirstClient, Monitor, Setup, Streams};
use runtime::cgroup::{self, Cgroup};
use runtime::{ContainerId, Mapping, RootFilesystem, Running, Stdio};
use rustix::fs::{self as rfs, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use store::overlay::{IdMap, Overlay};

use crate::config::ContainerConfig;
use crate::start::{self, Attach, Prepared};
use crate::state::{self, Lock};
use crate::{Home, files, lifecycle, recover};

/// The life of the monitor's process, from the fork to its end.
pub(crate) fn monitor_process(
    home: &Home,
    config: ContainerConfig,
    lock: Lock,
    stream: UnixStream,
    attach: Attach,
) -> ! {
    let failed = match monitor::process::setup_process(&[stream.as_fd(), lock.as_fd()]) {
        Ok(()) => supervise(&home.reopened(), config, lock, stream, attach).is_err(),
        Err(error) => {
            let _ = monitor::protocol::send_failed(&stream, &error);
            true
        }
    };
    monitor::process::exit(i32::from(failed))
}

fn supervise(home: &Home, config: ContainerConfig, lock: Lock, stream: UnixStream, attach: Attach) -> Result<()> {
    let mut monitor = match begin(home, &config, &stream, attach) {
        Ok(monitor) => monitor,
        Err(error) => {
            undo_launch(home, &config, lock, &error);
            monitor::protocol::send_failed(&stream, &error)?;
            recover::empty_trash(home);
            return Err(error);
        }
    };
    let after = Aftermath::of(&config);
    // What is not needed at rest goes, and the lock is free.
    drop((config, lock, stream));
    let exit = monitor.run()?;
    let words = after.settle(home, &exit);
    monitor.finish(&exit, words.is_some(), words.as_deref().unwrap_or_default());
    if after.auto_remove {
        recover::empty_trash(home);
    }
    Ok(())
}

/// The container runs, and its monitor is ready to serve.
fn begin(home: &Home, config: &ContainerConfig, stream: &UnixStream, attach: Attach) -> Result<Monitor> {
    let stream = stream.try_clone().context("keep the socket to the command")?;
    let Launch { running, streams, alive } = launch(home, config, attach)?;
    let monitor = Monitor::new(Setup {
        run: home.container_run(&config.id),
        log: config.log.clone(),
        log_directory: state::log_directory(home, &config.id),
        identity: running.identity,
        pidfd: running.pidfd,
        streams,
        keep_stdin: config.process.open_stdin,
        stdin_once: config.process.stdin_once,
        first_client: Some(FirstClient { stream, wants: attach.wants() }),
    });
    drop(alive);
    monitor
}

/// A launched container and the monitor's ends of its streams.
struct Launch {
    running: Running,
    streams: Streams,
    /// The sign of life, until the monitor gives its own.
    alive: OwnedFd,
}

/// Steps 5 to 8 of [`crate::recover`].
fn launch(home: &Home, config: &ContainerConfig, attach: Attach) -> Result<Launch> {
    let run = home.container_run(&config.id);
    let Prepared { plan, overlay, warnings } = start::prepare(home, config)?;
    make_run_directory(home, &config.id, &run)?;
    if !warnings.is_empty() {
        files::write_new(&run.join(start::WARNINGS), warnings.join("\n").as_bytes())?;
    }
    let (stdio, pipes) = stdio(config, attach)?;
    let launched = runtime::launch(plan, &Root(overlay), stdio)?;
    // Whoever looks from now on sees that the container has a monitor.
    let alive = monitor::state::hold(&run)?;
    let (boot_id, now) = (state::boot_id()?, Timestamp::now());
    let identity = launched.identity();
    State::update(&home.container(&config.id), |state| state.set_running(identity, boot_id, now))?;
    let mut running = launched.start()?;
    let streams = match (running.terminal.take(), pipes) {
        (Some(master), _) => Streams::Terminal(master),
        (None, Some(pipes)) => pipes,
        (None, None) => return Err(Error::internal("the container's terminal is missing")),
    };
    Ok(Launch { running, streams, alive })
}

/// Makes `<run>/<id>`. One that is there was left by a killed monitor: what it marks is cleared first.
fn make_run_directory(home: &Home, id: &ContainerId, run: &std::path::Path) -> Result<()> {
    let make = || rfs::mkdir(run, Mode::from_raw_mode(0o700));
    match make() {
        Err(Errno::EXIST) => {
            recover::clear_run(home, id)?;
            make()
        }
        other => other,
    }
    .with_context(|| format!("make `{}`", run.display()))
}

/// The container's ends of its streams, and ours.
fn stdio(config: &ContainerConfig, attach: Attach) -> Result<(Stdio, Option<Streams>)> {
    if config.process.terminal {
        let (rows, columns) = attach.size.unwrap_or((0, 0));
        return Ok((Stdio::Terminal { rows, columns }, None));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("make the container's pipes");
    let (stdout, their_stdout) = pipe()?;
    let (stderr, their_stderr) = pipe()?;
    let (their_stdin, stdin) = match config.process.open_stdin {
        true => pipe().map(|(read, write)| (read, Some(write)))?,
        false => (null()?, None),
    };
    let theirs = Stdio::Files { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr };
    Ok((theirs, Some(Streams::Pipes { stdin, stdout, stderr })))
}

/// /dev/null, opened by the host.
pub(crate) fn null() -> Result<OwnedFd> {
    rfs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("open `/dev/null`")
}

/// A failed start leaves the container as it was, with the reason in its state; with `--rm`, nothing.
fn undo_launch(home: &Home, config: &ContainerConfig, lock: Lock, error: &Error) {
    let _ = recover::clear_run(home, &config.id);
    if config.auto_remove {
        let _ = lifecycle::remove_locked(home, config, true);
        drop(lock);
        return;
    }
    let _ = State::update(&home.container(&config.id), |state| {
        if state.status == Status::Running {
            state.status = if state.finished_at.is_some() { Status::Exited } else { Status::Created };
        }
        state.identity = None;
        state.exit_code = start::failed_exit_code(error);
        state.error = error.to_string();
    });
}

/// The store's overlay as the runtime wants a root.
struct Root(Overlay);

impl RootFilesystem for Root {
    fn mount(&self, mapping: Option<&Mapping<'_>>) -> Result<OwnedFd> {
        self.0.mount(mapping.map(|mapping| IdMap {
            user_namespace: mapping.user_namespace,
            root_uid: mapping.root_uid,
            root_gid: mapping.root_gid,
        }))
    }
}

/// What must be remembered for the time after the end; the configuration itself would be memory for nothing.
struct Aftermath {
    id: ContainerId,
    auto_remove: bool,
    memory_limit: Option<u64>,
}

impl Aftermath {
    fn of(config: &ContainerConfig) -> Self {
        Self { id: config.id.clone(), auto_remove: config.auto_remove, memory_limit: config.resources.memory }
    }

    /// Steps 9 to 13. Returns what is to be said of a lack of memory. What fails is left to the next command.
    ///
    /// The container's lock is held, so that no `start` meets the old run directory. Only a forced removal, which waits
    /// for this end, keeps the lock to itself: it clears up, too.
    fn settle(&self, home: &Home, exit: &Exit) -> Option<String> {
        let lock = self.lock(home);
        let group = cgroup::Path::of_container(self.id.as_ref()).and_then(|path| Cgroup::open(&path)).ok();
        let out_of_memory = group.as_ref().is_some_and(|group| group.oom_kills().is_ok_and(|kills| kills > 0));
        let words = out_of_memory.then(|| out_of_memory_words(self.memory_limit));
        if let Some(group) = &group {
            let _ = recover::remove_cgroup(group);
        }
        let run = home.container_run(&self.id);
        let goes = self.auto_remove && lock.is_some() && !run.join(lifecycle::RESTART_MARK).exists();
        let gone = goes && self.remove(home).is_ok();
        if !gone {
            let _ = State::update(&home.container(&self.id), |state| {
                state.set_exited(exit, out_of_memory);
                state.error = words.clone().unwrap_or_default();
            });
        }
        if lock.is_some() {
            recover::remove_directory(&run);
        }
        words
    }

    /// The container's lock, if it can be had.
    fn lock(&self, home: &Home) -> Option<Lock> {
        const PAUSE: Duration = Duration::from_millis(2);
        // A rename or a pause holds it for a moment; a forced removal for good.
        for _ in 0..500 {
            match Lock::attempt(&home.container(&self.id).join("layer")) {
                Ok(Some(lock)) => return Some(lock),
                Ok(None) if !lifecycle::is_being_removed(home, &self.id) => std::thread::sleep(PAUSE),
                _ => break,
            }
        }
        None
    }

    fn remove(&self, home: &Home) -> Result<()> {
        lifecycle::remove_locked(home, &ContainerConfig::read(home, &self.id)?, true)
    }
}

/// The end for want of memory, in words that name the limit.
fn out_of_memory_words(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("killed: out of memory: limit {} (-m)", binary_units(limit)),
        None => "killed: out of memory: the machine's own memory was used up (no -m)".to_owned(),
    }
}

fn binary_units(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift {
            let whole = bytes as f64 / (1_u64 << shift) as f64;
            let text = format!("{whole:.1}");
            return format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text));
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_memory_names_the_limit() {
        assert_eq!(out_of_memory_words(Some(64 << 20)), "killed: out of memory: limit 64 MiB (-m)");
        assert_eq!(binary_units(1536 << 20), "1.5 GiB");
        assert_eq!(binary_units(700), "700 bytes");
    }
}
