//! The console socket: whoever wants the master of a container's terminal listens there, and gets it with one message.
//!
//! The message is the name of the terminal device, as runc sends it, with the descriptor beside it (SCM_RIGHTS). The
//! connection is made before anything of the container, so that a wrong path costs nothing.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use failure::{Context as _, Result};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// What runc's library calls the master.
const NAME: &[u8] = b"/dev/ptmx";

/// A connection to whoever takes the terminal.
#[derive(Debug)]
pub(crate) struct Console(OwnedFd);

impl Console {
    /// Connects.
    pub(crate) fn connect(path: &str) -> Result<Self> {
        let failed = || format!("cannot connect to the console socket `{path}`");
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .with_context(failed)?;
        let address = SocketAddrUnix::new(path).with_context(failed)?;
        rustix::net::connect(&socket, &address).with_context(failed)?;
        Ok(Self(socket))
    }

    /// Hands the master over.
    pub(crate) fn send(self, master: &OwnedFd) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [master.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        rustix::net::sendmsg(&self.0, &[IoSlice::new(NAME)], &mut control, SendFlags::NOSIGNAL)
            .context("cannot send the terminal to the console socket")
            .map(drop)
    }
}
