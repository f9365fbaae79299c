//! What the processes of a job may still do. Each wall stands by itself; a mistake in one meets the next.
//!
//! | wall | a stream (copies, decompresses) | a tree (unpacks) | the network (fetches) |
//! |---|---|---|---|
//! | user namespace | one where every id is itself | the same | the same |
//! | mount namespace | empty | empty; root is a mount of the layer's tree alone, where no device opens and nothing runs | the host's |
//! | network and IPC namespaces | empty | empty | the host's network |
//! | Landlock | no file, no TCP, no signal | making files beneath the tree, no TCP | reading the system's settings |
//! | capabilities | none | for owners, modes and file capabilities; none to make devices | none |
//! | system calls | moving bytes between what is open | also making files | also sockets and reading files |
//!
//! What compares a tree with an archive is as one that unpacks, but only reads.
//!
//! The namespaces are made once for a command and joined by its processes (see `room`); a kernel or a machine that has
//! none, or no Landlock, leaves the other walls. All of it takes a process some 0.2 ms. None can gain rights, and none leaves a
//! core dump. What a user namespace cannot make, device nodes, is asked for (see `devices`).

mod calls;
mod room;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, open, openat};
use rustix::io::{Errno, Result};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Resource, Rlimit, chroot, fchdir, setrlimit, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use sys::landlock;
use sys::mount::{Attributes, NO_DEVICES, NO_EXECUTION, NO_SET_UID, NO_SYMLINK_FOLLOWING};

pub(super) use self::room::Room;

use self::calls::{LOOK, NETWORK, Otherwise, STREAM, TREE, allow_only};
use self::room::Part;

/// The memory that one process may map: buffers, a zstd window of 128 MB, the directories' names.
const LARGEST_MEMORY: u64 = 1 << 30;
/// Where a system keeps what a client of the network reads: how names are found ...
const SETTINGS: &[&str] = &["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/localtime"];
/// ... and whom to trust.
const SETTING_DIRECTORIES: &[&str] = &[
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/skep",
    "/etc/containers",
    "/etc/containerd",
    "/etc/docker",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/usr/lib/ssl",
    "/var/lib/ca-certificates",
];
/// What writing a tree needs of Landlock.
const MAKING_FILES: u64 = landlock::WRITE_FILE
    | landlock::READ_DIRECTORY
    | landlock::REMOVE_DIRECTORY
    | landlock::REMOVE_FILE
    | landlock::MAKE_CHARACTER_DEVICE
    | landlock::MAKE_DIRECTORY
    | landlock::MAKE_REGULAR
    | landlock::MAKE_FIFO
    | landlock::MAKE_SYMLINK
    | landlock::REFER
    | landlock::TRUNCATE;

/// For a process that only moves bytes between open files.
pub(super) fn stream() -> Result<()> {
    wall_in_stream()?;
    filter(&[STREAM])
}

/// For a process that writes a tree: it becomes the root directory, and what is returned is the way to it.
pub(super) fn tree(root: OwnedFd) -> Result<OwnedFd> {
    let root = wall_in_tree(root)?;
    filter(&[STREAM, TREE])?;
    Ok(root)
}

/// For a process that fetches: it needs sockets, and of files only those that say how names and certificates are found.
///
/// What its libraries ask for differs with their versions: another call fails, instead of killing.
pub(super) fn network() -> Result<()> {
    wall_in_network()?;
    sys::seccomp::load(&allow_only(&[STREAM, NETWORK], Otherwise::Refuse), 0)
}

/// For a process that compares a tree with an archive: `root` becomes its root directory, which it reads.
pub(super) fn look(root: BorrowedFd<'_>) -> Result<()> {
    wall_in_look(root)?;
    filter(&[STREAM, LOOK])
}

/// All of [`look`] but the filter.
fn wall_in_look(root: BorrowedFd<'_>) -> Result<()> {
    enter_room(Part::Whole)?;
    fchdir(root)?;
    chroot(".")?;
    let rules = [(root, landlock::READ_FILE | landlock::READ_DIRECTORY)];
    restrict(CapabilitySet::DAC_READ_SEARCH, &rules, landlock::Network::Refused)
}

/// All of [`network`] but the filter.
fn wall_in_network() -> Result<()> {
    let open = |path: &&str| open(*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
    let (files, directories): (Vec<_>, Vec<_>) =
        (SETTINGS.iter().filter_map(open).collect(), SETTING_DIRECTORIES.iter().filter_map(open).collect());
    let files = files.iter().map(|file| (file.as_fd(), landlock::READ_FILE));
    let kinds = landlock::READ_FILE | landlock::READ_DIRECTORY;
    let rules: Vec<_> = directories.iter().map(|directory| (directory.as_fd(), kinds)).chain(files).collect();
    enter_room(Part::Ids)?;
    restrict(CapabilitySet::empty(), &rules, landlock::Network::Kept)
}

/// All of [`stream`] but the filter.
fn wall_in_stream() -> Result<()> {
    enter_room(Part::Whole)?;
    restrict(CapabilitySet::empty(), &[], landlock::Network::Refused)
}

/// All of [`tree`] but the filter.
fn wall_in_tree(root: OwnedFd) -> Result<OwnedFd> {
    let root = alone(root)?;
    enter_room(Part::Whole)?;
    fchdir(&root)?;
    chroot(".")?;
    umask(Mode::empty());
    let needed = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SETFCAP;
    restrict(needed, &[(root.as_fd(), MAKING_FILES)], landlock::Network::Refused)?;
    Ok(root)
}

fn enter_room(part: Part) -> Result<()> {
    Room::of_this_process().map_or(Ok(()), |room| room.enter(part))
}

/// The tree as a mount of its own, that nothing else is below: device nodes do not open, links are not followed, nothing is executed.
fn alone(root: OwnedFd) -> Result<OwnedFd> {
    let path = AtFlags::EMPTY_PATH.bits();
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::from_bits_retain(path);
    let mount = match open_tree(&root, "", flags) {
        // Without the right to mount, in a container say: the tree itself.
        Err(Errno::PERM | Errno::NOSYS) => return Ok(root),
        other => other?,
    };
    let set = NO_DEVICES | NO_SET_UID | NO_EXECUTION | NO_SYMLINK_FOLLOWING;
    sys::mount::set_attributes(mount.as_fd(), Attributes { set, ..Attributes::default() })?;
    let root = openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // It would go with its descriptor: open until the process ends.
    let _ = mount.into_raw_fd();
    Ok(root)
}

fn restrict(capabilities: CapabilitySet, files: &[(BorrowedFd<'_>, u64)], network: landlock::Network) -> Result<()> {
    limit(Resource::Core, 0)?;
    limit(Resource::As, LARGEST_MEMORY)?;
    set_no_new_privs(true)?;
    match landlock::restrict(files, network) {
        // A kernel without it, or one that was told to start without it.
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => other?,
    }
    let sets = CapabilitySets { effective: capabilities, permitted: capabilities, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

fn filter(calls: &[&[i64]]) -> Result<()> {
    sys::seccomp::load(&allow_only(calls, Otherwise::Kill), 0)
}

fn limit(resource: Resource, most: u64) -> Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
    setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })
}
