//! The steps of a plan as it owns them, and as the child borrows them.
//!
//! One [`Action`] is one [`init::Step`], so that the number in the child's report finds the action to name. Only what is
//! known at launching alone (descriptors of cgroups and streams) comes from [`Outside`].

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use init::Step;
use init::step::{Missing, Target};
use rustix::process::{Resource, Rlimit};
use sys::mount::Attributes;
use sys::process::{StringList, StringPointer};

use super::binds::Bind;
use super::devices::{Devices, Node};
use super::mount_maps::MountMap;
use super::process::{Identity, Program};
use crate::seccomp::Instruction;

/// One thing that the child does.
#[derive(Debug)]
pub(crate) enum Action {
    JoinCgroups { path: String },
    NewNamespaces(u32),
    LeaveKeyring,
    IsolateMounts,
    OpenRootPoint(CString),
    RaiseLoopback,
    SetHostName(String),
    SetDomainName(String),
    AwaitMapping,
    BecomeOwner { uid: u32, gid: u32, alone: bool },
    ChangeRoot { slot: u8 },
    ShareRoot(OwnedFd),
    EnterTime { proc: OwnedFd, offsets: String },
    MakeFileSystem { slot: u8, file_system: FileSystem },
    MakeMask { slot: u8 },
    Receive { slot: u8, delivery: Delivery },
    EnterRoot { slot: u8, pivot: bool },
    AttachRoot { slot: u8 },
    EnterAttachedRoot { pivot: bool },
    ReceiveState { status: &'static str },
    AwaitHooks,
    RunHook(Hook),
    AdoptRoot,
    Attach { slot: u8, what: String, target: Place },
    AttachEntry { slot: u8, name: CString, what: String, target: Place },
    TakeOver { slot: u8, what: TakeOver },
    Remount(Box<Remount>),
    MakeDevice { place: Entry, node: Node },
    MakeLink { place: Entry, points_to: CString, replace: bool },
    AttachCgroups { slot: u8, attributes: Attributes },
    SetKernelSetting { slot: u8, name: String, path: CString, value: String },
    MaskPath { slot: u8, path: CString },
    PutMaskAway { slot: u8 },
    ProtectPath(CString),
    MakeDirectory(CString),
    SetRootAttributes(Attributes),
    SetRootPropagation { kind: u64, recursive: bool },
    NewSession,
    OpenStreams { devpts: Option<u8>, console: bool, owner: u32 },
    ChangeDirectory(CString),
    SetLimit { name: String, resource: Resource, limit: Rlimit },
    SetFileModeMask(u32),
    SetPersonality { name: &'static str, personality: u32 },
    SetMemoryPolicy { name: String, mode: u32, nodes: Vec<u64> },
    SetProcessors(Vec<u64>),
    SetLabel { proc: OwnedFd, file: CString, value: CString },
    SetCredentials,
    ForbidNewPrivileges,
    ReportSettled,
    ReportReady,
    FindProgram,
    AwaitStart,
    AcceptStart(OwnedFd),
    CloseDescriptors { first: u32 },
    LoadFilter { program: Vec<Instruction>, flags: u32, supervised: bool, mutes: bool },
    Supervise,
    Execute,
}

/// A program that the child runs beside the container's.
#[derive(Debug)]
pub(crate) struct Hook {
    /// `createContainer` or `startContainer`.
    pub(crate) moment: &'static str,
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) timeout: Option<u32>,
}

/// A mount that the parent makes, because only the host's root can.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The root file system, with what is mounted below: `MS_PRIVATE`, or `MS_SLAVE` to see the host's later mounts.
    Root { propagation: u64 },
    /// `/dev` with its nodes.
    Devices(Devices),
    /// A part of the host's tree.
    Bind(Bind),
    /// A file system of a namespace that the container's user namespace does not own.
    Foreign(FileSystem),
    /// A file system that the container's root may not make, or that has mapped ids.
    FileSystem(OwnFileSystem),
    /// The container's group in the v2 tree.
    Cgroup(Attributes),
}

/// A file system to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// Its type.
    pub(crate) kind: CString,
    /// Pairs of strings, each with a zero behind.
    pub(crate) options: Vec<u8>,
    /// `MOUNT_ATTR_*`.
    pub(crate) attributes: u32,
    /// `MS_SHARED`, `MS_UNBINDABLE` or 0.
    pub(crate) propagation: u64,
    /// A place of the host's tree to copy if the kernel refuses to make it.
    pub(crate) instead: Option<CString>,
}

/// A file system that the parent makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnFileSystem {
    pub(crate) file_system: FileSystem,
    pub(crate) idmap: Option<MountMap>,
}

/// What a tmpfs takes from the place that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakeOver {
    pub(crate) path: CString,
    pub(crate) strict: bool,
    pub(crate) mode: bool,
    pub(crate) contents: bool,
    pub(crate) attributes: u64,
}

/// A change of what is mounted there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remount {
    pub(crate) path: CString,
    pub(crate) strict: bool,
    pub(crate) options: Vec<u8>,
    pub(crate) attributes: Attributes,
    pub(crate) recursive: Attributes,
}

/// An entry of a directory inside the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: CString,
    pub(crate) directory: CString,
    pub(crate) name: CString,
    pub(crate) strict: bool,
}

/// A place inside the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: CString,
    pub(crate) missing: Missing,
    pub(crate) strict: bool,
}

/// What only the launcher has.
pub(crate) struct Outside<'a> {
    /// The files to write "0" to.
    pub(crate) joiners: &'a [BorrowedFd<'a>],
    /// Names for the v1 hierarchies, in the order of their delivery.
    pub(crate) cgroup_names: &'a [u8],
    /// Links beside them.
    pub(crate) cgroup_links: &'a [u8],
    pub(crate) streams: Streams<'a>,
    /// Whom the system call filter asks.
    pub(crate) supervisor: Option<init::step::Supervisor<'a>>,
}

/// Standard streams at launching.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Streams<'a> {
    Terminal { rows: u16, columns: u16 },
    Files([BorrowedFd<'a>; 3]),
}

/// Arrays of pointers that the borrowed program and hooks need.
pub(crate) struct Pointers<'a> {
    program: [Vec<StringPointer<'a>>; 2],
    /// For each hook among the actions, in their order.
    hooks: Vec<[Vec<StringPointer<'a>>; 2]>,
}

impl<'a> Pointers<'a> {
    pub(crate) fn new(program: &'a Program, actions: &'a [Action]) -> Self {
        let hooks = actions.iter().filter_map(|action| match action {
            Action::RunHook(hook) => Some([pointers(&hook.arguments), pointers(&hook.environment)]),
            _ => None,
        });
        let program = [pointers(&program.arguments), pointers(&program.environment)];
        Self { program, hooks: hooks.collect() }
    }
}

fn pointers(strings: &[CString]) -> Vec<StringPointer<'_>> {
    strings.iter().map(|text| StringPointer::new(text)).chain([StringPointer::END]).collect()
}

/// The steps as the child walks them; none only if a list of strings had no end, which [`Pointers::new`] gives it.
pub(crate) fn borrow<'a>(
    actions: &'a [Action],
    identity: &'a Identity,
    program: &'a Program,
    pointers: &'a Pointers<'a>,
    outside: &'a Outside<'a>,
) -> Option<Vec<Step<'a>>> {
    let [arguments, environment] = &pointers.program;
    let program = init::step::Program {
        candidates: &program.candidates,
        arguments: StringList::new(arguments)?,
        environment: StringList::new(environment)?,
    };
    let mut hooks = pointers.hooks.iter();
    let borrow = |action: &'a Action| match action {
        Action::RunHook(hook) => {
            let [arguments, environment] = hooks.next()?;
            Some(Step::RunHook(init::step::Hook {
                path: &hook.path,
                arguments: StringList::new(arguments)?,
                environment: StringList::new(environment)?,
                timeout: hook.timeout,
            }))
        }
        action => Some(borrow_one(action, identity, program, outside)),
    };
    actions.iter().map(borrow).collect()
}

fn borrow_one<'a>(
    action: &'a Action,
    identity: &'a Identity,
    program: init::step::Program<'a>,
    outside: &'a Outside<'a>,
) -> Step<'a> {
    match action {
        Action::JoinCgroups { .. } => Step::JoinCgroups(outside.joiners),
        Action::NewNamespaces(kinds) => Step::NewNamespaces(*kinds),
        Action::LeaveKeyring => Step::LeaveKeyring,
        Action::IsolateMounts => Step::IsolateMounts,
        Action::OpenRootPoint(path) => Step::OpenRootPoint(path),
        Action::RaiseLoopback => Step::RaiseLoopback,
        Action::SetHostName(name) => Step::SetHostName(name.as_bytes()),
        Action::SetDomainName(name) => Step::SetDomainName(name.as_bytes()),
        Action::AwaitMapping => Step::AwaitMapping,
        Action::BecomeOwner { uid, gid, alone } => Step::BecomeOwner { uid: *uid, gid: *gid, alone: *alone },
        Action::ChangeRoot { slot } => Step::ChangeRoot { slot: *slot },
        Action::ShareRoot(directory) => Step::ShareRoot(directory.as_fd()),
        Action::EnterTime { proc, offsets } => Step::EnterTime { proc: proc.as_fd(), offsets: offsets.as_bytes() },
        Action::MakeFileSystem { slot, file_system } => {
            Step::MakeFileSystem { slot: *slot, file_system: file_system.borrow() }
        }
        Action::MakeMask { slot } => Step::MakeMask { slot: *slot },
        Action::Receive { slot, .. } => Step::ReceiveMount { slot: *slot },
        Action::EnterRoot { slot, pivot } => Step::EnterRoot { slot: *slot, pivot: *pivot },
        Action::AttachRoot { slot } => Step::AttachRoot { slot: *slot },
        Action::EnterAttachedRoot { pivot } => Step::EnterAttachedRoot { pivot: *pivot },
        Action::ReceiveState { .. } => Step::ReceiveState,
        // A hook has lists of its own and is borrowed by the caller.
        Action::AwaitHooks | Action::RunHook(_) => Step::AwaitHooks,
        Action::AdoptRoot => Step::AdoptRoot,
        Action::Attach { slot, target, .. } => Step::Attach { slot: *slot, target: target.borrow() },
        Action::AttachEntry { slot, name, target, .. } => {
            Step::AttachEntry { slot: *slot, name, target: target.borrow() }
        }
        Action::TakeOver { slot, what } => Step::TakeOver { slot: *slot, what: what.borrow() },
        Action::Remount(change) => Step::Remount(change.borrow()),
        Action::MakeDevice { place, node } => Step::MakeDevice(init::step::Device {
            entry: place.borrow(),
            kind: node.kind,
            number: node.number,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
        }),
        Action::MakeLink { place, points_to, replace } => {
            Step::MakeLink { entry: place.borrow(), points_to, replace: *replace }
        }
        Action::AttachCgroups { slot, attributes } => Step::AttachCgroups {
            slot: *slot,
            names: outside.cgroup_names,
            links: outside.cgroup_links,
            attributes: *attributes,
        },
        Action::SetKernelSetting { slot, path, value, .. } => {
            Step::SetKernelSetting { slot: *slot, path, value: value.as_bytes() }
        }
        Action::MaskPath { slot, path } => Step::MaskPath { slot: *slot, path },
        Action::PutMaskAway { slot } => Step::PutMaskAway { slot: *slot },
        Action::ProtectPath(path) => Step::ProtectPath(path),
        Action::MakeDirectory(path) => Step::MakeDirectory(path),
        Action::SetRootAttributes(attributes) => Step::SetRootAttributes(*attributes),
        Action::SetRootPropagation { kind, recursive } => {
            Step::SetRootPropagation { kind: *kind, recursive: *recursive }
        }
        Action::NewSession => Step::NewSession,
        Action::OpenStreams { devpts, console, owner } => match outside.streams {
            Streams::Files(files) => Step::SetStreams(files),
            Streams::Terminal { rows, columns } => {
                let (slot, console, owner) = (*devpts, *console, *owner);
                Step::OpenTerminal(init::step::Terminal { slot, console, owner, rows, columns })
            }
        },
        Action::ChangeDirectory(path) => Step::ChangeDirectory(path),
        Action::SetLimit { resource, limit, .. } => Step::SetLimit { resource: *resource, limit: *limit },
        Action::SetFileModeMask(mask) => Step::SetFileModeMask(*mask),
        Action::SetPersonality { personality, .. } => Step::SetPersonality(*personality),
        Action::SetMemoryPolicy { mode, nodes, .. } => Step::SetMemoryPolicy { mode: *mode, nodes },
        Action::SetProcessors(processors) => Step::SetProcessors(processors),
        Action::SetLabel { proc, file, value } => Step::SetLabel { proc: proc.as_fd(), file, value },
        Action::SetCredentials => Step::SetCredentials(identity.borrow()),
        Action::ForbidNewPrivileges => Step::ForbidNewPrivileges,
        Action::ReportSettled => Step::ReportSettled,
        Action::ReportReady => Step::ReportReady,
        Action::FindProgram => Step::FindProgram(program),
        Action::AwaitStart => Step::AwaitStart,
        Action::AcceptStart(listener) => Step::AcceptStart(listener.as_fd()),
        Action::CloseDescriptors { first } => Step::CloseDescriptors(*first),
        Action::LoadFilter { program, flags, supervised, mutes } => Step::LoadFilter {
            program,
            flags: *flags,
            supervisor: outside.supervisor.filter(|_| *supervised),
            mutes: *mutes,
        },
        Action::Supervise => Step::Supervise(identity.borrow()),
        Action::Execute => Step::Execute(program),
    }
}

impl Action {
    /// What it needs open until it is done.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::ShareRoot(file)
            | Self::EnterTime { proc: file, .. }
            | Self::SetLabel { proc: file, .. }
            | Self::AcceptStart(file) => Some(file.as_fd()),
            _ => None,
        }
    }
}

impl FileSystem {
    fn borrow(&self) -> init::step::FileSystem<'_> {
        init::step::FileSystem {
            kind: &self.kind,
            options: &self.options,
            attributes: self.attributes,
            propagation: self.propagation,
            instead: self.instead.as_deref(),
        }
    }

    /// Its options, as the kernel takes them: a value that is empty is a flag.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&CStr, &CStr)> {
        init::step::pairs(&self.options)
    }
}

impl TakeOver {
    fn borrow(&self) -> init::step::TakeOver<'_> {
        init::step::TakeOver {
            path: &self.path,
            strict: self.strict,
            mode: self.mode,
            contents: self.contents,
            attributes: self.attributes,
        }
    }
}

impl Remount {
    fn borrow(&self) -> init::step::Remount<'_> {
        init::step::Remount {
            path: &self.path,
            strict: self.strict,
            options: &self.options,
            attributes: self.attributes,
            recursive: self.recursive,
        }
    }
}

impl Entry {
    /// The entry that a path names; none for the root.
    pub(crate) fn new(path: CString) -> Option<Self> {
        let (directory, name) = super::paths::split(&path)?;
        let strict = super::paths::is_strict(&path);
        Some(Self { path, directory, name, strict })
    }

    fn borrow(&self) -> init::step::Entry<'_> {
        init::step::Entry { directory: &self.directory, name: &self.name, strict: self.strict }
    }
}

impl Place {
    fn borrow(&self) -> Target<'_> {
        Target { path: &self.path, missing: self.missing, strict: self.strict }
    }
}
