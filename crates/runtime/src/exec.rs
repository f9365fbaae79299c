//! One more process in a container that runs.
//!
//! The caller stays where it is: a helper joins the namespaces, and the process that it clones there is the caller's own
//! child (drawn in `init::join`). The target is held by a pidfd that was checked against its start time, so that a number
//! given anew leads nowhere.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use failure::{Context as _, Error, Result};
use init::Join;
use init::channel::{self, Message};
use oci_spec::runtime::{Linux, Process};
use rustix::process::{Pid, WaitId, WaitIdOptions};
use sys::process::Clone;

use crate::cgroup::{Cgroup, Joiners};
use crate::hooks::State;
use crate::launch::{end, pair, say_start, write_process_file};
use crate::plan::{Action, ExecPlan, Outside, Pointers, borrow};
use crate::seccomp::{Connection, Instruction};
use crate::{ProcessIdentity, Running, Stdio, cgroup, report, resctrl, stdio};

/// A process to add to a container.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// The container's first process.
    pub target: &'a ProcessIdentity,
    /// The container's control group. Its processes must not be frozen.
    pub cgroup: &'a cgroup::Path,
    /// What to execute, as whom.
    pub process: &'a Process,
    /// The container's specification: its namespaces, id mappings and filter.
    pub linux: &'a Linux,
    /// A compiled filter, instead of compiling that of the specification.
    pub filter: Option<&'a [Instruction]>,
    /// Where compiled filters are kept.
    pub seccomp_cache: Option<&'a Path>,
    /// How many descriptors from 3 on the program keeps. The caller makes sure that all of them are open.
    pub preserved: u32,
    /// What the supervisor is told of the container, if the filter asks one.
    pub container: Option<&'a State>,
}

/// Starts the process. It is this process's child; this process, which must have one thread, stays where it is.
///
/// # Errors
/// The container has ended, the request is wrong, or the program cannot be executed.
pub fn exec(exec: &Exec<'_>, stdio: Stdio) -> Result<Running> {
    let plan = ExecPlan::new(exec)?;
    stdio.check(plan.terminal)?;
    stdio.give_to(plan.identity.host_uid, plan.identity.host_gid)?;
    let mut told = Told::connect(exec, &plan)?;
    let (helper, channel) = start_helper(exec, &plan, &stdio, told.as_ref())?;
    drop(stdio);
    let running = follow(&plan, &channel, &mut told);
    // It ends by itself once it has cloned; what it had to say was said.
    let _ = rustix::process::waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED);
    running
}

/// The supervisor of the process's filter, and what it is told of the container.
struct Told<'a> {
    connection: Connection,
    container: &'a State,
}

impl<'a> Told<'a> {
    fn connect(exec: &Exec<'a>, plan: &ExecPlan) -> Result<Option<Self>> {
        let Some(listener) = &plan.listener else { return Ok(None) };
        let container =
            exec.container.ok_or_else(|| Error::internal("a supervisor is told nothing of the container"))?;
        Ok(Some(Self { connection: listener.connect()?, container }))
    }
}

fn start_helper(
    exec: &Exec<'_>,
    plan: &ExecPlan,
    stdio: &Stdio,
    told: Option<&Told<'_>>,
) -> Result<(OwnedFd, OwnedFd)> {
    let target = exec.target.open()?;
    let joiners = Cgroup::open(exec.cgroup)?.joiners()?;
    // v1: the new process joins by itself. v2: the helper is born in the group, and the new process too.
    let (files, directory) = match &joiners {
        Joiners::Tasks(files) => (files.iter().map(AsFd::as_fd).collect(), None),
        Joiners::Directory(directory) => (Vec::new(), Some(directory.as_fd())),
    };
    let outside = Outside {
        joiners: &files,
        cgroup_names: &[],
        cgroup_links: &[],
        streams: stdio.borrow(),
        supervisor: told.map(|told| told.connection.borrow()),
    };
    let pointers = Pointers::new(&plan.program, &plan.actions);
    let steps = borrow(&plan.actions, &plan.identity, &plan.program, &pointers, &outside)
        .ok_or_else(|| Error::internal("the command cannot be handed over"))?;
    let (ours, theirs) = pair()?;
    let mut needed = vec![theirs.as_fd(), target.as_fd()];
    needed.extend(plan.actions.iter().filter_map(Action::descriptor));
    let kept = stdio::kept(&outside, &needed, exec.preserved);
    let bound = Bound::to(plan.processors.as_deref())?;
    let cloned = sys::process::clone(0, directory);
    if let Ok(Clone::Child) = cloned {
        // Before anybody in the container can look; and its copy of our end would keep it waiting for a parent that
        // was killed.
        stdio::close_all_but(&kept);
        let join = Join { target: target.as_fd(), namespaces: plan.namespaces, steps: &steps };
        init::join(&join, theirs.as_fd())
    }
    bound.release()?;
    match cloned.context("cannot make a process in the container's cgroup")? {
        Clone::Parent { pidfd, .. } => Ok((pidfd, ours)),
        Clone::Child => Err(report::vanished()),
    }
}

/// The processors that this process had before it was bound to others.
struct Bound(Option<[u64; 128]>);

impl Bound {
    fn to(processors: Option<&[u64]>) -> Result<Self> {
        let Some(processors) = processors else { return Ok(Self(None)) };
        let mut before = [0; 128];
        sys::schedule::affinity(&mut before).context("cannot read this process's processors")?;
        sys::schedule::set_affinity(processors).context("cannot run on the processors of `execCPUAffinity`")?;
        Ok(Self(Some(before)))
    }

    fn release(self) -> Result<()> {
        let Some(before) = self.0 else { return Ok(()) };
        sys::schedule::set_affinity(&before).context("cannot get this process's processors back")
    }
}

/// Hears who the process is, and waits until its program runs or the helper and it have both ended: what one says may
/// overtake what the other says.
fn follow(plan: &ExecPlan, channel: &OwnedFd, told: &mut Option<Told<'_>>) -> Result<Running> {
    let mut heard = Heard::default();
    let listened = listen(plan, channel, &mut heard, told);
    let failed = listened.err().or(heard.failed);
    match (heard.process, failed) {
        (Some((identity, pidfd)), None)
            if (heard.terminal.is_some() || !plan.terminal) && !identity.ended_before_its_program() =>
        {
            Ok(Running { identity, pidfd, terminal: heard.terminal })
        }
        (process, failed) => {
            if let Some((_, pidfd)) = process {
                end(&pidfd);
            }
            Err(failed.unwrap_or_else(report::vanished))
        }
    }
}

#[derive(Default)]
struct Heard {
    process: Option<(ProcessIdentity, OwnedFd)>,
    settled: bool,
    terminal: Option<OwnedFd>,
    failed: Option<Error>,
}

fn listen(plan: &ExecPlan, channel: &OwnedFd, heard: &mut Heard, told: &mut Option<Told<'_>>) -> Result<()> {
    while let Some(message) = channel::receive(channel).context("cannot hear from the new process")? {
        match message {
            (Message::Process(pid), Some(pidfd)) => {
                // Kept before all else: a child that is known is a child that is waited for.
                let process = heard.process.insert((ProcessIdentity { pid, start_time: 0 }, pidfd));
                process.0 = ProcessIdentity::of(pid)?;
            }
            (Message::Settled, _) => heard.settled = true,
            (Message::Ready, master) => heard.terminal = master,
            (Message::Failed { step, errno }, _) => {
                heard.failed = Some(report::failed(&plan.actions, &plan.program, step, errno));
            }
            _ => return Err(report::vanished()),
        }
        if let (true, Some((identity, _))) = (heard.settled, &heard.process) {
            grant(plan, channel, identity.pid, told.take())?;
            heard.settled = false;
        }
    }
    Ok(())
}

/// What only the host may grant to the new process, which waits for it.
fn grant(plan: &ExecPlan, channel: &OwnedFd, pid: i32, told: Option<Told<'_>>) -> Result<()> {
    for (resource, limit) in &plan.raised {
        rustix::process::prlimit(Pid::from_raw(pid), *resource, *limit).context("cannot raise a limit")?;
    }
    if let Some(score) = plan.oom_score_adjust {
        write_process_file(pid, "oom_score_adj", &score.to_string())?;
    }
    if let Some(target) = plan.shares_of {
        resctrl::follow(target, pid)?;
    }
    if let Some(pid) = Pid::from_raw(pid) {
        plan.scheduling.give_to(pid)?;
    }
    if let Some(told) = told {
        told.connection.tell(pid, told.container)?;
    }
    say_start(channel)
}
