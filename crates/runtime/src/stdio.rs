//! What a new process has as its descriptors 0, 1 and 2.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use failure::{Context as _, Error, Result};
use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::plan::{Outside, Streams};

const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// The standard streams of a new process.
#[derive(Debug)]
pub enum Stdio {
    /// A terminal in the container's own devpts; its master comes back in [`crate::Running::terminal`].
    Terminal {
        /// Height in lines; 0 if unknown.
        rows: u16,
        /// Width in columns; 0 if unknown.
        columns: u16,
    },
    /// These files. Anonymous pipes among them are given to the process's user, so that it can open `/dev/stdout`.
    Files {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
}

impl Stdio {
    /// A terminal must be what the specification has too.
    pub(crate) fn check(&self, terminal: bool) -> Result<()> {
        match (self, terminal) {
            (Self::Terminal { .. }, true) | (Self::Files { .. }, false) => Ok(()),
            (Self::Terminal { .. }, false) => Err(Error::internal("the specification has no terminal")),
            (Self::Files { .. }, true) => Err(Error::internal("the specification has a terminal")),
        }
    }

    /// Gives anonymous pipes to a user. Files that have a name are not ours to give away.
    pub(crate) fn give_to(&self, uid: u32, gid: u32) -> Result<()> {
        let Self::Files { stdin, stdout, stderr } = self else { return Ok(()) };
        if uid == 0 && gid == 0 {
            return Ok(());
        }
        for file in [stdin, stdout, stderr] {
            let kind = rustix::fs::fstatfs(file).context("cannot look at a standard stream")?.f_type;
            if kind as u64 == PIPEFS_MAGIC {
                rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .context("cannot give a pipe to the user of the process")?;
            }
        }
        Ok(())
    }

    pub(crate) fn borrow(&self) -> Streams<'_> {
        match self {
            Self::Terminal { rows, columns } => Streams::Terminal { rows: *rows, columns: *columns },
            Self::Files { stdin, stdout, stderr } => Streams::Files([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]),
        }
    }
}

/// The descriptors that a new process needs on its way, sorted: its streams, the files of its groups, those that its
/// program keeps, and `others`.
pub(crate) fn kept(outside: &Outside<'_>, others: &[BorrowedFd<'_>], preserved: u32) -> Vec<u32> {
    let streams: &[BorrowedFd<'_>] = match &outside.streams {
        Streams::Terminal { .. } => &[],
        Streams::Files(files) => files,
    };
    let supervisor = outside.supervisor.map(|supervisor| [supervisor.connection, supervisor.state]);
    let all = streams.iter().chain(outside.joiners).chain(others).chain(supervisor.iter().flatten());
    let mut kept: Vec<u32> = all.filter_map(|file| u32::try_from(file.as_raw_fd()).ok()).collect();
    kept.extend(3..3 + preserved);
    kept.sort_unstable();
    kept
}

/// Closes every descriptor but those, and puts `/dev/null` where the caller's own streams were. For a process that was
/// just cloned and drops nothing that it copied: what the caller has open is not for the container, not even on the way
/// into it (CVE-2024-21626).
pub(crate) fn close_all_but(kept: &[u32]) {
    // A failure leaves streams that are replaced later.
    if let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let put = [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr];
        for (number, put) in (0..).zip(put) {
            if !kept.contains(&number) {
                let _ = put(&null);
            }
        }
    }
    let mut first = 3;
    for &number in kept {
        if number > first {
            close_range(first, number - 1);
        }
        first = first.max(number + 1);
    }
    close_range(first, u32::MAX);
}

/// A child that kept its parent's end of their channel would never hear that the parent is gone: better none.
fn close_range(first: u32, last: u32) {
    if sys::descriptors::close_range(first, last).is_err() {
        sys::process::exit(125);
    }
}
