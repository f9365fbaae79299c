//! The steps of a plan, as the child walks them: borrowed, flat, each one or two system calls.
//!
//! Lists of strings are one run of bytes in which every string ends with a zero, so that none needs an array of pointers
//! of its own. Mounts in the making live in numbered slots (see [`SLOTS`]).

use core::ffi::CStr;

use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::process::{Resource, Rlimit};
use rustix::thread::Gid;
use sys::mount::Attributes;
use sys::process::StringList;
use sys::seccomp::Instruction;

/// How many detached mounts the child can hold at once.
pub const SLOTS: usize = 48;

/// One thing that the child does.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Writes "0" to each of these open files: v1's `tasks`, or v2's `cgroup.procs`.
    JoinCgroups(&'a [BorrowedFd<'a>]),
    /// Leaves the namespaces of these `CLONE_NEW*` kinds for new ones.
    NewNamespaces(u32),
    /// Leaves the caller's session keyring for a new one.
    LeaveKeyring,
    /// Cuts this mount namespace off from the one it was copied from.
    IsolateMounts,
    /// Opens the directory of the host's tree at which [`Step::AttachRoot`] attaches the root.
    OpenRootPoint(&'a CStr),
    /// Sets the interface `lo` up.
    RaiseLoopback,
    /// Sets the host name.
    SetHostName(&'a [u8]),
    /// Sets the NIS domain name.
    SetDomainName(&'a [u8]),
    /// Waits until the parent has written the id maps.
    AwaitMapping,
    /// Takes user and group 0 of the user namespace.
    BecomeOwner {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// Give up all other groups.
        alone: bool,
    },
    /// Makes a detached file system.
    MakeFileSystem {
        /// Where to keep it.
        slot: u8,
        /// What it is.
        file_system: FileSystem<'a>,
    },
    /// Makes the inodes that cover masked paths.
    MakeMask {
        /// Where to keep them.
        slot: u8,
    },
    /// Takes the next detached mount from the parent.
    ReceiveMount {
        /// Where to keep it.
        slot: u8,
    },
    /// Makes the mount of the slot this process's root, and leaves the host's tree.
    EnterRoot {
        /// Which mount.
        slot: u8,
        /// By pivot_root; else the host's tree stays below, out of reach of paths.
        pivot: bool,
    },
    /// Attaches the mount of the slot at the root point, where hooks find it; what follows goes into it by descriptor.
    AttachRoot {
        /// Which mount.
        slot: u8,
    },
    /// Makes the attached root this process's root, and leaves the host's tree.
    EnterAttachedRoot {
        /// As in [`Step::EnterRoot`].
        pivot: bool,
    },
    /// Takes the state of the container, which hooks read.
    ReceiveState,
    /// Lets the parent run its hooks, and waits for that.
    AwaitHooks,
    /// Runs a program in a process of its own and waits for it.
    RunHook(Hook<'a>),
    /// Makes the mount of the slot this process's root, attached nowhere: where others live in the same tree.
    ChangeRoot {
        /// Which mount.
        slot: u8,
    },
    /// Makes a directory that others have for their root this process's root, too.
    ShareRoot(BorrowedFd<'a>),
    /// Sets the clocks of the time namespace that was just made, and joins it.
    EnterTime {
        /// The host's `/proc`.
        proc: BorrowedFd<'a>,
        /// Lines for `timens_offsets`.
        offsets: &'a [u8],
    },
    /// Takes what is `/` here for the container's root: in a process that joined it.
    AdoptRoot,
    /// Attaches a mount inside the root; makes the mount point if it is missing. The slot keeps its descriptor.
    Attach {
        /// Which mount.
        slot: u8,
        /// Where.
        target: Target<'a>,
    },
    /// Attaches one entry of the mount of the slot inside the root.
    AttachEntry {
        /// Which mount.
        slot: u8,
        /// Which entry of it.
        name: &'a CStr,
        /// Where.
        target: Target<'a>,
    },
    /// Gives the file system of the slot the mode of the place that it will cover, or all that is there.
    TakeOver {
        /// Which file system.
        slot: u8,
        /// From where, and how much.
        what: TakeOver<'a>,
    },
    /// Changes the mount that is at a path.
    Remount(Remount<'a>),
    /// Makes a device node, or finds it there.
    MakeDevice(Device<'a>),
    /// Makes a symbolic link.
    MakeLink {
        /// Where.
        entry: Entry<'a>,
        /// What it points to.
        points_to: &'a CStr,
        /// Whether what is there gives way.
        replace: bool,
    },
    /// Takes one mount for each name from the parent and attaches it at that name below the mount of the slot.
    AttachCgroups {
        /// The file system that gets a directory for each.
        slot: u8,
        /// The names.
        names: &'a [u8],
        /// Pairs `name`, `what it points to`: links beside them.
        links: &'a [u8],
        /// Attributes that the file system gets at last.
        attributes: Attributes,
    },
    /// Writes a kernel setting through the proc file system of the slot.
    SetKernelSetting {
        /// The proc file system.
        slot: u8,
        /// Below its root, `sys/net/...`.
        path: &'a CStr,
        /// What to write.
        value: &'a [u8],
    },
    /// Covers a path; one that does not exist is left out.
    MaskPath {
        /// The slot of the mask.
        slot: u8,
        /// Inside the root.
        path: &'a CStr,
    },
    /// Ends the covering: nothing of the mask stays but the covers.
    PutMaskAway {
        /// The slot of the mask.
        slot: u8,
    },
    /// Makes a path read-only; one that does not exist is left out.
    ProtectPath(&'a CStr),
    /// Makes a directory and those above it, as far as they are missing.
    MakeDirectory(&'a CStr),
    /// Changes the attributes of the root mount.
    SetRootAttributes(Attributes),
    /// Sets who else sees what is mounted below the root: `MS_*`, and whether for the mounts below too.
    SetRootPropagation {
        /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`.
        kind: u64,
        /// Whether for the mounts below too.
        recursive: bool,
    },
    /// Becomes the leader of a session.
    NewSession,
    /// Opens a terminal in the devpts of the slot, or in the root's own, and makes it the session's and the
    /// descriptors 0 to 2.
    OpenTerminal(Terminal),
    /// Makes these the descriptors 0 to 2.
    SetStreams([BorrowedFd<'a>; 3]),
    /// Goes to the working directory.
    ChangeDirectory(&'a CStr),
    /// Sets a resource limit.
    SetLimit {
        /// Which.
        resource: Resource,
        /// Soft and hard.
        limit: Rlimit,
    },
    /// Sets the file mode mask.
    SetFileModeMask(u32),
    /// Sets the personality (`PER_*`).
    SetPersonality(u32),
    /// Sets where memory comes from.
    SetMemoryPolicy {
        /// `MPOL_*` with its flags.
        mode: u32,
        /// One bit for each node.
        nodes: &'a [u64],
    },
    /// Sets the processors to run on, one bit each.
    SetProcessors(&'a [u64]),
    /// Gives a label to the next exec, through one of this process's own files in the proc file system.
    SetLabel {
        /// The host's `/proc`.
        proc: BorrowedFd<'a>,
        /// `self/attr/...`.
        file: &'a CStr,
        /// The label, as the security module wants it.
        value: &'a CStr,
    },
    /// Becomes the final user.
    SetCredentials(Credentials<'a>),
    /// Programs cannot gain privileges from now on.
    ForbidNewPrivileges,
    /// Tells the parent that this process is in its group, and all but done.
    ReportSettled,
    /// Tells the parent that all is ready, with the master of the terminal.
    ReportReady,
    /// Looks whether one of the program's candidates can be executed.
    FindProgram(Program<'a>),
    /// Waits until the parent lets go.
    AwaitStart,
    /// Waits until the parent leaves, and then for the start over this listening socket.
    AcceptStart(BorrowedFd<'a>),
    /// Marks all descriptors from this one on to be closed.
    CloseDescriptors(u32),
    /// Loads a system call filter.
    LoadFilter {
        /// The program.
        program: &'a [Instruction],
        /// `SECCOMP_FILTER_FLAG_*`.
        flags: u32,
        /// Who decides on calls that the filter leaves open.
        supervisor: Option<Supervisor<'a>>,
        /// Whether the filter keeps this process from saying what fails.
        mutes: bool,
    },
    /// Splits: this process stays as PID 1, which forwards and reaps; the child goes on.
    Supervise(Credentials<'a>),
    /// Executes the program.
    Execute(Program<'a>),
}

/// Whom a filter asks.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor<'a> {
    /// Connected to it.
    pub connection: BorrowedFd<'a>,
    /// A file with what it is told of the process; written before the start.
    pub state: BorrowedFd<'a>,
}

/// A file system to make with fsopen.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem<'a> {
    /// Its type.
    pub kind: &'a CStr,
    /// Pairs `name`, `value`; an empty value is a flag.
    pub options: &'a [u8],
    /// `MOUNT_ATTR_*` of the mount.
    pub attributes: u32,
    /// `MS_SHARED` or `MS_UNBINDABLE`; 0: private.
    pub propagation: u64,
    /// A copy of this place of the host's tree is taken if the kernel refuses to make one.
    pub instead: Option<&'a CStr>,
}

/// What a new file system takes from the place that it will cover.
#[derive(Clone, Copy, Debug)]
pub struct TakeOver<'a> {
    /// The place.
    pub path: &'a CStr,
    /// No symbolic link on the way.
    pub strict: bool,
    /// Its mode.
    pub mode: bool,
    /// All that is in it, and its owner.
    pub contents: bool,
    /// `MOUNT_ATTR_*` that the mount gets at last.
    pub attributes: u64,
}

/// A change of a mount that is there.
#[derive(Clone, Copy, Debug)]
pub struct Remount<'a> {
    /// Where it is.
    pub path: &'a CStr,
    /// No symbolic link on the way.
    pub strict: bool,
    /// Options of the file system: pairs as in [`FileSystem`]; none leave it as it is.
    pub options: &'a [u8],
    /// For the mount.
    pub attributes: Attributes,
    /// For it and those below.
    pub recursive: Attributes,
}

/// An entry of a directory inside the root.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The directory; it is made if it is missing.
    pub directory: &'a CStr,
    /// The name in it, which is never followed.
    pub name: &'a CStr,
    /// No symbolic link on the way.
    pub strict: bool,
}

/// A device node.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Where.
    pub entry: Entry<'a>,
    /// What.
    pub kind: FileType,
    /// Which.
    pub number: u64,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Where a mount goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Inside the root.
    pub path: &'a CStr,
    /// What is made if nothing is there.
    pub missing: Missing,
    /// No symbolic link on the way: for the places that the kernel's own file systems go to.
    pub strict: bool,
}

/// What a missing mount point becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A directory.
    Directory,
    /// An empty file.
    File,
    /// An empty file too; what is there already must be this node, or empty.
    Device {
        /// What.
        kind: FileType,
        /// Which.
        number: u64,
    },
}

/// A terminal to open.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// The devpts; none: the one that is attached at `/dev/pts`, if it is one.
    pub slot: Option<u8>,
    /// Also attach it at `/dev/console`.
    pub console: bool,
    /// Who owns it.
    pub owner: u32,
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Who a process is.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups; none: those that it has, where nobody may change them.
    pub groups: Option<&'a [Gid]>,
    /// Capabilities, as the kernel's bits: what exec can ever give.
    pub bounding: u64,
    /// What it has and may use.
    pub permitted: u64,
    /// What it uses.
    pub effective: u64,
    /// What a program with file capabilities inherits.
    pub inheritable: u64,
    /// What any program inherits.
    pub ambient: u64,
    /// What is kept beyond that until exec takes it: to load a filter without no_new_privs.
    pub until_exec: u64,
}

/// A program to run beside the container's.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// Its file.
    pub path: &'a CStr,
    /// Its arguments, from its name on.
    pub arguments: StringList<'a>,
    /// Its environment.
    pub environment: StringList<'a>,
    /// How long it may take, in seconds.
    pub timeout: Option<u32>,
}

/// A program to execute.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Paths to try in turn.
    pub candidates: &'a [u8],
    /// Its arguments, from its name on.
    pub arguments: StringList<'a>,
    /// Its environment.
    pub environment: StringList<'a>,
}

/// The strings of a run of bytes; what follows the last zero is left out.
pub(crate) fn strings(mut bytes: &[u8]) -> impl Iterator<Item = &CStr> {
    core::iter::from_fn(move || {
        let text = CStr::from_bytes_until_nul(bytes).ok()?;
        bytes = bytes.get(text.to_bytes_with_nul().len()..)?;
        Some(text)
    })
}

/// The strings of a run of bytes, two by two.
pub fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&CStr, &CStr)> {
    let mut strings = strings(bytes);
    core::iter::from_fn(move || Some((strings.next()?, strings.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bytes_are_strings() {
        assert!(strings(b"a\0bc\0").eq([c"a", c"bc"]));
        assert!(pairs(b"mode\x00755\0flag\0\0").eq([(c"mode", c"755"), (c"flag", c"")]));
        assert_eq!(strings(b"").count(), 0);
    }
}
