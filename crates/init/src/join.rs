//! Into namespaces that exist: the helper between the caller and the new process.
//!
//! ```text
//!   caller ---- clone ----> helper: joins namespaces (setns), which cannot be undone
//!     ^                       |
//!     |                       +-- clone(CLONE_PARENT) --> the new process: a child of the caller, walks its steps
//!     +---- PROCESS(pid) + pidfd ---+   ends
//! ```
//! A pid namespace is entered by children only, so two processes are needed in any case; that the caller is neither of
//! them lets it stay what it was. exec joins all at once by the pidfd of the container's first process; a container that
//! joins a user or a mount namespace joins each by its file.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, Result};
use rustix::process::DumpableBehavior;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};
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

/// A namespace to join, by its file.
#[derive(Clone, Copy, Debug)]
pub struct Namespace<'a> {
    /// The file.
    pub file: BorrowedFd<'a>,
    /// What it must be.
    pub kind: Option<LinkNameSpaceType>,
}

/// Namespaces to join one by one, and what to do there.
#[derive(Clone, Copy, Debug)]
pub struct Enter<'a> {
    /// To join.
    pub namespaces: &'a [Namespace<'a>],
    /// `CLONE_NEW*` of those that the new process gets of its own.
    pub new: u64,
    /// What the new process does.
    pub steps: &'a [Step<'a>],
}

/// Runs in the helper, which was just cloned. It must not be looked into from inside: it is the engine's image.
pub fn join(join: &Join<'_>, channel: BorrowedFd<'_>) -> ! {
    let namespaces = ThreadNameSpaceType::from_bits_retain(join.namespaces);
    let joined = conceal().and_then(|()| rustix::thread::move_into_thread_name_spaces(join.target, namespaces));
    go_on(joined, 0, join.steps, channel)
}

/// As [`join`]. The step number in a failure is [`JOINING`] and the index of the namespace.
pub fn enter(enter: &Enter<'_>, channel: BorrowedFd<'_>) -> ! {
    let joined = conceal().map_err(|errno| (0, errno)).and_then(|()| join_each(enter.namespaces));
    if let Err((index, errno)) = joined {
        let _ = channel::send(channel, Message::Failed { step: JOINING + index, errno: errno.raw_os_error() }, None);
        sys::process::exit(1)
    }
    go_on(Ok(()), enter.new, enter.steps, channel)
}

fn conceal() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// First what this process may join as it is; then the user namespace, and with the rights that it gives the rest.
fn join_each(namespaces: &[Namespace<'_>]) -> core::result::Result<(), (u32, Errno)> {
    let mut left = 0_u32;
    for (bit, namespace) in (0..).zip(namespaces) {
        let is_user = namespace.kind == Some(LinkNameSpaceType::User);
        if is_user || rustix::thread::move_into_link_name_space(namespace.file, namespace.kind).is_err() {
            left |= 1 << bit;
        }
    }
    let user_first = [true, false];
    for user in user_first {
        for (bit, namespace) in (0..).zip(namespaces) {
            let is_user = namespace.kind == Some(LinkNameSpaceType::User);
            if left & 1 << bit != 0 && is_user == user {
                rustix::thread::move_into_link_name_space(namespace.file, namespace.kind)
                    .map_err(|errno| (bit, errno))?;
            }
        }
    }
    Ok(())
}

/// Makes the new process, says who it is, and ends.
fn go_on(joined: Result<()>, new: u64, steps: &[Step<'_>], channel: BorrowedFd<'_>) -> ! {
    let told = match joined.and_then(|()| sys::process::clone(CLONE_PARENT | new, None)) {
        Ok(Clone::Child) => crate::walk::run(steps, channel),
        Ok(Clone::Parent { pid, pidfd }) => {
            channel::send(channel, Message::Process(pid.as_raw_nonzero().get()), Some(pidfd.as_fd()))
        }
        Err(errno) => channel::send(channel, Message::Failed { step: JOINING, errno: errno.raw_os_error() }, None),
    };
    sys::process::exit(i32::from(told.is_err()))
}
