//! What parent and child say to each other, over one SOCK_SEQPACKET pair.
//!
//! ```text
//!   parent                                           child
//!     | clone3 ---------------------------------------> joins cgroups, makes namespaces
//!     | writes the id maps                               |
//!     | -- MAPPED (only with a user namespace) --------> becomes the namespace's root, makes detached mounts
//!     | mounts the root file system, /dev, binds         |
//!     | -- MOUNT + descriptor (one each, in order) ----> enters the root, attaches them
//!     | -- STATE + descriptor -------------------------> only with hooks that the child runs: what they read
//!     | <------------------------------------- MOUNTED -- only with hooks before the root is entered
//!     | runs its hooks                                   |
//!     | -- GO ON --------------------------------------> runs its own, enters the root
//!     |                                                  |
//!     | <------------------------------------ SETTLED -- only if the parent is to schedule it
//!     | <------------- READY + descriptor of the master -- only if the plan has a terminal, or the parent leaves
//!     | -- START --------------------------------------> loads the filter, execve
//!     | <------------------------- FAILED(step, errno) -- at any moment, and the child ends
//!     | <------------------------------------ end of file -- its end closed by exec: the program runs
//! ```
//! A parent that leaves says LEFT instead of START, once others can find the container: the child then takes START from
//! whoever connects to its start socket, and that connection is the channel from there on. If the parent dies before, so
//! does the child.
//!
//! Each side finds out that the other died by the end of file. The parent never waits for a message but READY and the end,
//! so that both work at the same time; what it sends early waits in the socket.
//!
//! A message is eight bytes, `{tag or step: u32, errno: i32}`, and at most one descriptor.

use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// One message. Steps are numbered from 0, tags from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// To the child: its id maps are written.
    Mapped,
    /// To the child: a detached mount comes with this.
    Mount,
    /// To the child: a file with the state of the container comes with this, for its hooks.
    State,
    /// To the parent: the root is complete and not entered yet.
    Mounted,
    /// To the child: the parent's hooks have run.
    GoOn,
    /// To the child: the parent leaves; the start comes over the start socket.
    Left,
    /// To the child: execute the program.
    Start,
    /// To the parent: all is prepared; the master of the terminal comes with this.
    Ready,
    /// To the parent: what only it can grant to a process in the container's group can be granted.
    Settled,
    /// To the parent: the number of a process, with its handle (see [`crate::join`]).
    Process(i32),
    /// To the parent: a step failed, and the child ends.
    Failed {
        /// Its index in the list of steps.
        step: u32,
        /// Why.
        errno: i32,
    },
}

const MAPPED: u32 = u32::MAX;
const MOUNT: u32 = u32::MAX - 1;
const START: u32 = u32::MAX - 2;
const READY: u32 = u32::MAX - 3;
const PROCESS: u32 = u32::MAX - 4;
const SETTLED: u32 = u32::MAX - 16;
const STATE: u32 = u32::MAX - 5;
const MOUNTED: u32 = u32::MAX - 6;
const GO_ON: u32 = u32::MAX - 7;
const LEFT: u32 = u32::MAX - 8;
const LENGTH: usize = 8;

impl Message {
    fn encode(self) -> [u8; LENGTH] {
        let (tag, number) = match self {
            Self::Mapped => (MAPPED, 0),
            Self::Mount => (MOUNT, 0),
            Self::Start => (START, 0),
            Self::Ready => (READY, 0),
            Self::Settled => (SETTLED, 0),
            Self::Process(pid) => (PROCESS, pid),
            Self::State => (STATE, 0),
            Self::Mounted => (MOUNTED, 0),
            Self::GoOn => (GO_ON, 0),
            Self::Left => (LEFT, 0),
            Self::Failed { step, errno } => (step, errno),
        };
        let (tag, number) = (tag.to_ne_bytes(), number.to_ne_bytes());
        [tag[0], tag[1], tag[2], tag[3], number[0], number[1], number[2], number[3]]
    }

    fn decode(bytes: [u8; LENGTH]) -> Self {
        let tag = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let number = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        match tag {
            MAPPED => Self::Mapped,
            MOUNT => Self::Mount,
            START => Self::Start,
            READY => Self::Ready,
            SETTLED => Self::Settled,
            PROCESS => Self::Process(number),
            STATE => Self::State,
            MOUNTED => Self::Mounted,
            GO_ON => Self::GoOn,
            LEFT => Self::Left,
            step => Self::Failed { step, errno: number },
        }
    }
}

/// Sends a message, perhaps with a descriptor. Never raises SIGPIPE.
///
/// # Errors
/// EPIPE or ECONNRESET when the other side is gone.
pub fn send(channel: impl AsFd, message: Message, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
    let bytes = message.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    retry(|| rustix::net::sendmsg(&channel, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)).map(drop)
}

/// Waits for a message. None: the other side has closed its end.
///
/// # Errors
/// The kernel's, or EBADMSG for what is no message of ours.
pub fn receive(channel: impl AsFd) -> Result<Option<(Message, Option<OwnedFd>)>> {
    let mut bytes = [0; LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut read = || {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        retry(|| rustix::net::recvmsg(&channel, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))
    };
    // Said once, before all that is queued, if the other side ended with messages of ours unread: its last words are
    // still to come.
    let length = match read() {
        Err(Errno::CONNRESET) => read()?.bytes,
        received => received?.bytes,
    };
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            descriptor = descriptors.next();
        }
    }
    match length {
        0 => Ok(None),
        LENGTH => Ok(Some((Message::decode(bytes), descriptor))),
        _ => Err(Errno::BADMSG),
    }
}

/// A signal without a handler that ends the process does not interrupt; others may.
fn retry<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn last_words_are_heard_although_ours_were_not() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        send(&ours, Message::Start, None).unwrap();
        let failed = Message::Failed { step: 3, errno: 1 };
        send(&theirs, failed, None).unwrap();
        drop(theirs);
        assert_eq!(receive(&ours).unwrap().map(|(message, _)| message), Some(failed));
        assert!(receive(&ours).unwrap().is_none());
    }

    #[test]
    fn messages_survive_the_wire() {
        let failed = Message::Failed { step: 7, errno: 2 };
        let plain = [Message::Mapped, Message::Mount, Message::Start, Message::Ready, Message::Process(42)];
        let hooks = [Message::State, Message::Mounted, Message::GoOn, Message::Left, Message::Settled, failed];
        for message in plain.into_iter().chain(hooks) {
            assert_eq!(Message::decode(message.encode()), message);
        }
    }
}
