//! A process that cannot be mistaken for a later one with the same number: number and start time together.
//!
//! The kernel reuses numbers; it never repeats a number with the same start time (clock ticks since boot). A pidfd is the
//! handle while one lives; this pair is what state on disk can hold.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use failure::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

/// A process, for as long as this boot lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number in the host's pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
}

impl ProcessIdentity {
    /// The identity of a process that lives, or is a zombie not yet waited for.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: i32) -> Result<Self> {
        Ok(Self { pid, start_time: read_start(pid)?.0 })
    }

    /// Whether it runs: a zombie does not, nor does a later process of the same number.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        read_start(self.pid)
            .is_ok_and(|(start_time, state)| start_time == self.start_time && !matches!(state, b'Z' | b'X'))
    }

    /// A handle to exactly this process.
    ///
    /// # Errors
    /// [`failure::Kind::NotFound`] when it has ended.
    pub fn open(&self) -> Result<OwnedFd> {
        let gone = || Error::not_found(format!("process {} has ended", self.pid));
        let pid = Pid::from_raw(self.pid).ok_or_else(gone)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        // Opened first, compared second: a number that is still this process's now was so when it was opened.
        if self.is_alive() && !has_ended(&pidfd) { Ok(pidfd) } else { Err(gone()) }
    }

    /// Whether it has executed a program since it was cloned: the kernel knows, whoever was killed meanwhile. A process
    /// that has ended has not.
    #[must_use]
    pub fn has_executed(&self) -> bool {
        read_stat(self.pid, parse_flags).is_ok_and(|flags| flags & FORKED_WITHOUT_EXEC == 0)
    }

    /// Whether a child of this process ended without having executed anything: killed from outside, or for want of
    /// memory. It says nothing then, just as one whose program runs. To be asked before it is waited for.
    pub(crate) fn ended_before_its_program(&self) -> bool {
        // One that is ending has no memory any more, and so no program; its flags tell what it was.
        let program = rustix::fs::readlink(format!("/proc/{}/exe", self.pid), Vec::new());
        program == Err(Errno::NOENT)
            && read_stat(self.pid, parse_flags).is_ok_and(|flags| flags & FORKED_WITHOUT_EXEC != 0)
    }
}

/// `PF_FORKNOEXEC` of the kernel's flags of a task.
const FORKED_WITHOUT_EXEC: u64 = 0x40;

/// A pidfd is readable once its process has ended.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Start time and state letter.
fn read_start(pid: i32) -> Result<(u64, u8)> {
    read_stat(pid, parse_stat)
}

fn read_stat<T>(pid: i32, parse: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
    let gone = || Error::not_found(format!("process {pid} has ended"));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/{pid}/stat"), flags, Mode::empty()).map_err(|_| gone())?;
    let mut text = [0_u8; 1024];
    let length = std::fs::File::from(file).read(&mut text).map_err(|_| gone())?;
    parse(text.get(..length).unwrap_or_default()).ok_or_else(gone)
}

/// Fields are counted from behind the command, which may hold blanks and parentheses itself.
fn fields(text: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let after_command = text.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(text.get(after_command + 1..)?).ok()?.split_ascii_whitespace())
}

/// The kernel's flags, field 9.
fn parse_flags(text: &[u8]) -> Option<u64> {
    fields(text)?.nth(6)?.parse().ok()
}

fn parse_stat(text: &[u8]) -> Option<(u64, u8)> {
    let mut fields = fields(text)?;
    let state = fields.next()?.bytes().next()?;
    // The state was field 3; the start time is field 22.
    Some((fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_fake_the_fields() {
        let stat = b"7 (a) S 1 2) R 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 0 0\n";
        assert_eq!(parse_stat(stat), Some((123_456, b'R')));
        assert_eq!(parse_stat(b"7 (a) R 1"), None);
        assert_eq!(parse_flags(stat), Some(4_194_304));
    }

    #[test]
    fn this_process_lives_and_an_earlier_one_of_its_number_does_not() {
        let identity = ProcessIdentity::of(std::process::id() as i32).unwrap();
        assert!(identity.is_alive());
        assert!(identity.open().is_ok());
        let earlier = ProcessIdentity { start_time: identity.start_time - 1, ..identity };
        assert!(!earlier.is_alive());
        assert_eq!(earlier.open().unwrap_err().kind(), failure::Kind::NotFound);
    }
}
