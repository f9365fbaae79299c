//! A forked process that does one job, reports over a pipe, and is reaped.
//!
//! It dies with its parent (`PR_SET_PDEATHSIG`), keeps only the descriptors it was given, and is killed when its
//! [`Child`] is dropped. It also keeps the lease open: nobody sweeps away what it still writes to.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use failure::{Context, Error, Result};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, set_parent_process_death_signal, waitpid,
};
use sys::process::{Fork, exit, fork};

use super::confine::Room;
use super::devices::Making;
use super::report;

/// The exit code of a process that ended because the other one of its task did.
const ABANDONED: i32 = 2;

/// What a job returns instead of a result.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed.
    Failed(Error),
    /// The other process of the task is gone, and knows why.
    Abandoned,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A process at work.
pub(crate) struct Child {
    pid: Pid,
    pub(super) report: OwnedFd,
    received: Vec<u8>,
    reaped: bool,
    /// Makes the device nodes that it asks for.
    devices: Option<Making>,
    /// Where it is confined: kept for those that start while it works.
    _room: Option<Rc<Room>>,
}

/// What a process said.
pub(super) enum Heard {
    /// Not a whole frame yet.
    Nothing,
    /// It has come so far.
    Progress(u64),
    /// It says this and goes on.
    Said(Vec<u8>),
    /// It is done, and says this.
    Done(Vec<u8>),
    /// It failed.
    Failed(Error),
    /// It ended without saying why: the other process of its task may know.
    Abandoned(Error),
}

/// Starts a process that keeps the descriptors `keep` and does `job`, which begins by confining itself. The job's last word
/// is its payload.
pub(super) fn spawn(keep: &[RawFd], job: impl FnOnce(BorrowedFd<'_>) -> Result<Vec<u8>, Stop>) -> Result<Child> {
    let room = Room::current();
    let (receiver, sender) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    let parent = getpid();
    match fork().context("start a process to unpack with")? {
        Fork::Parent(pid) => {
            Ok(Child { pid, report: receiver, received: Vec::new(), reaped: false, devices: None, _room: room })
        }
        Fork::Child => {
            let namespaces = room.iter().flat_map(|room| room.descriptors());
            let kept = keep.iter().copied().chain([sender.as_raw_fd()]).chain(namespaces).collect();
            let work = std::panic::AssertUnwindSafe(|| work(kept, &sender, parent, job));
            exit(std::panic::catch_unwind(work).unwrap_or(1))
        }
    }
}

/// The life of the new process; its exit code.
fn work(
    mut kept: Vec<RawFd>,
    sender: &OwnedFd,
    parent: Pid,
    job: impl FnOnce(BorrowedFd<'_>) -> Result<Vec<u8>, Stop>,
) -> i32 {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() || getppid() != Some(parent) {
        return 1;
    }
    kept.sort_unstable();
    if close_all_but(&kept).is_err() {
        return 1;
    }
    let sent = match job(sender.as_fd()) {
        Ok(payload) => report::send(sender, report::DONE, &payload),
        Err(Stop::Failed(error)) => report::send(sender, report::FAILED, &report::encode_error(&error)),
        Err(Stop::Abandoned) => return ABANDONED,
    };
    i32::from(sent.is_err())
}

/// Closes every descriptor but those given, which are sorted. What owns the others is never dropped: this process
/// ends by `exit`.
pub(super) fn close_all_but(keep: &[RawFd]) -> rustix::io::Result<()> {
    let mut first = 0;
    for kept in keep {
        let kept = u32::try_from(*kept).map_err(|_| Errno::BADF)?;
        if kept > first {
            sys::descriptors::close_range(first, kept - 1)?;
        }
        first = first.max(kept + 1);
    }
    sys::descriptors::close_range(first, u32::MAX)
}

impl Child {
    /// Lets it ask for device nodes.
    pub(super) fn with_devices(mut self, devices: Making) -> Self {
        self.devices = Some(devices);
        self
    }

    /// Reads what is there, waiting if there is nothing; returns the next thing said.
    pub(super) fn hear(&mut self) -> Result<Heard> {
        let mut progress = None;
        loop {
            match report::take_frame(&mut self.received)? {
                Some((report::PROGRESS, payload)) => {
                    progress = payload.try_into().ok().map(u64::from_le_bytes);
                }
                Some((report::DONE, payload)) => {
                    self.reap()?;
                    return Ok(Heard::Done(payload));
                }
                Some((report::SAID, payload)) => return Ok(Heard::Said(payload)),
                Some((report::DEVICE, question)) => match &self.devices {
                    Some(devices) => devices.answer(&question),
                    None => return Err(report::garbled()),
                },
                Some((report::FAILED, payload)) => return Ok(Heard::Failed(report::decode_error(&payload))),
                Some(_) => return Err(report::garbled()),
                None => break,
            }
        }
        if let Some(progress) = progress {
            return Ok(Heard::Progress(progress));
        }
        let before = self.received.len();
        let mut buffer = [0; 4096];
        let count = rustix::io::retry_on_intr(|| rustix::io::read(&self.report, &mut buffer))
            .context("hear from an unpacking process")?;
        self.received.extend_from_slice(&buffer[..count]);
        if self.received.len() == before {
            return self.reap().map(|status| Heard::Abandoned(died(status)));
        }
        match self.whole_frame() {
            true => self.hear(),
            false => Ok(Heard::Nothing),
        }
    }

    fn whole_frame(&self) -> bool {
        let length = self.received.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        length.is_some_and(|length| self.received.len() >= 5 + length as usize)
    }

    fn reap(&mut self) -> Result<WaitStatus> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => {
                    self.reaped = true;
                    return Ok(status);
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for an unpacking process"),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // It was not reaped, so the number is still its own.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.reap();
        }
    }
}

fn died(status: WaitStatus) -> Error {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Error::internal(format!("an unpacking process was killed by signal {signal}")),
        (Some(ABANDONED), _) => Error::internal("an unpacking process was left alone"),
        (code, _) => Error::internal(format!("an unpacking process ended with exit code {}", code.unwrap_or(-1))),
    }
}
