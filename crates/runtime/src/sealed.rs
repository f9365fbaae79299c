//! Keeps the engine's own binary out of reach of containers that share its user ids.
//!
//! Until a process executes the container's program, `/proc/<pid>/exe` is the engine. A container whose root is the
//! host's root may open that for writing, and an image whose program is `/proc/self/exe` runs the engine inside to
//! have it held still (CVE-2019-5736). With a user namespace the file's owner is nobody the container can act as,
//! and nothing of this is needed. Without one, the engine executes itself anew from a place that nobody can write:
//!
//! 1. a detached read-only bind mount of the binary: it is in no mount namespace, so nobody can make it writable;
//! 2. where the kernel cannot make one, a sealed copy in memory, which costs milliseconds.
//!
//! Both show in what `/proc/self/exe` is, so [`ensure`] needs no marker that a caller could forge.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use failure::{Context as _, Error, Result};
use rustix::fs::{self, CWD, MemfdFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use sys::mount::Attributes;
use sys::process::{StringList, StringPointer};

const OWN_BINARY: &str = "/proc/self/exe";
/// What nobody can undo on the copy in memory.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Makes sure that this process runs from a file that cannot be written through `/proc/<pid>/exe`. If it does not, the
/// process executes itself anew from such a file, with the same arguments and environment: call it before anything
/// was done.
///
/// # Errors
/// No such file can be made.
pub fn ensure() -> Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    let binary = match read_only_mount() {
        Ok(mount) => mount,
        Err(_) => sealed_copy().context("copy the engine's binary into memory, to seal it")?,
    };
    Err(execute_again(&binary))
}

fn is_sealed() -> Result<bool> {
    let binary = File::open(OWN_BINARY).context("open the engine's own binary")?;
    let mount = fs::fstatvfs(&binary).context("look at the engine's own binary")?;
    if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Only a file in memory can have seals; any other refuses the question.
    Ok(fs::fcntl_get_seals(&binary).is_ok_and(|seals| seals.contains(SEALS)))
}

fn read_only_mount() -> rustix::io::Result<OwnedFd> {
    let mount = open_tree(CWD, OWN_BINARY, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    sys::mount::set_attributes(mount.as_fd(), Attributes { set: sys::mount::READ_ONLY, ..Attributes::default() })?;
    Ok(mount)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let memory = fs::memfd_create("skep", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(memory);
    io::copy(&mut File::open(OWN_BINARY)?, &mut copy)?;
    fs::fcntl_add_seals(&copy, SEALS)?;
    Ok(copy.into())
}

/// Does not return but to say why it failed.
fn execute_again(binary: &OwnedFd) -> Error {
    let arguments = std::env::args_os().map(OsStringExt::into_vec);
    let environment = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    // What came from exec holds no zero, so that none is left out here.
    let arguments: Vec<CString> = arguments.filter_map(|word| CString::new(word).ok()).collect();
    let environment: Vec<CString> = environment.filter_map(|entry| CString::new(entry).ok()).collect();
    let (arguments, environment) = (pointers(&arguments), pointers(&environment));
    let errno = match (StringList::new(&arguments), StringList::new(&environment)) {
        (Some(arguments), Some(environment)) => sys::process::execute_file(binary.as_fd(), arguments, environment),
        _ => rustix::io::Errno::INVAL,
    };
    Error::internal("execute the engine from a file that containers cannot write").with_source(io::Error::from(errno))
}

fn pointers(strings: &[CString]) -> Vec<StringPointer<'_>> {
    strings.iter().map(|text| StringPointer::new(text)).chain([StringPointer::END]).collect()
}
