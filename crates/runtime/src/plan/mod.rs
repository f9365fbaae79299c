//! All that launching will do, decided: the steps of the child in order, and what the parent does beside them.
//!
//! ```text
//!   what the child does                                    why then
//!   join cgroups, new namespaces, loopback, names          needs no ids
//!   wait for the maps, become root                         what is made belongs to the container's root
//!   make proc, sysfs, mqueue, devpts, tmpfs                while the parent mounts the root; proc and sysfs need the host's
//!   enter the root                                         the host's tree is gone from here on
//!   attach all, kernel settings, masks, streams            only paths inside
//!   working directory, root read-only, limits              nothing is made any more
//!   user, capabilities, no_new_privs                       nothing privileged any more
//!   wait for the start, filter, execute
//! ```

mod action;
mod binds;
mod devices;
mod display;
mod file_systems;
mod filter;
mod hooks;
mod id_maps;
mod labels;
mod limits;
mod mount_maps;
mod mounts;
mod namespaces;
mod options;
mod origin;
mod paths;
mod process;
mod refuse;
mod root;
mod scheduling;
mod settings;
mod time;

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{Linux, LinuxResources, Process, Spec};
use rustix::fs::{Mode, OFlags};
use sys::mount::Attributes;

pub(crate) use action::{
    Action, Delivery, Entry, FileSystem, Hook, Outside, OwnFileSystem, Place, Pointers, Streams, borrow,
};
pub(crate) use binds::Bind;
pub(crate) use devices::{Devices, LINKS, Node};
use filter::Filter;
pub(crate) use hooks::Planned;
pub(crate) use id_maps::IdMaps;
use labels::Modules;
pub(crate) use limits::Raised;
pub(crate) use mount_maps::{MapLines, MountMap};
pub(crate) use namespaces::all_names as namespace_names;
pub(crate) use namespaces::{Joined, Namespaces, TIME, USER};
pub(crate) use options::Idmap;
pub(crate) use options::all_names as mount_option_names;
pub(crate) use process::{Identity, Program};
pub(crate) use scheduling::Scheduling;
use scheduling::{EVERY_PROCESSOR, Processors};

use crate::interfaces::{self, Interface};
use crate::resctrl::{self, Assignment};
use crate::seccomp::{Instruction, Listener};
use crate::{ContainerId, Exec, cgroup, nested};

/// What a container is to be.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its id: its host name, if it has a uts namespace and the specification gives none.
    pub id: &'a ContainerId,
    /// The OCI specification. Its `root.path` is not looked at: the root comes from a [`crate::RootFilesystem`].
    pub spec: &'a Spec,
    /// Its control group, which launching makes with the limits of the specification.
    pub cgroup: &'a cgroup::Path,
    /// A compiled filter, instead of compiling that of the specification.
    pub filter: Option<&'a [Instruction]>,
    /// Where compiled filters are kept.
    pub seccomp_cache: Option<&'a Path>,
    /// Put a tiny PID 1 in front of the program, which forwards signals and reaps.
    pub init: bool,
    /// The directory that the specification came from, absolute: hooks are told of it.
    pub bundle: Option<&'a Path>,
    /// A listening socket (`SOCK_SEQPACKET`) on which the container waits for its start after [`crate::Launched::leave`].
    pub start: Option<BorrowedFd<'a>>,
    /// How many descriptors from 3 on the program keeps. The caller makes sure that all of them are open.
    pub preserved: u32,
    /// Enter the root by pivot_root. Without, for a host whose root is a ramdisk, by chroot: a weaker wall.
    pub pivot: bool,
    /// Leave the caller's session keyring for a new one.
    pub new_keyring: bool,
}

impl<'a> Request<'a> {
    /// A request of what every container needs, and the usual choices for the rest.
    #[must_use]
    pub fn new(id: &'a ContainerId, spec: &'a Spec, cgroup: &'a cgroup::Path) -> Self {
        Self {
            id,
            spec,
            cgroup,
            filter: None,
            seccomp_cache: None,
            init: false,
            bundle: None,
            start: None,
            preserved: 0,
            pivot: true,
            new_keyring: true,
        }
    }
}

/// All that launching will do, decided. Bind sources and namespaces that the request names are open in it: do not close
/// descriptors behind its back.
#[derive(Debug)]
pub struct Plan {
    pub(crate) cgroup: cgroup::Path,
    /// The user that the group is handed over to.
    pub(crate) cgroup_owner: Option<u32>,
    pub(crate) resources: LinuxResources,
    pub(crate) namespaces: Namespaces,
    pub(crate) actions: Vec<Action>,
    pub(crate) identity: Identity,
    pub(crate) program: Program,
    pub(crate) terminal: bool,
    pub(crate) raised: Vec<Raised>,
    pub(crate) oom_score_adjust: Option<i32>,
    pub(crate) scheduling: Scheduling,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) shares: Option<Assignment>,
    /// For the uts namespace that the container joins.
    pub(crate) visited_names: Option<Names>,
    pub(crate) preserved: u32,
    pub(crate) hooks: Vec<oci_spec::runtime::Hook>,
    pub(crate) state: Option<crate::hooks::State>,
    /// Whom the filter asks.
    pub(crate) listener: Option<Listener>,
    warnings: Vec<String>,
}

impl Plan {
    /// Decides everything. Makes nothing; only opens what the request names.
    ///
    /// # Errors
    /// The request is wrong or impossible.
    pub fn new(request: &Request<'_>) -> Result<Self> {
        refuse::specification(request.spec)?;
        let linux =
            request.spec.linux().as_ref().ok_or_else(|| Error::invalid("the specification has no `linux` part"))?;
        let process = process_of(request.spec)?;
        refuse::process(process)?;
        let mut warnings = Vec::new();
        let namespaces = Namespaces::read(linux, process.user())?;
        namespaces::check_mounts(request.spec, linux, &namespaces)?;
        labels::check_mounts(linux, Modules::of_machine)?;
        let filter = filter::read(request.filter, linux, request.seccomp_cache, &mut warnings)?;
        let identity = Identity::read(process, namespaces.mapping.as_ref(), filter.is_some(), &mut warnings)?;
        let (limits, raised) = limits::read(process, &mut warnings)?;
        let oom_score_adjust = limits::oom_score(process, &mut warnings)?;
        let scheduling = Scheduling::read(process)?;
        let origin = origin::read(linux)?;
        let labels = labels::of_process(process, Modules::of_machine)?;
        let shares = resctrl::read(linux, request.id)?;
        let interfaces = interfaces::read(linux, namespaces.is_private(namespaces::NETWORK))?;
        let terminal = process.terminal().unwrap_or(false);
        let sharing = root::Propagation::read(linux)?;
        let around = mounts::Around { linux, namespaces: &namespaces, bundle: request.bundle, terminal };
        let mounts = mounts::read(request.spec.mounts().as_deref().unwrap_or_default(), around, &mut warnings)?;
        if terminal && mounts.devpts.is_none() && !mounts.other_devpts {
            return Err(Error::invalid("a terminal needs a devpts on `/dev/pts`; add it to the mounts"));
        }
        let mut hooks = Planned::read(request)?;
        let listener = filter.as_ref().and_then(|filter| filter.listener.clone());
        let state = hooks.state.take().or_else(|| listener.is_some().then(|| hooks::state(request)));
        let mut actions = Vec::with_capacity(64);
        let names = Names::read(request, &namespaces)?;
        let root_point = hooks.root_point.take().filter(|_| namespaces.is_new(namespaces::MOUNT));
        before_root(&mut actions, request, &namespaces, root_point, &names)?;
        let (proc, devpts) = (mounts.proc, mounts.devpts);
        let root = Delivery::Root { propagation: sharing.for_copy() };
        let own = namespaces.is_new(namespaces::MOUNT);
        around_root(&mut actions, mounts, root, &mut hooks, request.pivot, own);
        inside_root(&mut actions, linux, &namespaces, proc)?;
        streams(&mut actions, terminal, devpts, identity.uid);
        let read_only = request.spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false));
        directory(&mut actions, process, read_only, sharing.at_last())?;
        actions.extend(origin);
        actions.extend(labels);
        if !scheduling.is_empty() {
            actions.push(Action::ReportSettled);
        }
        become_user(&mut actions, process, limits)?;
        wait(&mut actions, request, terminal)?;
        if !hooks.at_start.is_empty() {
            actions.append(&mut hooks.at_start);
        }
        execute(&mut actions, filter, request.preserved, request.init);
        let visited = namespaces.is_private(namespaces::UTS) && !namespaces.is_new(namespaces::UTS);
        Ok(Self {
            cgroup: request.cgroup.clone(),
            cgroup_owner: cgroup::owner::of_specification(
                request.spec,
                namespaces.is_new(namespaces::CGROUP),
                identity.host_uid,
            ),
            resources: linux.resources().clone().unwrap_or_default(),
            namespaces,
            actions,
            identity,
            program: Program::read(process)?,
            terminal,
            raised,
            oom_score_adjust,
            scheduling,
            interfaces,
            shares,
            visited_names: visited.then_some(names),
            preserved: request.preserved,
            hooks: hooks.host,
            state,
            listener,
            warnings,
        })
    }

    /// What was asked for and cannot be granted on this machine, one line each: for the caller to show.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn hook_state(&self) -> Result<crate::hooks::State> {
        self.state.clone().ok_or_else(|| Error::internal("the plan has no state for hooks"))
    }
}

/// What one more process in a container does.
pub(crate) struct ExecPlan {
    pub(crate) namespaces: u32,
    pub(crate) actions: Vec<Action>,
    pub(crate) identity: Identity,
    pub(crate) program: Program,
    pub(crate) terminal: bool,
    pub(crate) raised: Vec<Raised>,
    pub(crate) oom_score_adjust: Option<i32>,
    pub(crate) scheduling: Scheduling,
    /// Whose resctrl groups it shares.
    pub(crate) shares_of: Option<i32>,
    /// The processors of those on the way to the container's group.
    pub(crate) processors: Option<Vec<u64>>,
    /// Whom the filter asks.
    pub(crate) listener: Option<Listener>,
}

impl ExecPlan {
    pub(crate) fn new(exec: &Exec<'_>) -> Result<Self> {
        let process = exec.process;
        refuse::process(process)?;
        // What cannot be granted was said when the container was made.
        let mut warnings = Vec::new();
        let kinds = namespaces::kinds(exec.linux);
        let maps = exec_maps(exec, kinds)?;
        let filter = filter::read(exec.filter, exec.linux, exec.seccomp_cache, &mut warnings)?;
        let listener = filter.as_ref().and_then(|filter| filter.listener.clone());
        let identity = Identity::read(process, maps.as_ref(), filter.is_some(), &mut warnings)?;
        let (limits, raised) = limits::read(process, &mut warnings)?;
        let oom_score_adjust = limits::oom_score(process, &mut warnings)?;
        let scheduling = Scheduling::read(process)?;
        let Processors { initial: processors, last } = Processors::read(process)?;
        let shares_of = exec.linux.intel_rdt().as_ref().map(|_| exec.target.pid);
        let waits = !raised.is_empty() || oom_score_adjust.is_some() || !scheduling.is_empty() || listener.is_some();
        let waits = waits || shares_of.is_some();
        let terminal = process.terminal().unwrap_or(false);
        let join = Action::JoinCgroups { path: exec.cgroup.as_str().to_owned() };
        let mut actions = vec![Action::LeaveKeyring, join];
        actions.extend(last.map(Action::SetProcessors));
        if let Some(IdMaps { uid, gid, .. }) = maps {
            actions.push(Action::BecomeOwner { uid, gid, alone: nested::may_set_groups() });
        }
        actions.push(match namespaces::has_own_root(exec.linux) {
            true => Action::AdoptRoot,
            false => Action::ShareRoot(root_of(exec.target)?),
        });
        streams(&mut actions, terminal, None, identity.uid);
        actions.push(Action::ChangeDirectory(paths::plain(process.cwd())?));
        actions.extend(origin::read(exec.linux)?);
        actions.extend(labels::of_process(process, Modules::of_machine)?);
        if waits {
            actions.push(Action::ReportSettled);
            actions.push(Action::AwaitStart);
        }
        become_user(&mut actions, process, limits)?;
        if terminal {
            actions.push(Action::ReportReady);
        }
        execute(&mut actions, filter, exec.preserved, false);
        let program = Program::read(process)?;
        let namespaces = kinds;
        Ok(Self {
            namespaces,
            actions,
            identity,
            program,
            terminal,
            raised,
            oom_score_adjust,
            scheduling,
            shares_of,
            processors,
            listener,
        })
    }
}

/// The maps of the container's user namespace, as the specification gives them or as they are.
fn exec_maps(exec: &Exec<'_>, kinds: u32) -> Result<Option<IdMaps>> {
    if kinds & USER == 0 {
        return Ok(None);
    }
    let given = exec.linux.uid_mappings().as_ref().is_some_and(|ranges| !ranges.is_empty());
    if given {
        return IdMaps::read(exec.linux, exec.process.user()).map(Some);
    }
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", exec.target.pid));
    let maps = read("uid_map").and_then(|users| Ok((users, read("gid_map")?)));
    let (users, groups) = maps.context("cannot read the id maps of the container")?;
    IdMaps::parse(&users, &groups, exec.process.user()).map(Some)
}

/// The root directory of a process. Whether it still is that process is looked at later, when its handle is opened.
fn root_of(target: &crate::ProcessIdentity) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{}/root", target.pid), flags, Mode::empty())
        .context("cannot open the root of the container")
}

/// What a uts namespace is to be called.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) host: Option<String>,
    pub(crate) domain: Option<String>,
}

impl Names {
    /// A joined namespace keeps the name that its owner gave it, unless the specification has another.
    fn read(request: &Request<'_>, namespaces: &Namespaces) -> Result<Self> {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let (mut host, domain) = (named(request.spec.hostname()), named(request.spec.domainname()));
        if (host.is_some() || domain.is_some()) && !namespaces.is_private(namespaces::UTS) {
            return Err(Error::invalid("a host name needs a uts namespace of the container's own"));
        }
        if let Some(name) = host.iter().chain(&domain).find(|name| name.len() > LONGEST_NAME) {
            return Err(Error::invalid(format!("the name `{name}` is longer than {LONGEST_NAME} bytes")));
        }
        // A bundle says all that it wants; the engine's containers are called by their ids.
        if namespaces.is_new(namespaces::UTS) && request.bundle.is_none() {
            host.get_or_insert_with(|| request.id.short().to_owned());
        }
        Ok(Self { host, domain })
    }
}

/// The kernel's limit on host and domain names.
const LONGEST_NAME: usize = 64;

/// Whether the container's group has processors of its own.
fn has_processors(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let processors = resources.and_then(|resources| resources.cpu().as_ref()).and_then(|cpu| cpu.cpus().as_ref());
    processors.is_some_and(|processors| !processors.is_empty())
}

fn process_of(spec: &Spec) -> Result<&Process> {
    spec.process().as_ref().ok_or_else(|| Error::invalid("the specification has no `process` part"))
}

fn before_root(
    actions: &mut Vec<Action>,
    request: &Request<'_>,
    namespaces: &Namespaces,
    root_point: Option<CString>,
    names: &Names,
) -> Result<()> {
    if request.new_keyring {
        actions.push(Action::LeaveKeyring);
    }
    actions.push(Action::JoinCgroups { path: request.cgroup.as_str().to_owned() });
    if has_processors(request.spec) {
        // Kernels from 6.2 on remember what the caller was bound to, and would cut the group's processors down to it.
        actions.push(Action::SetProcessors(EVERY_PROCESSOR.to_vec()));
    }
    if namespaces.in_child != 0 {
        actions.push(Action::NewNamespaces(namespaces.in_child));
    }
    if let Some(offsets) = &namespaces.offsets {
        actions.push(Action::EnterTime { proc: open_proc()?, offsets: offsets.clone() });
    }
    if namespaces.is_new(namespaces::MOUNT) {
        actions.push(Action::IsolateMounts);
    }
    // Still with the host's ids: the container's root may not search the directories above.
    actions.extend(root_point.map(Action::OpenRootPoint));
    if namespaces.is_new(namespaces::NETWORK) {
        actions.push(Action::RaiseLoopback);
    }
    if namespaces.is_new(namespaces::UTS) {
        actions.extend(names.host.clone().map(Action::SetHostName));
        actions.extend(names.domain.clone().map(Action::SetDomainName));
    }
    if let Some(IdMaps { uid, gid, .. }) = namespaces.mapping {
        if namespaces.is_new(USER) {
            actions.push(Action::AwaitMapping);
        }
        actions.push(Action::BecomeOwner { uid, gid, alone: nested::may_set_groups() });
    }
    Ok(())
}

/// The host's proc file system: what a process writes to its own files there goes where it is meant to, whatever the
/// container has at `/proc` (CVE-2019-16884).
fn open_proc() -> Result<OwnedFd> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    const PROC_ROOT: u64 = 1;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).context("cannot open `/proc`")?;
    let found = rustix::fs::fstatfs(&proc).context("cannot look at `/proc`")?;
    let root = rustix::fs::fstat(&proc).context("cannot look at `/proc`")?.st_ino;
    match (found.f_type as u64, root) {
        (PROC_SUPER_MAGIC, PROC_ROOT) => Ok(proc),
        _ => Err(Error::unsupported("`/proc` of this machine is no proc file system; mount it")),
    }
}

fn around_root(
    actions: &mut Vec<Action>,
    mounts: mounts::Mounts,
    root: Delivery,
    hooks: &mut Planned,
    pivot: bool,
    own: bool,
) {
    let attached = actions.iter().any(|action| matches!(action, Action::OpenRootPoint(_)));
    actions.extend(mounts.make);
    actions.push(Action::Receive { slot: mounts::ROOT, delivery: root });
    match (own, attached) {
        (true, true) => actions.push(Action::AttachRoot { slot: mounts::ROOT }),
        (true, false) => actions.push(Action::EnterRoot { slot: mounts::ROOT, pivot }),
        (false, _) => {}
    }
    actions.extend(mounts.attach);
    if !hooks.host.is_empty() {
        actions.push(Action::AwaitHooks);
    }
    if !hooks.before_root.is_empty() {
        actions.push(Action::ReceiveState { status: "creating" });
        actions.append(&mut hooks.before_root);
    }
    if attached {
        actions.push(Action::EnterAttachedRoot { pivot });
    }
    if !own {
        actions.push(Action::ChangeRoot { slot: mounts::ROOT });
    }
    if !hooks.at_start.is_empty() {
        actions.push(Action::ReceiveState { status: "created" });
    }
}

fn inside_root(actions: &mut Vec<Action>, linux: &Linux, namespaces: &Namespaces, proc: Option<u8>) -> Result<()> {
    let mut wanted: Vec<_> = linux.sysctl().iter().flatten().collect();
    wanted.sort();
    for (name, value) in wanted {
        actions.push(settings::set(name, value, namespaces, proc)?);
    }
    for path in linux.readonly_paths().iter().flatten() {
        actions.push(Action::ProtectPath(paths::plain(Path::new(path))?));
    }
    let masked = linux.masked_paths().as_deref().unwrap_or_default();
    if !masked.is_empty() {
        // Made as early as the other file systems, not here: the parent is still busy then.
        let early = actions.iter().position(|action| matches!(action, Action::Receive { .. })).unwrap_or(actions.len());
        actions.insert(early, Action::MakeMask { slot: mounts::MASK });
    }
    for path in masked {
        actions.push(Action::MaskPath { slot: mounts::MASK, path: paths::plain(Path::new(path))? });
    }
    if !masked.is_empty() {
        actions.push(Action::PutMaskAway { slot: mounts::MASK });
    }
    Ok(())
}

/// Only a container's first process has a console; `devpts` is known for it alone.
fn streams(actions: &mut Vec<Action>, terminal: bool, devpts: Option<u8>, owner: u32) {
    actions.push(Action::NewSession);
    actions.push(Action::OpenStreams { devpts, console: terminal && devpts.is_some(), owner });
}

/// The working directory is made while the root can still be written.
fn directory(actions: &mut Vec<Action>, process: &Process, read_only: bool, propagation: Option<Action>) -> Result<()> {
    let path = paths::plain(process.cwd())?;
    if path.as_bytes() != b"/" {
        actions.push(Action::MakeDirectory(path.clone()));
    }
    if read_only {
        actions.push(Action::SetRootAttributes(Attributes { set: sys::mount::READ_ONLY, ..Attributes::default() }));
    }
    actions.extend(propagation);
    actions.push(Action::ChangeDirectory(path));
    Ok(())
}

fn become_user(actions: &mut Vec<Action>, process: &Process, limits: Vec<Action>) -> Result<()> {
    let mask = process.user().umask().unwrap_or(0o022);
    if mask > 0o777 {
        return Err(Error::invalid(format!("the umask {mask:#o} is not within 0 and 0o777")));
    }
    actions.push(Action::SetFileModeMask(mask));
    // Late: a low limit on open files or on memory must not hinder what comes before.
    actions.extend(limits);
    actions.push(Action::SetCredentials);
    if process.no_new_privileges().unwrap_or(false) {
        actions.push(Action::ForbidNewPrivileges);
    }
    Ok(())
}

/// Whoever leaves before the start wants to know first that there is something to start.
fn wait(actions: &mut Vec<Action>, request: &Request<'_>, terminal: bool) -> Result<()> {
    if request.start.is_some() {
        actions.push(Action::FindProgram);
    }
    if terminal || request.start.is_some() {
        actions.push(Action::ReportReady);
    }
    actions.push(match request.start {
        Some(listener) => Action::AcceptStart(listener.try_clone_to_owned().context("cannot keep the start socket")?),
        None => Action::AwaitStart,
    });
    Ok(())
}

fn execute(actions: &mut Vec<Action>, filter: Option<Filter>, preserved: u32, supervise: bool) {
    actions.push(Action::CloseDescriptors { first: 3 + preserved });
    // Last: a filter may forbid whatever else is to be done.
    actions.extend(filter.map(Filter::load));
    if supervise {
        actions.push(Action::Supervise);
    }
    actions.push(Action::Execute);
}
