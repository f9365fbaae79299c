//! Running a hook: a program of its own process, with the state of the container as its standard input.
//!
//! It has the namespaces, ids and capabilities that this process has at that step, none of its descriptors but 0 to 2, and
//! nothing but its own environment. A hook that does not end in time is killed.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::SeekFrom;
use rustix::io::{Errno, Result};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use sys::process::Clone;

use crate::step::Hook;

/// In a report: this and the exit code, or 128 and the signal, of a hook that failed. Beyond every errno, below 4096.
pub const FAILED_HOOK: i32 = 2048;

/// What the process of a hook that cannot be executed ends with; the shells' custom.
const NOT_EXECUTED: i32 = 127;

/// Runs it to its end.
pub(crate) fn run(hook: &Hook<'_>, state: &OwnedFd) -> Result<()> {
    rustix::fs::seek(state, SeekFrom::Start(0))?;
    match sys::process::clone(0, None)? {
        Clone::Child => become_hook(hook, state),
        Clone::Parent { pidfd, .. } => await_end(&pidfd, hook.timeout),
    }
}

fn become_hook(hook: &Hook<'_>, state: &OwnedFd) -> ! {
    let prepared = rustix::stdio::dup2_stdin(state).and_then(|()| sys::process::close_on_exec_from(3));
    if prepared.is_ok() {
        // Whatever the reason is: the code says it.
        let _ = sys::process::execute(hook.path, hook.arguments, hook.environment);
    }
    sys::process::exit(NOT_EXECUTED)
}

fn await_end(pidfd: &OwnedFd, timeout: Option<u32>) -> Result<()> {
    let limit = timeout.map(|seconds| Timespec { tv_sec: seconds.into(), tv_nsec: 0 });
    let in_time = loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], limit.as_ref()) {
            Err(Errno::INTR) => {}
            ready => break ready? > 0,
        }
    };
    if !in_time {
        rustix::process::pidfd_send_signal(pidfd, Signal::KILL)?;
    }
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?.ok_or(Errno::CHILD)?;
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(NOT_EXECUTED);
    match code {
        _ if !in_time => Err(Errno::TIMEDOUT),
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(FAILED_HOOK + code)),
    }
}
