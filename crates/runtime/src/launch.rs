//! From a plan to a process that waits just before its program.
//!
//! ```text
//!   parent                                          child (crate init)
//!   cgroup with its limits
//!   join foreign namespaces, clone3, come back ----> cgroups, other namespaces, loopback, host name
//!   id maps, MAPPED ------------------------------->  root of the namespace; proc, sysfs, devpts, mqueue, tmpfs
//!   root file system, /dev, binds: MOUNT each ----->  enters the root, attaches, masks, user, capabilities
//!   hooks of the host, if any (see [`crate::hooks`])
//!   START ----------------------------------------->  filter, exec
//! ```
//! The protocol is drawn in [`init::channel`]. The parent is the host's root in the host's namespaces: whatever the
//! container's root may not do, it does, and hands over the result as a detached mount. Nothing is attached anywhere on
//! the host, so that a parent that dies leaves nothing behind but the cgroup.
//!
//! A parent may leave before the start ([`Launched::leave`]): then somebody else starts the container ([`start`]) over its
//! start socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use failure::{Context as _, Error, Result};
use init::Enter;
use init::channel::{self, Message};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use sys::process::Clone;

use crate::cgroup::{Cgroup, Controller, Joiners};
use crate::hooks::{self, State};
use crate::plan::{Action, IdMaps, Joined, Outside, Pointers, TIME, USER, borrow};
use crate::resctrl::Assignment;
use crate::seccomp::{Connection, Listener};
use crate::visit::{self, Visit};
use crate::{Plan, ProcessIdentity, RootFilesystem, Stdio, deliver, idmap, interfaces, report, stdio};

/// A container that waits just before its program. Dropped, it is killed and its cgroup removed.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    identity: ProcessIdentity,
    channel: OwnedFd,
    plan: Plan,
}

/// A process that runs its program.
#[derive(Debug)]
pub struct Running {
    /// Which process it is.
    pub identity: ProcessIdentity,
    /// Its handle; it is this process's child, to be waited for.
    pub pidfd: OwnedFd,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// Makes the container, up to its program. The calling process must have one thread, and becomes its parent.
///
/// # Errors
/// A step failed; nothing of the container is left.
pub fn launch(plan: Plan, root: &dyn RootFilesystem, stdio: Stdio) -> Result<Launched> {
    stdio.check(plan.terminal)?;
    stdio.give_to(plan.identity.host_uid, plan.identity.host_gid)?;
    let supervisor = plan.listener.as_ref().map(Listener::connect).transpose()?;
    let mut group = make_group(&plan)?;
    let started = start_child(&plan, &group, &stdio, supervisor.as_ref());
    let (mut child, channel, foreign) = started.inspect_err(|_| remove_group(&plan))?;
    child.group = Some(plan.cgroup.clone());
    child.shares.clone_from(&plan.shares);
    group.settle(child.pid.as_raw_nonzero().get())?;
    // From here on a failure kills the child and removes the group, by its guard.
    drop(stdio);
    let mut provided = provide(&plan, &group, &child, &channel, root, foreign);
    if let (Ok(identity), Some(supervisor)) = (&provided, supervisor) {
        provided = tell_supervisor(&plan, supervisor, *identity);
    }
    let identity = match provided {
        Ok(identity) => identity,
        Err(failed) => return Err(child_report(&plan, &channel).unwrap_or(failed)),
    };
    Ok(Launched { child, identity, channel, plan })
}

/// What a container does after its start, for whoever starts it and was not its parent: to say what failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AfterStart {
    first: u32,
    steps: Vec<String>,
    program: String,
}

/// Starts a container whose parent has left, over a connection to its start socket.
///
/// # Errors
/// A hook fails, or the program cannot be executed. The container's process has ended then, and is its reaper's.
pub fn start(connection: &OwnedFd, after: &AfterStart) -> Result<()> {
    channel::send(connection, Message::Start, None).context("the container has ended")?;
    await_program(connection, |step, errno| {
        report::failed_after_start(&after.steps, after.first, &after.program, step, errno)
    })
    .map(drop)
}

impl Launched {
    /// What is left to do after the start.
    #[must_use]
    pub fn after_start(&self) -> AfterStart {
        let waits = |action: &Action| matches!(action, Action::AwaitStart | Action::AcceptStart(_));
        let first = self.plan.actions.iter().position(waits).map_or(0, |at| at + 1);
        let steps = self.plan.actions.get(first..).unwrap_or_default().iter().map(report::step).collect();
        AfterStart { first: u32::try_from(first).unwrap_or(u32::MAX), steps, program: self.plan.program.name.clone() }
    }

    /// Waits until all is set up and nothing but the start is missing; takes the terminal if one comes. Only for a
    /// container with a start socket.
    ///
    /// # Errors
    /// A step of the set-up failed.
    pub fn ready(&self) -> Result<Option<OwnedFd>> {
        match channel::receive(&self.channel).context("cannot hear from the new process")? {
            Some((Message::Ready, master)) => Ok(master),
            Some((Message::Failed { step, errno }, _)) => {
                Err(report::failed(&self.plan.actions, &self.plan.program, step, errno))
            }
            _ => Err(report::vanished()),
        }
    }

    /// Leaves it to whoever starts it over its start socket. Until this is called it ends with the caller: so that
    /// there is no container that cannot be found.
    ///
    /// # Errors
    /// It has ended.
    pub fn leave(self) -> Result<Running> {
        let Self { child, identity, channel, .. } = self;
        channel::send(&channel, Message::Left, None).context("the new process has ended")?;
        Ok(Running { identity, pidfd: child.keep()?, terminal: None })
    }

    /// The process that will be the container's first.
    #[must_use]
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Its handle, readable once it has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Lets it execute its program.
    ///
    /// # Errors
    /// A step of the set-up failed, or the program cannot be executed ([`failure::Kind::CommandNotFound`],
    /// [`failure::Kind::CommandNotExecutable`]). Nothing of the container is left then.
    pub fn start(self) -> Result<Running> {
        let Self { child, identity, channel, plan } = self;
        say_start(&channel)?;
        let terminal =
            await_program(&channel, |step, errno| report::failed(&plan.actions, &plan.program, step, errno))?;
        // The PID 1 of ours executes nothing.
        let supervised = plan.actions.iter().any(|action| matches!(action, Action::Supervise));
        let vanished = !supervised && identity.ended_before_its_program();
        if vanished || (plan.terminal && terminal.is_none()) {
            return Err(report::vanished());
        }
        Ok(Running { identity, pidfd: child.keep()?, terminal })
    }
}

/// Lets the child go on. One that is gone has said why, which is still to be heard; one that cannot be told would wait
/// for ever.
pub(crate) fn say_start(channel: &OwnedFd) -> Result<()> {
    match channel::send(channel, Message::Start, None) {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(errno).context("cannot tell the new process to start"),
    }
}

/// Waits until the program runs, which closes the child's end; takes the terminal if one comes.
pub(crate) fn await_program(channel: &OwnedFd, failed: impl Fn(u32, i32) -> Error) -> Result<Option<OwnedFd>> {
    let mut terminal = None;
    loop {
        match channel::receive(channel).context("cannot hear from the new process")? {
            None => return Ok(terminal),
            Some((Message::Ready, master)) => terminal = master,
            Some((Message::Failed { step, errno }, _)) => return Err(failed(step, errno)),
            Some(_) => return Err(report::vanished()),
        }
    }
}

/// Makes the group with the limits and the device rules. A user namespace does not replace the rules: no node can be made
/// in one, but an image brings its own, and who may mount there may lift the `nodev` that closes them.
fn make_group(plan: &Plan) -> Result<Cgroup> {
    let group = Cgroup::create(&plan.cgroup, &plan.resources, &[Controller::Devices])?;
    if let Some(user) = plan.cgroup_owner {
        group.give_to(user).inspect_err(|_| remove_group(plan))?;
    }
    Ok(group)
}

fn remove_group(plan: &Plan) {
    // What failed first is what is told.
    let _ = Cgroup::remove_at(&plan.cgroup);
}

/// Clones the child, in the namespaces that it joins, with those of their file systems that only the parent can make.
fn start_child(
    plan: &Plan,
    group: &Cgroup,
    stdio: &Stdio,
    supervisor: Option<&Connection>,
) -> Result<(Child, OwnedFd, Vec<OwnedFd>)> {
    let (ours, theirs) = pair()?;
    let joiners = group.joiners()?;
    let (files, directory) = match &joiners {
        Joiners::Tasks(files) => (files.iter().map(AsFd::as_fd).collect(), None),
        Joiners::Directory(directory) => (Vec::new(), Some(directory.as_fd())),
    };
    let (names, links) = cgroup_names(group);
    let outside = Outside {
        joiners: &files,
        cgroup_names: &names,
        cgroup_links: &links,
        streams: stdio.borrow(),
        supervisor: supervisor.map(Connection::borrow),
    };
    let pointers = Pointers::new(&plan.program, &plan.actions);
    let steps = borrow(&plan.actions, &plan.identity, &plan.program, &pointers, &outside)
        .ok_or_else(|| Error::internal("the command cannot be handed over"))?;
    let mut needed = vec![theirs.as_fd()];
    needed.extend(plan.actions.iter().filter_map(Action::descriptor));
    needed.extend(plan.namespaces.for_good.iter().chain(&plan.namespaces.joins).map(|join| join.file.as_fd()));
    let kept = stdio::kept(&outside, &needed, plan.preserved);
    let way = Way { plan, steps: &steps, kept: &kept, directory };
    let (child, foreign) =
        if plan.namespaces.for_good.is_empty() { way.by_visit(&theirs)? } else { way.by_helper(theirs, &ours)? };
    Ok((child, ours, foreign))
}

/// What the clone needs.
struct Way<'a> {
    plan: &'a Plan,
    steps: &'a [init::Step<'a>],
    kept: &'a [u32],
    /// The v2 group to be born in.
    directory: Option<BorrowedFd<'a>>,
}

impl Way<'_> {
    /// Clones the child during a visit to the namespaces that it joins.
    fn by_visit(&self, theirs: &OwnedFd) -> Result<(Child, Vec<OwnedFd>)> {
        let plan = self.plan;
        let visit = Visit::enter(plan.namespaces.joins.iter())?;
        let cloned = sys::process::clone(u64::from(plan.namespaces.at_clone), self.directory);
        if let Ok(Clone::Child) = cloned {
            // Before anybody in a joined namespace can look; and its copy of our end would keep it waiting for a parent
            // that was killed.
            stdio::close_all_but(self.kept);
            init::run(self.steps, theirs.as_fd());
        }
        let foreign = match &cloned {
            Ok(_) => self.work_there(),
            Err(_) => Ok(Vec::new()),
        };
        visit.leave()?;
        let Clone::Parent { pid, pidfd } = cloned.context("cannot make a process with new namespaces")? else {
            return Err(report::vanished());
        };
        let child = Child { pid, pidfd, group: None, shares: None, kept: false };
        Ok((child, foreign?))
    }

    fn work_there(&self) -> Result<Vec<OwnedFd>> {
        if let Some(names) = &self.plan.visited_names {
            visit::set_names(names)?;
        }
        deliver::foreign(&self.plan.actions)
    }

    /// Lets a helper go where there is no way back from, and clone the child there.
    fn by_helper(&self, theirs: OwnedFd, ours: &OwnedFd) -> Result<(Child, Vec<OwnedFd>)> {
        let plan = self.plan;
        let joined: Vec<&Joined> = plan.namespaces.for_good.iter().chain(&plan.namespaces.joins).collect();
        let to_join = joined.iter().map(|join| init::Namespace { file: join.file.as_fd(), kind: join.link_type() });
        let namespaces: Vec<_> = to_join.collect();
        let enter = Enter { namespaces: &namespaces, new: u64::from(plan.namespaces.at_clone), steps: self.steps };
        let cloned = sys::process::clone(0, self.directory);
        if let Ok(Clone::Child) = cloned {
            stdio::close_all_but(self.kept);
            init::enter(&enter, theirs.as_fd());
        }
        drop(theirs);
        let Clone::Parent { pidfd: helper, .. } = cloned.context("cannot make a helper process")? else {
            return Err(report::vanished());
        };
        let mut failed = None;
        let heard = hear_of_child(ours, &mut failed);
        // It ends by itself once it has cloned; what it had to say was said.
        let _ = rustix::process::waitid(WaitId::PidFd(helper.as_fd()), WaitIdOptions::EXITED);
        let child = heard?;
        if let Some((step, errno)) = failed {
            let index = step.checked_sub(init::JOINING).and_then(|index| usize::try_from(index).ok());
            return Err(match index.and_then(|index| joined.get(index)) {
                Some(join) => report::not_joined(join, errno),
                None => report::failed(&plan.actions, &plan.program, step, errno),
            });
        }
        let child = child.ok_or_else(report::vanished)?;
        // Only where there is work: a time namespace is closed to processes with threads.
        let with_work = |join: &&Joined| plan.visited_names.is_some() || plan.namespaces.is_foreign(join.kind);
        let visit = Visit::enter(plan.namespaces.joins.iter().filter(|join| join.kind != TIME).filter(with_work))?;
        let foreign = self.work_there();
        visit.leave()?;
        Ok((child, foreign?))
    }
}

/// Who the child is, as the helper says; or what failed, which the child may say before.
fn hear_of_child(channel: &OwnedFd, failed: &mut Option<(u32, i32)>) -> Result<Option<Child>> {
    loop {
        match channel::receive(channel).context("cannot hear from the new process")? {
            Some((Message::Process(pid), Some(pidfd))) => {
                let pid = Pid::from_raw(pid).ok_or_else(report::vanished)?;
                return Ok(Some(Child { pid, pidfd, group: None, shares: None, kept: false }));
            }
            Some((Message::Failed { step, errno }, _)) => *failed = Some((step, errno)),
            Some(_) => return Err(report::vanished()),
            None => return Ok(None),
        }
    }
}

/// All that the child waits for, in its order.
fn provide(
    plan: &Plan,
    group: &Cgroup,
    child: &Child,
    channel: &OwnedFd,
    root: &dyn RootFilesystem,
    foreign: Vec<OwnedFd>,
) -> Result<ProcessIdentity> {
    let pid = child.pid.as_raw_nonzero().get();
    raise_limits(plan, child.pid)?;
    plan.shares.as_ref().map_or(Ok(()), |shares| shares.give_to(pid))?;
    if let Some(score) = plan.oom_score_adjust {
        write_process_file(pid, "oom_score_adj", &score.to_string())?;
    }
    let mut user_namespace = None;
    if let Some(maps) = &plan.namespaces.mapping {
        if plan.namespaces.for_good.iter().all(|join| join.kind != USER) {
            write_maps(pid, maps)?;
            tell(channel, Message::Mapped, None)?;
        }
        user_namespace = Some(open_user_namespace(pid, &child.pidfd)?);
    }
    if !plan.interfaces.is_empty() {
        interfaces::give_to(&plan.interfaces, network_of(pid)?.as_fd())?;
    }
    let maker = deliver::Maker {
        maps: plan.namespaces.mapping.as_ref(),
        user_namespace,
        root,
        group,
        mount_maps: idmap::Maps::default(),
    };
    let mut foreign = foreign.into_iter();
    for action in &plan.actions {
        match action {
            Action::Receive { delivery, .. } => {
                let mount = maker.make(delivery, &mut foreign)?;
                tell(channel, Message::Mount, Some(mount.as_fd()))?;
            }
            Action::AttachCgroups { attributes, .. } => {
                for mount in maker.cgroup_views(*attributes)? {
                    tell(channel, Message::Mount, Some(mount.as_fd()))?;
                }
            }
            Action::ReportSettled => schedule(plan, channel, child.pid)?,
            Action::ReceiveState { status } => {
                let state = State { status, pid, ..plan.hook_state()? };
                tell(channel, Message::State, Some(state.file()?.as_fd()))?;
            }
            Action::AwaitHooks => run_hooks(plan, channel, pid)?,
            _ => {}
        }
    }
    ProcessIdentity::of(pid)
}

/// Only in its group may a process have some of the policies; late, so that a low one slows nothing down.
fn schedule(plan: &Plan, channel: &OwnedFd, pid: Pid) -> Result<()> {
    match channel::receive(channel).context("cannot hear from the new process")? {
        Some((Message::Settled, _)) => plan.scheduling.give_to(pid),
        Some((Message::Failed { step, errno }, _)) => Err(report::failed(&plan.actions, &plan.program, step, errno)),
        _ => Err(report::vanished()),
    }
}

/// Writes what the child will send with the listener of its filter.
fn tell_supervisor(plan: &Plan, supervisor: Connection, identity: ProcessIdentity) -> Result<ProcessIdentity> {
    let pid = identity.pid;
    supervisor.tell(pid, &State { pid, ..plan.hook_state()? }).map(|()| identity)
}

/// The hooks of the host, once the child has the root complete.
fn run_hooks(plan: &Plan, channel: &OwnedFd, pid: i32) -> Result<()> {
    match channel::receive(channel).context("cannot hear from the new process")? {
        Some((Message::Mounted, _)) => {}
        Some((Message::Failed { step, errno }, _)) => {
            return Err(report::failed(&plan.actions, &plan.program, step, errno));
        }
        _ => return Err(report::vanished()),
    }
    hooks::run(&plan.hooks, &State { pid, ..plan.hook_state()? })?;
    tell(channel, Message::GoOn, None)
}

/// A pair of connected sockets that keep messages apart.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("cannot make a socket pair")
}

fn tell(channel: &OwnedFd, message: Message, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
    channel::send(channel, message, descriptor).context("the new process ended while it was set up")
}

/// Why the child stopped listening, if it said so.
fn child_report(plan: &Plan, channel: &OwnedFd) -> Option<Error> {
    rustix::net::shutdown(channel, rustix::net::Shutdown::Write).ok()?;
    loop {
        match channel::receive(channel).ok()?? {
            // The shutdown above made it stop: the parent's own failure is the cause.
            (Message::Failed { errno, .. }, _) if errno == Errno::OWNERDEAD.raw_os_error() => return None,
            (Message::Failed { step, errno }, _) => {
                return Some(report::failed(&plan.actions, &plan.program, step, errno));
            }
            _ => {}
        }
    }
}

/// `memory\0cpu,cpuacct\0` and the pairs `cpu\0cpu,cpuacct\0`.
fn cgroup_names(group: &Cgroup) -> (Vec<u8>, Vec<u8>) {
    let (mut names, mut links) = (Vec::new(), Vec::new());
    for view in group.views() {
        for link in &view.links {
            links.extend_from_slice(link.as_bytes());
            links.push(0);
            links.extend_from_slice(view.name.as_bytes());
            links.push(0);
        }
        names.extend_from_slice(view.name.as_bytes());
        names.push(0);
    }
    (names, links)
}

/// Hard limits that only the parent may raise; the child sets the rest itself.
fn raise_limits(plan: &Plan, pid: Pid) -> Result<()> {
    for (resource, limit) in &plan.raised {
        rustix::process::prlimit(Some(pid), *resource, *limit).context("cannot raise a limit")?;
    }
    Ok(())
}

/// Root of the host writes any map, and leaves setgroups allowed.
fn write_maps(pid: i32, maps: &IdMaps) -> Result<()> {
    write_process_file(pid, "uid_map", &maps.users)?;
    write_process_file(pid, "gid_map", &maps.groups)
}

pub(crate) fn write_process_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/{name}"), flags, rustix::fs::Mode::empty())
        .and_then(|file| rustix::io::write(file, text.as_bytes()))
        .with_context(|| format!("cannot write the {name} of the new process"))
        .map(drop)
}

/// There from the start: made by the clone, or joined.
fn network_of(pid: i32) -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}/ns/net"), flags, rustix::fs::Mode::empty())
        .context("cannot open the network namespace of the new process")
}

pub(crate) fn open_user_namespace(pid: i32, pidfd: &OwnedFd) -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    sys::namespace::user_namespace(pidfd.as_fd())
        .or_else(|_| rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, rustix::fs::Mode::empty()))
        .context("cannot open the user namespace of the new process")
}

/// A child that does not run its program yet. Dropped, it is killed, waited for, and its group removed.
#[derive(Debug)]
struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    group: Option<crate::cgroup::Path>,
    shares: Option<Assignment>,
    kept: bool,
}

impl Child {
    /// A handle to it; from now on it is the caller's to end.
    fn keep(mut self) -> Result<OwnedFd> {
        let handle = self.pidfd.try_clone().context("cannot keep the handle of the new process")?;
        self.kept = true;
        Ok(handle)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        end(&self.pidfd);
        if let Some(shares) = &self.shares {
            let _ = shares.remove();
        }
        if let Some(path) = &self.group {
            let _ = Cgroup::remove_at(path);
        }
    }
}

/// Kills a child and waits for it. One that is gone already is as good.
pub(crate) fn end(pidfd: &OwnedFd) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}
