//! `start` and `run`: the process that was called forks the monitor, which clones the container.
//!
//! ```text
//! P (the command)                          M (the monitor)                        C (the container)
//! lock the container
//! socketpair, fork ----------------------> own session, no descriptors of P's
//!                                          plan; cgroups; clone --------------->  waits
//!                                          state: running
//!                                          go ---------------------------------->  set-up, exec
//! <------------------- Started or Failed -- <----------------- exec, or an error --
//! relay stdio, or leave                    unlock; supervise until the end
//! ```
//! Nothing is executed and no thread is started. What M needs it works out itself, from the configuration that P hands
//! it by being forked: no byte of it is read again.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;

use failure::{Context as _, Error, Kind, Result};
use monitor::client::{Attachment, Wants};
use monitor::process::{Fork, fork};
use monitor::state::Observed;
use runtime::{ContainerId, Plan, ProcessIdentity, cgroup, users};
use store::overlay::Overlay;

use crate::config::ContainerConfig;
use crate::create::{New, create_locked, overlay};
use crate::request::{NamespaceMode, NetworkMode, UserNamespaceMode};
use crate::specification::{self, Facts};
use crate::state::{self, Lock};
use crate::{Home, Request, lifecycle, supervise};

/// In the run directory, if there is anything to say: what could not be granted, a line each.
pub(crate) const WARNINGS: &str = "warnings";

/// Which streams the caller wants to be connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    /// What the caller sends reaches the command's stdin.
    pub stdin: bool,
    /// The command's stdout reaches the caller.
    pub stdout: bool,
    /// The command's stderr reaches the caller.
    pub stderr: bool,
    /// Rows and columns of the caller's terminal, when the container has one.
    pub size: Option<(u16, u16)>,
}

impl Attach {
    /// No stream at all (`-d`).
    pub fn detached() -> Self {
        Self::default()
    }

    /// Whether any stream is wanted.
    pub fn any(&self) -> bool {
        self.stdin || self.stdout || self.stderr
    }

    pub(crate) fn wants(self) -> Wants {
        if !self.any() {
            return Wants::STARTED;
        }
        let streams = [(self.stdin, Wants::STDIN), (self.stdout, Wants::STDOUT), (self.stderr, Wants::STDERR)];
        let wanted = streams.into_iter().filter(|(wanted, _)| *wanted);
        wanted.fold(Wants::EXIT, |all, (_, one)| all.and(one))
    }
}

/// A container whose command runs.
#[derive(Debug)]
pub struct Started {
    /// Its id.
    pub id: ContainerId,
    /// What could not be granted, a line each.
    pub warnings: Vec<String>,
    /// The connection, if a stream was wanted.
    pub attachment: Option<Attachment>,
}

/// Makes a container and starts it: the short way of [`crate::create`] and [`start`]. `created` is called between
/// the two, to note the id (`--cidfile`); its error undoes the creation.
///
/// # Errors
/// As both. Unlike Docker's, a container that could not start does not stay: a mistake in a command leaves nothing behind.
pub fn run(
    home: &Home,
    request: Request,
    attach: Attach,
    created: &mut dyn FnMut(&ContainerId, &[String]) -> Result<()>,
) -> Result<Started> {
    if specification::decide_user_namespace(&request) == UserNamespaceMode::Host {
        runtime::sealed::ensure()?;
    }
    let New { config, lock, warnings } = create_locked(home, request)?;
    if let Err(error) = created(&config.id, &warnings) {
        let _ = lifecycle::remove_locked(home, &config, true);
        drop(lock);
        return Err(error);
    }
    let id = config.id.clone();
    match spawn(home, config, lock, attach) {
        Ok(mut started) => {
            started.warnings.extend(warnings);
            Ok(started)
        }
        Err(error) => {
            // With `--rm` its monitor has removed it already.
            let _ = lifecycle::remove(home, &id, lifecycle::RemoveOptions { force: true, volumes: true });
            crate::tidy_up(home);
            Err(error)
        }
    }
}

/// Starts a container that was created or has ended. One that runs is only attached to.
///
/// # Errors
/// `CommandNotFound`, `CommandNotExecutable`, or what the kernel refused.
pub fn start(home: &Home, id: &ContainerId, attach: Attach) -> Result<Started> {
    let config = ContainerConfig::read(home, id)?;
    if !config.has_user_namespace() {
        runtime::sealed::ensure()?;
    }
    let lock = Lock::take(home, id)?;
    let (state, observed) = state::observe(home, id)?;
    if observed.is_running() {
        drop(lock);
        return already_running(home, id, attach, observed);
    }
    if matches!(state.status, monitor::state::Status::Removing | monitor::state::Status::Dead) {
        return Err(Error::conflict(format!("container `{}` is being removed; create another", config.name)));
    }
    spawn(home, config, lock, attach)
}

fn already_running(home: &Home, id: &ContainerId, attach: Attach, observed: Observed) -> Result<Started> {
    if observed == Observed::Unmonitored && attach.any() {
        return Err(lifecycle::unmonitored(id));
    }
    let attachment = attach.any().then(|| Attachment::connect(&home.container_run(id), attach.wants())).transpose()?;
    Ok(Started { id: id.clone(), warnings: Vec::new(), attachment })
}

/// Forks the monitor and waits until it says that the command runs.
fn spawn(home: &Home, config: ContainerConfig, lock: Lock, attach: Attach) -> Result<Started> {
    let (ours, theirs) = UnixStream::pair().context("make the socket to the monitor")?;
    let id = config.id.clone();
    match fork().context("start the monitor")? {
        Fork::Child => supervise::monitor_process(home, config, lock, theirs, attach),
        // The lock goes over to the monitor: it is free when the last copy of its descriptor is closed.
        Fork::Parent(_) => drop((theirs, lock, config)),
    }
    let mut attachment = Attachment::from_stream(ours);
    attachment.started()?;
    let attachment = attach.any().then_some(attachment);
    let warnings = std::fs::read_to_string(home.container_run(&id).join(WARNINGS)).unwrap_or_default();
    Ok(Started { id, warnings: warnings.lines().map(str::to_owned).collect(), attachment })
}

/// All that is needed to launch a container.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) overlay: Overlay,
    pub(crate) warnings: Vec<String>,
}

/// From the configuration to the plan. Makes nothing.
pub(crate) fn prepare(home: &Home, config: &ContainerConfig) -> Result<Prepared> {
    let overlay = overlay(home, config, &home.container(&config.id))?;
    let plan = plan(home, config, &overlay)?;
    let warnings = plan.warnings().to_vec();
    Ok(Prepared { plan, overlay, warnings })
}

fn plan(home: &Home, config: &ContainerConfig, overlay: &Overlay) -> Result<Plan> {
    let facts = facts(home, config, overlay)?;
    let spec = specification::specification(home, config, &facts)?;
    let cache = home.seccomp_cache();
    let filter = specification::default_filter(config, &cache)?;
    let group = cgroup::Path::of_container(config.id.as_ref())?;
    let request = runtime::Request {
        filter: filter.as_deref(),
        seccomp_cache: Some(&cache),
        init: config.init,
        ..runtime::Request::new(&config.id, &spec, &group)
    };
    let plan = Plan::new(&request)?;
    // The namespaces are open in the plan now: if their owners still live, they were theirs.
    for (id, identity) in &facts.joined {
        if !identity.is_alive() {
            return Err(Error::conflict(format!("container `{id}`, whose namespaces are joined, has just ended")));
        }
    }
    Ok(plan)
}

/// The steps of starting a container, in words.
pub(crate) fn describe(home: &Home, config: &ContainerConfig, overlay: &Overlay) -> Result<String> {
    Ok(plan(home, config, overlay)?.to_string())
}

/// Who the container runs as, and whose namespaces it joins.
fn facts(home: &Home, config: &ContainerConfig, overlay: &Overlay) -> Result<Facts> {
    let user = user(overlay, &config.process.user, &config.process.groups)?;
    let mut facts = Facts { user: Some(user), joined: HashMap::new() };
    let namespaces = &config.namespaces;
    for mode in [&namespaces.pid, &namespaces.ipc, &namespaces.uts, &namespaces.cgroup] {
        if let NamespaceMode::Container(other) = mode {
            facts.joined.insert(other.clone(), first_process(home, other)?);
        }
    }
    if let NetworkMode::Container(other) = &namespaces.network {
        facts.joined.insert(other.clone(), first_process(home, other)?);
    }
    Ok(facts)
}

fn first_process(home: &Home, other: &str) -> Result<ProcessIdentity> {
    let id: ContainerId = other.parse()?;
    let state = state::running(home, &id).context("join the namespaces of another container")?;
    state.identity.ok_or_else(|| Error::internal(format!("container `{}` has no process", id.short())))
}

/// Looks a user up in the container's own files.
pub(crate) fn user(overlay: &Overlay, user: &str, groups: &[String]) -> Result<users::User> {
    const LIMIT: u64 = 4 << 20;
    let passwd = overlay.read_file("etc/passwd", LIMIT)?.unwrap_or_default();
    let group = overlay.read_file("etc/group", LIMIT)?.unwrap_or_default();
    users::resolve(user, &passwd, &group, groups)
}

/// Docker's exit code for a container that could not start.
pub(crate) fn failed_exit_code(error: &Error) -> i32 {
    match error.kind() {
        Kind::CommandNotFound => 127,
        Kind::CommandNotExecutable => 126,
        _ => 128,
    }
}
