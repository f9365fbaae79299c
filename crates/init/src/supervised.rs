//! Loading a filter that allows little: one whose calls a supervisor decides on, so that neither waits for the other, and
//! one that forbids to say what failed.
//!
//! ```text
//!   C, which becomes the program          the witness, a thread of C             who listens at `listenerPath`
//!   starts the witness ---------------->  has no filter, and never gets one
//!   loads the filter, gets its listener
//!   puts it into their shared memory -->  sends the state, the listener with it -> answers from now on
//!   looks there until it was sent         ends its side of the connection
//!   execve ----------------------------> the kernel ends the witness
//!   or: it failed, says so there ------>  reports it to the parent, ends both
//! ```
//! From the moment the filter is loaded C makes no call but execve: any other one may be forbidden, or may wait for a
//! supervisor that does not have the listener yet. So it says all that it has to say in memory. The listener is in flight to
//! the supervisor before execve is tried: a filter may ask about that, too.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, Result};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};
use rustix::thread::Timespec;
use sys::descriptors::Slot;
use sys::seccomp::{self, Instruction};

use crate::channel::{self, Message};
use crate::step::Supervisor;

/// How often the witness looks for a failure: at first often, as it has a thread of its own; soon rarely, as execve may wait for
/// the supervisor.
const SHORTEST_REST: i64 = 50_000;
const LONGEST_REST: i64 = 10_000_000;

/// What the process is about to do.
const LOADING: u8 = 0;
const LOADED: u8 = 1;
/// The supervisor has been sent the listener.
const SENT: u8 = 2;
/// The witness is not needed any more.
const OVER: u8 = 3;
/// It has seen that.
const GONE: u8 = 4;
/// `SECCOMP_FILTER_FLAG_TSYNC`, which would give the witness the filter.
const SYNCHRONIZE: u32 = 1;
/// In the number that says what failed.
const FAILED: u64 = 1 << 63;

/// What both threads share.
#[derive(Debug)]
pub(crate) struct Witness {
    /// The connection to the supervisor, and what it is told.
    supervisor: Option<(OwnedFd, OwnedFd)>,
    channel: OwnedFd,
    /// The step that is being taken.
    step: u32,
    listener: Slot,
    phase: AtomicU8,
    /// [`FAILED`], the step, the errno.
    failure: AtomicU64,
}

/// Loads the filter and sends its listener to the supervisor, if there is one. Returns the thread that has to report what fails from here on.
pub(crate) fn load(
    program: &[Instruction],
    flags: u32,
    supervisor: Option<Supervisor<'_>>,
    channel: BorrowedFd<'_>,
    step: u32,
) -> Result<Option<&'static Witness>> {
    let copy = |descriptor: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(descriptor, 3);
    let started = sys::thread::start(
        Witness {
            supervisor: supervisor.map(|asked| Ok((copy(asked.connection)?, copy(asked.state)?))).transpose()?,
            channel: copy(channel)?,
            step,
            listener: Slot::new(),
            phase: AtomicU8::new(LOADING),
            failure: AtomicU64::new(0),
        },
        Witness::run,
    );
    let witness = match started {
        // One process and no more may be allowed. Then nobody hears of a failure, and no harm is done.
        Err(Errno::AGAIN) if supervisor.is_none() => return seccomp::load(program, flags).map(|()| None),
        started => started?,
    };
    // If this fails there is no filter, and the caller can say it; the witness ends with the process.
    match supervisor {
        Some(_) => witness.listener.put(seccomp::notify::load(program, flags)?),
        None => seccomp::load(program, flags & !SYNCHRONIZE)?,
    }
    witness.phase.store(LOADED, Ordering::Release);
    while witness.phase.load(Ordering::Acquire) != SENT {
        core::hint::spin_loop();
    }
    Ok(Some(witness))
}

impl Witness {
    /// Says in the caller's stead what failed. The witness ends the process.
    pub(crate) fn fail(&self, step: u32, errno: Errno) -> ! {
        let failure = FAILED | u64::from(step) << 32 | u64::from(errno.raw_os_error().unsigned_abs());
        self.failure.store(failure, Ordering::Release);
        loop {
            core::hint::spin_loop();
        }
    }

    /// Lets the witness end, in a process that goes on.
    pub(crate) fn dismiss(&self) {
        self.phase.store(OVER, Ordering::Release);
        while self.phase.load(Ordering::Acquire) != GONE {
            core::hint::spin_loop();
        }
    }

    fn run(&'static self) {
        while self.phase.load(Ordering::Acquire) == LOADING {
            rustix::thread::sched_yield();
        }
        let sent = self.supervisor.as_ref().map_or(Ok(()), |(connection, state)| {
            let listener = self.listener.take().ok_or(Errno::BADF)?;
            hand_over(connection, state, listener.as_fd())
        });
        if let Err(errno) = sent {
            self.end(self.step, errno.raw_os_error());
        }
        self.phase.store(SENT, Ordering::Release);
        self.watch();
    }

    fn watch(&self) {
        let mut rest = SHORTEST_REST;
        while self.phase.load(Ordering::Acquire) != OVER {
            let failure = self.failure.load(Ordering::Acquire);
            if failure & FAILED != 0 {
                self.end(((failure & !FAILED) >> 32) as u32, failure as u32 as i32);
            }
            let _ = rustix::thread::nanosleep(&Timespec { tv_sec: 0, tv_nsec: rest });
            rest = (rest * 2).min(LONGEST_REST);
        }
        self.phase.store(GONE, Ordering::Release);
    }

    fn end(&self, step: u32, errno: i32) -> ! {
        // Nobody is left to tell if this fails.
        let _ = channel::send(&self.channel, Message::Failed { step, errno }, None);
        sys::process::exit(125)
    }
}

/// The state in as many pieces as it takes, the first with the listener.
fn hand_over(connection: &OwnedFd, state: &OwnedFd, listener: BorrowedFd<'_>) -> Result<()> {
    let mut buffer = [0_u8; 4096];
    let mut position = 0;
    loop {
        let length = rustix::io::pread(state, &mut buffer, position)?;
        if length == 0 {
            break;
        }
        let mut rest = buffer.get(..length).ok_or(Errno::OVERFLOW)?;
        while !rest.is_empty() {
            let listener = (position == 0).then_some(listener);
            let sent = send(connection, rest, listener)?;
            position += sent as u64;
            rest = rest.get(sent..).ok_or(Errno::OVERFLOW)?;
        }
    }
    // Nobody was told anything: the parent has not written the state.
    if position == 0 {
        return Err(Errno::NODATA);
    }
    rustix::net::shutdown(connection, Shutdown::Write)
}

fn send(connection: &OwnedFd, bytes: &[u8], listener: Option<BorrowedFd<'_>>) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = listener.map(|listener| [listener]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match rustix::net::sendmsg(connection, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
