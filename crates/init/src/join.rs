//! Into a container that runs: the helper between the caller and the new process.
//!
//! ```text
//!   caller ---- clone ----> helper: joins all namespaces at once by the pidfd (setns), which cannot be undone
//!     ^                       |
//!     |                       +-- clone(CLONE_PARENT) --> the new process: a child of the caller, walks its steps
//!     +---- PROCESS(pid) + pidfd ---+   ends
//! ```
//! A pid namespace is entered by children only, so two processes are needed in any case; that the caller is neither of
//! them lets it stay what it was.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::DumpableBehavior;
use rustix::thread::ThreadNameSpaceType;
use sys::process::Clone;

use crate::channel::{self, Message};
use crate::step::Step;

/// The step number that stands for joining the namespaces themselves.
pub const JOINING: u32 = 1 << 30;
/// `CLONE_PARENT`: a child of my parent.
const CLONE_PARENT: u64 = 0x8000;

/// What to join and what to do there.
#[derive(Clone, Copy, Debug)]
pub struct Join<'a> {
    /// The container's first process.
    pub target: BorrowedFd<'a>,
    /// `CLONE_NEW*` of the namespaces to join.
    pub namespaces: u32,
    /// What the new process does.
    pub steps: &'a [Step<'a>],
}

/// Runs in the helper, which was just cloned. It must not be looked into from inside: it is the engine's image.
pub fn join(join: &Join<'_>, channel: BorrowedFd<'_>) -> ! {
    let namespaces = ThreadNameSpaceType::from_bits_retain(join.namespaces);
    let joined = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| rustix::thread::move_into_thread_name_spaces(join.target, namespaces))
        .and_then(|()| sys::process::clone(CLONE_PARENT, None));
    let told = match joined {
        Ok(Clone::Child) => crate::walk::run(join.steps, channel),
        Ok(Clone::Parent { pid, pidfd }) => {
            channel::send(channel, Message::Process(pid.as_raw_nonzero().get()), Some(pidfd.as_fd()))
        }
        Err(errno) => channel::send(channel, Message::Failed { step: JOINING, errno: errno.raw_os_error() }, None),
    };
    sys::process::exit(i32::from(told.is_err()))
}
