//! Keeps the engine's own binary out of reach of containers that share its user ids (CVE-2019-5736).
//!
//! Between clone and exec a process of the container still runs the engine's image, and a root that is the host's root could
//! write to it through `/proc/<pid>/exe`. So the engine runs from a mount that nobody can write through: a detached
//! read-only copy of the mount that holds its binary. It costs one more exec, once; where it is refused, a sealed copy of
//! the binary in memory does the same. With a user namespace none of this is needed: the file is another user's there.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use failure::{Context as _, Error, Result};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;
use sys::mount::Attributes;
use sys::process::{StringList, StringPointer};

const SELF: &str = "/proc/self/exe";
/// Tells the new image that it is the second try, so that there is no third.
const MARK: &str = "SKEP_SEALED=1";

/// Makes sure that this process runs from a file that cannot be written through `/proc/<pid>/exe`: returns if it does,
/// else executes the same program with the same arguments from such a file. To be called before anything was done.
///
/// # Errors
/// No such file can be made.
pub fn ensure() -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let binary = rustix::fs::open(SELF, flags, Mode::empty()).context("cannot open this program")?;
    if is_sealed(&binary)? {
        return Ok(());
    }
    if std::env::var_os("SKEP_SEALED").is_some() {
        return Err(Error::unsupported(
            "this program cannot be protected from the container; leave out `--userns host`",
        ));
    }
    let file = read_only_mount().or_else(|_| copy_in_memory(&binary))?;
    execute(&file)
}

fn is_sealed(binary: &OwnedFd) -> Result<bool> {
    let mount = rustix::fs::fstatvfs(binary).context("cannot look at this program")?;
    let sealed = || rustix::fs::fcntl_get_seals(binary).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    Ok(mount.f_flag.contains(StatVfsMountFlags::RDONLY) || sealed())
}

/// The binary, on a read-only mount of its own that is attached nowhere.
fn read_only_mount() -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount =
        rustix::mount::open_tree(rustix::fs::CWD, SELF, flags).context("cannot copy the mount of this program")?;
    let read_only = Attributes { set: sys::mount::READ_ONLY, ..Attributes::default() };
    sys::mount::set_attributes(mount.as_fd(), read_only).context("cannot make the mount of this program read-only")?;
    Ok(mount)
}

/// A copy in memory that nobody can change.
fn copy_in_memory(binary: &OwnedFd) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("skep", flags).context("cannot copy this program to memory")?;
    let mut rest = rustix::fs::fstat(binary).context("cannot look at this program")?.st_size;
    while rest > 0 {
        let amount = usize::try_from(rest).unwrap_or(usize::MAX);
        let copied = rustix::fs::sendfile(&copy, binary, None, amount).context("cannot copy this program to memory")?;
        if copied == 0 {
            break;
        }
        rest = rest.saturating_sub(i64::try_from(copied).unwrap_or(i64::MAX));
    }
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(0o555)).context("cannot make the copy executable")?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, all).context("cannot seal the copy of this program")?;
    Ok(copy)
}

/// Runs the same program from another file. Returns only on failure.
fn execute(file: &OwnedFd) -> Result<()> {
    let c_string =
        |text: OsString| CString::new(text.into_vec()).map_err(|_| Error::internal("a zero byte in an argument"));
    let arguments: Vec<CString> = std::env::args_os().map(c_string).collect::<Result<_>>()?;
    let variables = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let environment: Vec<CString> = variables.chain([MARK.into()]).map(c_string).collect::<Result<_>>()?;
    let (arguments, environment) = (pointers(&arguments), pointers(&environment));
    let lists = StringList::new(&arguments).zip(StringList::new(&environment));
    let (arguments, environment) = lists.ok_or_else(|| Error::internal("no arguments"))?;
    Err(sys::process::execute_file(file.as_fd(), arguments, environment)).context("cannot execute this program anew")
}

fn pointers(texts: &[CString]) -> Vec<StringPointer<'_>> {
    texts.iter().map(|text| StringPointer::new(text)).chain([StringPointer::END]).collect()
}
