//! What it may use: memory, processors, processes, disks.

use crate::exit::{Outcome, Stop};
use crate::values::{Parsed, bytes, processors, ulimit};
use clap::Args;
use engine::Request;
use engine::request::{Resources, Ulimit};

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Limits {
    /// Memory limit: 64m, 1g
    #[arg(short, long, value_name = "BYTES", value_parser = bytes::size)]
    memory: Option<u64>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = bytes::swap, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Soft limit of memory
    #[arg(long, value_name = "BYTES", value_parser = bytes::size)]
    memory_reservation: Option<u64>,
    /// How readily its memory is swapped out, 0 to 100; -1 for the machine's setting
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    memory_swappiness: Option<i64>,
    /// Do not kill it for memory: let it wait
    #[arg(long)]
    oom_kill_disable: bool,
    /// How readily the kernel kills it when the machine's memory runs out, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// Number of processors: 0.5, 2
    #[arg(long, value_name = "NUMBER", value_parser = processors::cpus)]
    cpus: Option<u64>,
    /// Relative weight among containers that compete
    #[arg(short, long, value_name = "NUMBER")]
    cpu_shares: Option<u64>,
    /// Microseconds of a scheduling period
    #[arg(long, value_name = "MICROS")]
    cpu_period: Option<u64>,
    /// Microseconds of processor time in a period
    #[arg(long, value_name = "MICROS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Processors it may run on: 0-3, 0,1
    #[arg(long, value_name = "LIST", value_parser = set)]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST", value_parser = set)]
    cpuset_mems: Option<String>,
    /// Processes and threads at once; -1 for unlimited
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Relative weight of disk access, 10 to 1000
    #[arg(long, value_name = "NUMBER")]
    blkio_weight: Option<u16>,
    /// Limit of each process: nofile=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT", value_parser = ulimit::ulimit)]
    ulimit: Vec<Ulimit>,
}

impl Limits {
    pub(super) fn apply(self, request: &mut Request) -> Outcome<()> {
        if self.cpus.is_some_and(|cpus| cpus > 0) {
            for (given, name) in [(self.cpu_period.is_some(), "period"), (self.cpu_quota.is_some(), "quota")] {
                if given {
                    return Err(Stop::Usage(format!(
                        "conflicting options: --cpus and --cpu-{name} cannot both be set"
                    )));
                }
            }
        }
        if let Some(score) = self.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
            let line = format!("invalid value {score}, range for oom score adj is [-1000, 1000]");
            return Err(Stop::Usage(line));
        }
        let swappiness = match self.memory_swappiness {
            None | Some(-1) => None,
            Some(value @ 0..=100) => Some(value.unsigned_abs()),
            Some(value) => {
                return Err(Stop::Usage(format!("invalid value: {value}, valid memory swappiness range is 0-100")));
            }
        };
        if let Some(weight) = self.blkio_weight.filter(|weight| *weight != 0 && !(10..=1000).contains(weight)) {
            return Err(Stop::Usage(format!("range of blkio weight is from 10 to 1000, not {weight}")));
        }
        // Docker's way to say "not given" is 0 for most of these.
        request.resources = Resources {
            memory: self.memory.filter(|bytes| *bytes > 0),
            memory_swap: self.memory_swap.filter(|bytes| *bytes != 0),
            memory_reservation: self.memory_reservation.filter(|bytes| *bytes > 0),
            memory_swappiness: swappiness,
            oom_kill_disable: self.oom_kill_disable.then_some(true),
            nano_cpus: self.cpus.filter(|nano| *nano > 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpu_period: self.cpu_period.filter(|period| *period > 0),
            cpu_quota: self.cpu_quota.filter(|quota| *quota != 0),
            cpuset_cpus: self.cpuset_cpus.filter(|list| !list.is_empty()),
            cpuset_mems: self.cpuset_mems.filter(|list| !list.is_empty()),
            pids_limit: self.pids_limit.filter(|limit| *limit != 0),
            blkio_weight: self.blkio_weight.filter(|weight| *weight > 0),
        };
        request.oom_score_adjust = self.oom_score_adj;
        request.ulimits = self.ulimit;
        Ok(())
    }
}

/// A list such as `0-3,5`.
fn set(text: &str) -> Parsed<String> {
    let number = |text: &str| text.parse::<u32>().ok();
    let good = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(part).is_some(),
    };
    if text.is_empty() || text.split(',').all(good) {
        Ok(text.into())
    } else {
        Err(format!("'{text}' is no list such as 0-3,5"))
    }
}
