//! Processes that carry blobs somewhere else, one blob after the other each, over connections of their own.
//!
//! ```text
//! this process --- order: digest[32] length:u64, open file ---> carrier ---> where the blobs go
//!              <-- progress, said(how it arrived), failed ------
//! ```
//!
//! A carrier stays for several blobs, because a connection costs more than a small blob. It has the network and what it is
//! handed, and reaches no file of the store; it ends when nobody can give it orders any more.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use failure::{Context, Error, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::process::{Child, Heard, Stop, spawn};
use super::{confine, report};
use crate::Digest;
use crate::push::{Arrival, Blob, Destination};

/// How often progress is told, in bytes.
const PROGRESS_INTERVAL: u64 = 1 << 20;
const ORDER: usize = 40;

/// A process that carries blobs.
pub(crate) struct Carrier {
    child: Child,
    orders: OwnedFd,
}

/// What a carrier has to tell.
#[derive(Debug)]
pub(crate) enum Told {
    /// Nothing yet.
    Nothing,
    /// So many bytes of its blob are there.
    Sent(u64),
    /// Its blob is there.
    Arrived(Arrival),
}

impl Carrier {
    pub(crate) fn start(destination: &mut dyn Destination) -> Result<Self> {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (orders, receiver) = pair.context("make a socket pair")?;
        let child = spawn(&[receiver.as_raw_fd()], |parent| work(destination, &receiver, parent))?;
        Ok(Self { child, orders })
    }

    /// What is readable when it has something to tell.
    pub(crate) fn report(&self) -> BorrowedFd<'_> {
        self.child.report.as_fd()
    }

    /// Gives it a blob to carry; it must have none.
    pub(crate) fn order(&self, blob: &Blob, file: &File) -> Result<()> {
        let mut order = blob.digest.as_bytes().to_vec();
        order.extend(blob.size.to_le_bytes());
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        let mut send = || sendmsg(&self.orders, &[IoSlice::new(&order)], &mut ancillary, SendFlags::NOSIGNAL);
        rustix::io::retry_on_intr(&mut send).map(drop).context("tell a process what to push")
    }

    /// Listens; waits if there is nothing.
    ///
    /// # Errors
    /// What went wrong with its blob.
    pub(crate) fn hear(&mut self) -> Result<Told> {
        match self.child.hear()? {
            Heard::Nothing => Ok(Told::Nothing),
            Heard::Progress(sent) => Ok(Told::Sent(sent)),
            Heard::Said(payload) => read_arrival(&payload).map(Told::Arrived),
            Heard::Failed(error) | Heard::Abandoned(error) => Err(error),
            Heard::Done(_) => Err(Error::internal("a pushing process ended too early")),
        }
    }
}

/// A carrier's life.
fn work(destination: &mut dyn Destination, orders: &OwnedFd, parent: BorrowedFd<'_>) -> Result<Vec<u8>, Stop> {
    confine::network().context("confine the pushing process")?;
    while let Some((blob, file)) = next_order(orders)? {
        let mut told = 0;
        let mut sent = |bytes: u64| -> Result<()> {
            if bytes >= told + PROGRESS_INTERVAL || bytes < told {
                told = bytes;
                report::send(parent, report::PROGRESS, &bytes.to_le_bytes()).context("report to the push")?;
            }
            Ok(())
        };
        let arrival = destination.carry(&blob, file, &mut sent)?;
        report::send(parent, report::SAID, &write_arrival(&arrival)).map_err(|_| Stop::Abandoned)?;
    }
    Ok(Vec::new())
}

/// The next blob and its file; none when there will be no more.
fn next_order(orders: &OwnedFd) -> Result<Option<(Blob, File)>, Stop> {
    let mut order = [0_u8; ORDER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut order)];
        match recvmsg(orders, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.context("hear what to push")?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let file = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let file = file.ok_or_else(report::garbled)?;
    let (digest, size) = order.split_at(32);
    let digest = Digest::from_bytes(digest.try_into().map_err(|_| report::garbled())?);
    let size = u64::from_le_bytes(size.try_into().map_err(|_| report::garbled())?);
    Ok(Some((Blob { digest, size }, File::from(file))))
}

fn write_arrival(arrival: &Arrival) -> Vec<u8> {
    match arrival {
        Arrival::Present => vec![0],
        Arrival::Sent => vec![1],
        Arrival::Mounted(from) => [&[2], from.as_bytes()].concat(),
    }
}

fn read_arrival(payload: &[u8]) -> Result<Arrival> {
    match payload.split_first() {
        Some((0, _)) => Ok(Arrival::Present),
        Some((1, _)) => Ok(Arrival::Sent),
        Some((2, from)) => Ok(Arrival::Mounted(String::from_utf8_lossy(from).into_owned())),
        _ => Err(report::garbled()),
    }
}
