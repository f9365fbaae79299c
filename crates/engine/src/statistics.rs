//! `stats`: what a container uses at this moment.

use failure::Result;
use jiff::Timestamp;
use runtime::ContainerId;

use crate::Home;

/// What a running container has used so far. A rate is the difference of two samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it was read.
    pub time: Timestamp,
    /// Nanoseconds of processor time.
    pub cpu: u64,
    /// Bytes of memory without the page cache that could go.
    pub memory: u64,
    /// The limit of memory: its own or the machine's.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from disks.
    pub block_read: u64,
    /// Bytes written to disks.
    pub block_write: u64,
    /// Bytes received by its network devices (loopback excluded).
    pub network_received: u64,
    /// Bytes sent.
    pub network_sent: u64,
}

/// Reads the counters of a running container.
///
/// # Errors
/// A container that does not run.
pub fn statistics(home: &Home, id: &ContainerId) -> Result<Sample> {
    let _ = (home, id);
    unimplemented!()
}
