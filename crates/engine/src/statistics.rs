//! `stats`: what a container uses at this moment.
//!
//! The cgroup knows processor, memory, processes and disks; the network's counters are those of the namespace that
//! the first process is in, read as `/proc/<pid>/net/dev` without entering it.

use failure::{Context as _, Result};
use jiff::Timestamp;
use runtime::ContainerId;
use runtime::cgroup::{self, Cgroup};

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
    let state = crate::state::running(home, id)?;
    let stats = Cgroup::open(&cgroup::Path::of_container(id.as_ref())?)?
        .stats()
        .with_context(|| format!("read what container `{}` uses", id.short()))?;
    let pid = state.identity.map_or(0, |identity| identity.pid);
    let devices = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let (network_received, network_sent) = network_bytes(&devices);
    let machine = machine_memory();
    Ok(Sample {
        time: Timestamp::now(),
        cpu: stats.cpu_nanoseconds,
        memory: stats.memory_usage.saturating_sub(stats.memory_cache),
        memory_limit: stats.memory_limit.map_or(machine, |limit| limit.min(machine)),
        pids: stats.pids,
        block_read: stats.block_read,
        block_write: stats.block_written,
        network_received,
        network_sent,
    })
}

fn machine_memory() -> u64 {
    let information = rustix::system::sysinfo();
    information.totalram * u64::from(information.mem_unit)
}

/// Received and sent bytes of all devices but loopback: proc_pid_net(5), the first and the ninth number of a line.
fn network_bytes(devices: &str) -> (u64, u64) {
    let mut total = (0, 0);
    for line in devices.lines() {
        let Some((name, counters)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let number = |position| counters.split_whitespace().nth(position).and_then(|word| word.parse::<u64>().ok());
        total.0 += number(0).unwrap_or(0);
        total.1 += number(8).unwrap_or(0);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::network_bytes;

    #[test]
    fn loopback_does_not_count() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n  \
                    eth0: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n";
        assert_eq!(network_bytes(text), (10, 20));
    }
}
