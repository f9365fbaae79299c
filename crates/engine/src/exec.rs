//! `exec`: one more process in a running container, a child of the caller. No monitor is involved: the caller holds
//! its streams and waits for it.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use failure::{Context as _, Error, Kind, Result};
use monitor::Exit;
use monitor::state::Status;
use monitor::stdio::{Local, Pumped, Remote, pump};
use oci_spec::runtime::Process;
use runtime::capabilities::Set;
use runtime::{ContainerId, ProcessIdentity, Stdio, cgroup, hooks};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::config::ContainerConfig;
use crate::{Home, create, specification, start, state, supervise};

/// What to execute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, after the container's own.
    pub environment: Vec<String>,
    /// `user[:group]`; none: the container's.
    pub user: Option<String>,
    /// None: the container's.
    pub working_directory: Option<String>,
    /// All capabilities that its user namespace can have.
    pub privileged: bool,
}

/// What the new process reads and writes.
#[derive(Debug)]
pub enum ExecStreams {
    /// Nothing (`-d`).
    Null,
    /// Pipes that [`Execution::relay`] pumps.
    Pipes {
        /// Also for stdin (`-i`); otherwise it reads nothing.
        stdin: bool,
    },
    /// These files.
    Files {
        /// Its stdin.
        stdin: OwnedFd,
        /// Its stdout.
        stdout: OwnedFd,
        /// Its stderr.
        stderr: OwnedFd,
    },
    /// A new terminal of this size (`-t`).
    Terminal {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// A process that was executed in a container.
#[derive(Debug)]
pub struct Execution {
    pid: i32,
    pidfd: OwnedFd,
    remote: Option<Remote>,
}

impl Execution {
    /// Its pid as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Pumps between it and this process until one of them ends. Nothing to pump: returns at its end.
    ///
    /// # Errors
    /// Only a fault of the system.
    pub fn relay(&mut self, local: Local<'_>) -> Result<Pumped> {
        let nothing = Remote::Pipes { stdin: None, stdout: None, stderr: None };
        pump(self.pidfd.as_fd(), self.remote.take().unwrap_or(nothing), local)
    }

    /// Waits for its end: the exit code, or 128 + the signal.
    ///
    /// # Errors
    /// Only a fault of the system.
    pub fn wait(&self) -> Result<i32> {
        Ok(Exit::reap(self.pidfd.as_fd())?.code)
    }
}

/// Executes a command in a running container.
///
/// # Errors
/// A container that does not run or is paused; a command, user or directory that is not in it.
pub fn exec(home: &Home, id: &ContainerId, request: &ExecRequest, streams: ExecStreams) -> Result<Execution> {
    let config = ContainerConfig::read(home, id)?;
    if !config.has_user_namespace() {
        runtime::sealed::ensure()?;
    }
    let state = state::running(home, id)?;
    if state.status == Status::Paused {
        return Err(Error::conflict(format!("container `{0}` is paused; first `skep unpause {0}`", config.name)));
    }
    let identity = state.identity.ok_or_else(|| Error::internal("a running container without a process"))?;
    if request.command.is_empty() {
        return Err(Error::invalid("no command: put one after the container"));
    }
    let terminal = matches!(streams, ExecStreams::Terminal { .. });
    let process = process(home, &config, request, terminal)?;
    let linux = specification::linux_of_exec(&config, request.privileged)?;
    let cache = home.seccomp_cache();
    let filter = if request.privileged { None } else { specification::default_filter(&config, &cache)? };
    let (stdio, remote) = stdio(streams)?;
    let exec = runtime::Exec {
        target: &identity,
        cgroup: &cgroup::Path::of_container(id.as_ref())?,
        process: &process,
        linux: &linux,
        filter: filter.as_deref(),
        seccomp_cache: Some(&cache),
        preserved: 0,
        container: Some(&told(&config, &identity)),
    };
    let running = runtime::exec(&exec, stdio).map_err(not_executable)?;
    let remote = running.terminal.map(Remote::Terminal).or(remote);
    Ok(Execution { pid: running.identity.pid, pidfd: running.pidfd, remote })
}

/// What a seccomp supervisor is told of the container.
fn told(config: &ContainerConfig, identity: &ProcessIdentity) -> hooks::State {
    hooks::State {
        oci_version: oci_spec::runtime::VERSION.to_owned(),
        id: config.id.to_string(),
        status: "running",
        pid: identity.pid,
        bundle: "/".into(),
        annotations: HashMap::new(),
    }
}

/// As Docker: whatever keeps the command from running in a container that runs is the command's failure (126).
fn not_executable(error: Error) -> Error {
    match error.kind() {
        Kind::Invalid | Kind::NotFound => Error::new(Kind::CommandNotExecutable, error.to_string()),
        _ => error,
    }
}

fn process(home: &Home, config: &ContainerConfig, request: &ExecRequest, terminal: bool) -> Result<Process> {
    let overlay = create::overlay(home, config, &home.container(&config.id))?;
    let groups = if request.user.is_none() { config.process.groups.as_slice() } else { &[] };
    let user = start::user(&overlay, request.user.as_deref().unwrap_or(&config.process.user), groups)
        .map_err(not_executable)?;
    let directory = request.working_directory.as_deref().unwrap_or(&config.process.working_directory);
    let capabilities = if request.privileged { Set::ALL } else { specification::capability_set(config)? };
    let mut process = Process::default();
    process.set_terminal(Some(terminal));
    process.set_console_size(None);
    process.set_user(specification::oci_user(Some(&user)));
    process.set_args(Some(request.command.clone()));
    process.set_env(Some(specification::environment(config, terminal, &user.home, &request.environment)));
    process.set_cwd(PathBuf::from(specification::working_directory(directory)));
    process.set_capabilities(Some(specification::oci_capabilities(capabilities)?));
    process.set_rlimits(Some(specification::rlimits(&config.ulimits)?));
    process.set_no_new_privileges(Some(config.security.no_new_privileges));
    process.set_oom_score_adj(config.oom_score_adjust);
    process.set_apparmor_profile(None);
    Ok(process)
}

/// The new process's ends of its streams, and ours.
fn stdio(streams: ExecStreams) -> Result<(Stdio, Option<Remote>)> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).context("make pipes for the command");
    match streams {
        ExecStreams::Terminal { rows, columns } => Ok((Stdio::Terminal { rows, columns }, None)),
        ExecStreams::Files { stdin, stdout, stderr } => Ok((Stdio::Files { stdin, stdout, stderr }, None)),
        ExecStreams::Null => {
            let null = supervise::null;
            Ok((Stdio::Files { stdin: null()?, stdout: null()?, stderr: null()? }, None))
        }
        ExecStreams::Pipes { stdin } => {
            let (stdout, their_stdout) = pipe()?;
            let (stderr, their_stderr) = pipe()?;
            let (their_stdin, stdin) = match stdin {
                true => pipe().map(|(read, write)| (read, Some(write)))?,
                false => (supervise::null()?, None),
            };
            let remote = Remote::Pipes { stdin, stdout: Some(stdout), stderr: Some(stderr) };
            Ok((Stdio::Files { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr }, Some(remote)))
        }
    }
}
