//! Processes that carry blobs somewhere else, one blob after the other each, over connections of their own.
//!
//! ```text
//! this process --- order: digest[32] length:u64 (one packet) ---> carrier ---> where the blobs go
//!              <-- progress, said(how it arrived), failed --------
//! ```
//!
//! A carrier stays for several blobs, because a connection costs more than a small blob. It opens what it is told to
//! carry in the store, and ends when nobody can give it orders any more.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use failure::{Context, Error, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::process::{Child, Heard, Stop, spawn_unconfined};
use super::report;
use crate::push::{Arrival, Blob, Destination};
use crate::{Digest, Store};

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
    pub(crate) fn start(store: &Store, destination: &mut dyn Destination) -> Result<Self> {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (orders, receiver) = pair.context("make a socket pair")?;
        let keep = [receiver.as_raw_fd(), store.directory().as_fd().as_raw_fd()];
        let child = spawn_unconfined(&keep, |parent| work(store, destination, &receiver, parent))?;
        Ok(Self { child, orders })
    }

    /// What is readable when it has something to tell.
    pub(crate) fn report(&self) -> BorrowedFd<'_> {
        self.child.report.as_fd()
    }

    /// Gives it a blob to carry; it must have none.
    pub(crate) fn order(&self, blob: &Blob) -> Result<()> {
        let mut order = blob.digest.as_bytes().to_vec();
        order.extend(blob.size.to_le_bytes());
        let sent = rustix::io::retry_on_intr(|| send(&self.orders, &order, SendFlags::NOSIGNAL));
        sent.map(drop).context("tell a process what to push")
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
fn work(
    store: &Store,
    destination: &mut dyn Destination,
    orders: &OwnedFd,
    parent: BorrowedFd<'_>,
) -> Result<Vec<u8>, Stop> {
    while let Some(blob) = next_order(orders)? {
        let file = store.open_blob(&blob.digest)?;
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

fn next_order(orders: &OwnedFd) -> Result<Option<Blob>, Stop> {
    let mut order = [0_u8; ORDER];
    loop {
        match recv(orders, &mut order, RecvFlags::empty()) {
            Ok((ORDER, _)) => break,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return Ok(None),
        }
    }
    let (digest, size) = order.split_at(32);
    let digest = Digest::from_bytes(digest.try_into().map_err(|_| report::garbled())?);
    let size = u64::from_le_bytes(size.try_into().map_err(|_| report::garbled())?);
    Ok(Some(Blob { digest, size }))
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
