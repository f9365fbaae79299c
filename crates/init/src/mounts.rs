//! Making file systems and putting mounts where they belong.

use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use sys::mount::Attributes;

use crate::step::{FileSystem, Missing, Remount, Target, pairs, strings};
use crate::{channel, inside, nodes};

/// A detached mount of a new file system, or of what is there instead.
pub(crate) fn make(file_system: FileSystem<'_>) -> Result<OwnedFd> {
    match (make_new(&file_system), file_system.instead) {
        (Err(Errno::PERM | Errno::ACCESS), Some(place)) => copy_of_host(place, u64::from(file_system.attributes)),
        (made, _) => made,
    }
}

fn make_new(file_system: &FileSystem<'_>) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(file_system.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    configure(&context, file_system.options)?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::from_bits_retain(file_system.attributes);
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    if file_system.propagation != 0 {
        let propagation = Attributes { propagation: file_system.propagation, ..Attributes::default() };
        sys::mount::set_attributes(mount.as_fd(), propagation)?;
    }
    Ok(mount)
}

fn configure(context: &OwnedFd, options: &[u8]) -> Result<()> {
    for (name, value) in pairs(options) {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context, name)?;
        } else {
            rustix::mount::fsconfig_set_string(context, name, value)?;
        }
    }
    Ok(())
}

/// The host's own, with what is mounted below: in a user namespace whose creator hid a part of them, the kernel makes no
/// second one that would show it. Only before the root is entered.
fn copy_of_host(place: &CStr, attributes: u64) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let copy = rustix::mount::open_tree(CWD, place, flags)?;
    let closed = Attributes { set: attributes, clear: 0, propagation: PRIVATE };
    sys::mount::set_attributes_recursive(copy.as_fd(), closed)?;
    Ok(copy)
}

/// `MS_PRIVATE`.
const PRIVATE: u64 = 1 << 18;

/// Changes the mount at a path, and its file system if it has options for it.
pub(crate) fn remount(root: BorrowedFd<'_>, change: Remount<'_>) -> Result<()> {
    let point = inside::look_up(root, change.path, change.strict)?;
    if !change.options.is_empty() {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = rustix::mount::fspick(&point, c"", flags)?;
        configure(&context, change.options)?;
        rustix::mount::fsconfig_reconfigure(&context)?;
    }
    if !change.recursive.is_empty() {
        sys::mount::set_attributes_recursive(point.as_fd(), change.recursive)?;
    }
    sys::mount::set_attributes(point.as_fd(), change.attributes)
}

/// Nothing that is mounted here from now on is seen outside, nor the other way round.
pub(crate) fn isolate() -> Result<()> {
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

/// Attaches the detached root over the host's, so that it can be entered.
pub(crate) fn attach_over_host(root: &OwnedFd) -> Result<()> {
    rustix::mount::move_mount(root, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Makes the attached mount the root directory, and takes the old tree away. With "." twice the old root comes to lie on
/// the new one, and is detached from there: no directory for it is needed.
pub(crate) fn pivot(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// The same where pivot_root is impossible, from a ramdisk: the old tree stays below the new root. A program that may
/// change its root can come back to it, so the host's proc and sysfs are taken away from there.
pub(crate) fn change_root(root: BorrowedFd<'_>) -> Result<()> {
    for place in [c"/proc", c"/sys"] {
        match rustix::mount::unmount(place, UnmountFlags::DETACH) {
            // Not mounted, or locked by the user namespace, in which the kernel also refuses the way back.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::process::fchdir(root)?;
    rustix::mount::move_mount(root, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// Makes a directory this process's root. A weaker wall than a mount namespace: who has CAP_SYS_CHROOT can leave it.
pub(crate) fn move_to_root(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// Attaches a detached mount at an open mount point.
pub(crate) fn attach_at(mount: impl AsFd, point: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", point, c"", flags)
}

/// Attaches a detached mount inside the root.
pub(crate) fn attach(root: BorrowedFd<'_>, mount: &OwnedFd, target: Target<'_>) -> Result<()> {
    let point = inside::look_up_or_make(root, target)?;
    if let Missing::Device { kind, number } = target.missing {
        nodes::check_cover(&point, kind, number)?;
    }
    attach_at(mount, point)
}

/// Takes one mount for each name from the parent, and attaches it at that name below `directory`.
pub(crate) fn attach_cgroups(
    channel: BorrowedFd<'_>,
    directory: &OwnedFd,
    names: &[u8],
    links: &[u8],
    attributes: Attributes,
) -> Result<()> {
    for name in strings(names) {
        let mount = receive(channel)?;
        rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755))?;
        rustix::mount::move_mount(&mount, c"", directory, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    for (name, points_to) in pairs(links) {
        rustix::fs::symlinkat(points_to, directory, name)?;
    }
    if attributes.is_empty() { Ok(()) } else { sys::mount::set_attributes(directory.as_fd(), attributes) }
}

/// Takes the next mount from the parent.
pub(crate) fn receive(channel: BorrowedFd<'_>) -> Result<OwnedFd> {
    match channel::receive(channel)? {
        Some((channel::Message::Mount, Some(mount))) => Ok(mount),
        Some(_) => Err(Errno::BADMSG),
        None => Err(Errno::OWNERDEAD),
    }
}

/// A second, detached mount of what is open as `point`, with what is mounted below it.
pub(crate) fn copy_tree(point: impl AsFd) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(point, c"", flags)
}

/// A second, detached mount of one entry of a mount.
pub(crate) fn copy_entry(mount: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    rustix::mount::open_tree(mount, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// Makes a path read-only for all that comes through this root. A path that is not there needs no protection.
pub(crate) fn protect(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let point = match inside::look_up(root, path, false) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        found => found?,
    };
    let copy = copy_tree(&point)?;
    let read_only = Attributes { set: sys::mount::READ_ONLY, ..Attributes::default() };
    sys::mount::set_attributes_recursive(copy.as_fd(), read_only)?;
    attach_at(copy, point)
}

/// Sets who else sees what is mounted below the root.
pub(crate) fn set_propagation(root: BorrowedFd<'_>, kind: u64, recursive: bool) -> Result<()> {
    let change = Attributes { propagation: kind, ..Attributes::default() };
    if recursive {
        sys::mount::set_attributes_recursive(root, change)
    } else {
        sys::mount::set_attributes(root, change)
    }
}

/// Makes a directory inside the root, and those above it.
pub(crate) fn make_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    inside::look_up_or_make(root, Target { path, missing: Missing::Directory, strict: false }).map(drop)
}
