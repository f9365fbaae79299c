//! Making file systems that the container's root may not make, with what the kernel says when it will not.
//!
//! The kernel's words come from the configuration's own descriptor ("ext4: Unrecognized mount option"), which the child cannot send: so what
//! is likely to fail for a reason of its options is made here. An overlay's list of layers may be longer than one option can
//! be; each layer is then an option of its own.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};

use failure::{Context as _, Error, Result};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use sys::mount::Attributes;

use crate::plan::FileSystem;

/// The kernel takes no longer value.
const LONGEST_VALUE: usize = 255;

/// A detached mount of a new file system.
///
/// # Errors
/// The kernel does not know it, or does not take its options.
pub(crate) fn make_file_system(file_system: &FileSystem) -> Result<OwnedFd> {
    let kind = file_system.kind.to_string_lossy();
    let context = match rustix::mount::fsopen(&*file_system.kind, FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NODEV) => {
            return Err(Error::unsupported(format!("this kernel has no file system of type `{kind}`")));
        }
        opened => opened.with_context(|| format!("cannot make a file system of type {kind}"))?,
    };
    let long = file_system.options().any(|(_, value)| value.to_bytes().len() > LONGEST_VALUE);
    finish(&context, file_system).with_context(|| {
        if long {
            return format!(
                "cannot make a file system of type {kind} (one of its options may be too long for this kernel)"
            );
        }
        let said = said(&context);
        let said = if said.is_empty() { said } else { format!(" ({said})") };
        format!("cannot make a file system of type {kind}{said}")
    })
}

/// As [`make_file_system`], without words and without a heap: for a process that was just cloned.
pub(crate) fn make(file_system: &FileSystem) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(&*file_system.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    finish(&context, file_system)
}

fn finish(context: &OwnedFd, file_system: &FileSystem) -> rustix::io::Result<OwnedFd> {
    for (name, value) in file_system.options() {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context, name)?;
        } else if name == c"lowerdir" && value.to_bytes().len() > LONGEST_VALUE {
            add_layers(context, value)?;
        } else {
            rustix::mount::fsconfig_set_string(context, name, value)?;
        }
    }
    rustix::mount::fsconfig_create(context)?;
    let attributes = MountAttrFlags::from_bits_retain(file_system.attributes);
    let mount = rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    if file_system.propagation != 0 {
        let propagation = Attributes { propagation: file_system.propagation, ..Attributes::default() };
        sys::mount::set_attributes(mount.as_fd(), propagation)?;
    }
    Ok(mount)
}

/// `lowerdir+` is there since Linux 6.7.
fn add_layers(context: &OwnedFd, list: &CStr) -> rustix::io::Result<()> {
    let mut layer = [0_u8; LONGEST_VALUE + 1];
    for path in list.to_bytes().split(|byte| *byte == b':') {
        layer.get_mut(..path.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path);
        *layer.get_mut(path.len()).ok_or(Errno::NAMETOOLONG)? = 0;
        let path = CStr::from_bytes_until_nul(&layer).map_err(|_| Errno::INVAL)?;
        rustix::mount::fsconfig_set_string(context, c"lowerdir+", path)?;
    }
    Ok(())
}

/// The kernel's last words, without their level.
fn said(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = [0_u8; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).trim().to_owned();
        lines.push(line.split_once(' ').map_or(line.clone(), |(_, words)| words.to_owned()));
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: &CStr, options: &[u8]) -> String {
        let options = options.to_vec();
        let wanted = FileSystem { kind: kind.to_owned(), options, attributes: 0, propagation: 0, instead: None };
        make_file_system(&wanted).unwrap_err().to_string()
    }

    #[test]
    fn what_the_kernel_says_is_told() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        assert!(failed(c"nonexistent", b"").contains("no file system of type `nonexistent`"));
        let text = failed(c"tmpfs", b"size\0many\0");
        assert!(text.contains("size"), "{text}");
    }
}
