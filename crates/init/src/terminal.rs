//! A terminal in the container's own devpts.
//!
//! The other side is reached by TIOCGPTPEER, never by its name, and `/dev/console` is a mount of that very descriptor: nothing in
//! the container can put another file in between (CVE-2025-52565).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, Uid};
use rustix::io::{Errno, Result};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::step::{Missing, Target, Terminal};
use crate::{inside, mounts};

const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Opens it, makes it the session's and the descriptors 0 to 2, and returns the master.
pub(crate) fn open(root: BorrowedFd<'_>, devpts: Option<&OwnedFd>, terminal: &Terminal) -> Result<OwnedFd> {
    let master = match devpts {
        Some(devpts) => open_master(devpts)?,
        None => open_master(find_devpts(root)?)?,
    };
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    rustix::fs::fchown(&slave, Some(Uid::from_raw(terminal.owner)), None)?;
    let size = Winsize { ws_row: terminal.rows, ws_col: terminal.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size)?;
    if terminal.console {
        let console = Target { path: c"/dev/console", missing: Missing::File, strict: true };
        mounts::attach(root, &mounts::copy_tree(&slave)?, console)?;
    }
    rustix::process::ioctl_tiocsctty(&slave)?;
    crate::walk::set_streams([slave.as_fd(); 3])?;
    Ok(master)
}

/// The multiplexer of this very devpts: nothing may be mounted over it.
fn open_master(devpts: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(devpts, c"ptmx", flags, Mode::empty(), resolve)
}

/// What lies at `/dev/pts` of a container that runs, if it is what it should be.
fn find_devpts(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let directory = inside::look_up_directory(root, c"/dev/pts")?;
    let found = rustix::fs::fstatfs(&directory)?;
    if found.f_type as u64 == DEVPTS_SUPER_MAGIC { Ok(directory) } else { Err(Errno::NOTTY) }
}
