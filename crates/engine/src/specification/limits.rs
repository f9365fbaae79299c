//! What a container may use, in the specification's words.

use failure::{Error, Result};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
};

use crate::config::ContainerConfig;
use crate::request::{Resources, Ulimit};

/// Microseconds of a scheduling period, when none was asked for.
const PERIOD: u64 = 100_000;
/// The least memory that a container can start in.
const LEAST_MEMORY: u64 = 6 << 20;

/// The limits of the cgroup.
pub(crate) fn resources(config: &ContainerConfig) -> Result<LinuxResources> {
    let asked = &config.resources;
    let mut resources = LinuxResources::default();
    resources.set_memory(memory(asked)?);
    resources.set_cpu(cpu(asked)?);
    resources.set_pids(asked.pids_limit.filter(|limit| *limit > 0).map(|limit| {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        pids
    }));
    resources.set_block_io(asked.blkio_weight.filter(|weight| *weight > 0).map(|weight| {
        let mut block_io = LinuxBlockIo::default();
        block_io.set_weight(Some(weight));
        block_io
    }));
    resources.set_devices(Some(super::devices::rules(config)?));
    Ok(resources)
}

fn memory(asked: &Resources) -> Result<Option<LinuxMemory>> {
    let limit = asked.memory.filter(|limit| *limit > 0);
    if let Some(limit) = limit.filter(|limit| *limit < LEAST_MEMORY) {
        return Err(Error::invalid(format!(
            "a memory limit of {limit} bytes is below what a container needs; give at least {LEAST_MEMORY} (6m)"
        )));
    }
    let swap = match (limit, asked.memory_swap) {
        (None, Some(swap)) if swap > 0 => {
            return Err(Error::invalid("`--memory-swap` needs a limit of memory; add `--memory`"));
        }
        (Some(limit), Some(swap)) if swap > 0 && u64::try_from(swap).is_ok_and(|swap| swap < limit) => {
            return Err(Error::invalid(format!(
                "`--memory-swap` is memory and swap together: {swap} is less than the memory limit {limit}"
            )));
        }
        (Some(limit), None | Some(0)) => Some(signed(limit).saturating_mul(2)),
        (_, other) => other.filter(|swap| *swap != 0),
    };
    if let (Some(limit), Some(reservation)) = (limit, asked.memory_reservation)
        && reservation > limit
    {
        return Err(Error::invalid(format!(
            "`--memory-reservation` {reservation} is more than the memory limit {limit}; give less"
        )));
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit.map(signed));
    memory.set_swap(swap);
    memory.set_reservation(asked.memory_reservation.filter(|value| *value > 0).map(signed));
    memory.set_swappiness(asked.memory_swappiness);
    memory.set_disable_oom_killer(asked.oom_kill_disable.filter(|disable| *disable));
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

fn cpu(asked: &Resources) -> Result<Option<LinuxCpu>> {
    let mut cpu = LinuxCpu::default();
    if let Some(nano) = asked.nano_cpus.filter(|nano| *nano > 0) {
        if asked.cpu_quota.is_some() || asked.cpu_period.is_some() {
            return Err(Error::invalid("`--cpus` is a quota already; leave out `--cpu-period` and `--cpu-quota`"));
        }
        let available = available_processors();
        if nano > available.saturating_mul(1_000_000_000) {
            return Err(Error::invalid(format!(
                "`--cpus` {} is more than this machine has; give up to {available}",
                decimal(nano)
            )));
        }
        let quota = nano.saturating_mul(PERIOD) / 1_000_000_000;
        if quota < 1000 {
            return Err(Error::invalid(format!("`--cpus` {} is too little; give at least 0.01", decimal(nano))));
        }
        cpu.set_period(Some(PERIOD));
        cpu.set_quota(Some(signed(quota)));
    } else {
        cpu.set_period(asked.cpu_period.filter(|period| *period > 0));
        cpu.set_quota(asked.cpu_quota.filter(|quota| *quota != 0));
    }
    cpu.set_shares(asked.cpu_shares.filter(|shares| *shares > 0));
    cpu.set_cpus(asked.cpuset_cpus.clone().filter(|list| !list.is_empty()));
    cpu.set_mems(asked.cpuset_mems.clone().filter(|list| !list.is_empty()));
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

/// The limits of each process.
pub(crate) fn rlimits(asked: &[Ulimit]) -> Result<Vec<PosixRlimit>> {
    let one = |ulimit: &Ulimit| {
        if ulimit.soft > ulimit.hard {
            return Err(Error::invalid(format!(
                "`--ulimit {}`: the soft limit {} is above the hard limit {}",
                ulimit.name, ulimit.soft, ulimit.hard
            )));
        }
        PosixRlimitBuilder::default()
            .typ(rlimit_type(&ulimit.name)?)
            .soft(ulimit.soft)
            .hard(ulimit.hard)
            .build()
            .map_err(|error| Error::internal("describe a limit").with_source(error))
    };
    asked.iter().map(one).collect()
}

fn rlimit_type(name: &str) -> Result<PosixRlimitType> {
    format!("RLIMIT_{}", name.to_ascii_uppercase()).parse().map_err(|_| {
        Error::invalid(format!("no limit is called `{name}`; setrlimit(2) lists them: nofile, nproc, core, ..."))
    })
}

fn available_processors() -> u64 {
    std::thread::available_parallelism().map_or(u64::MAX >> 32, |count| count.get() as u64)
}

fn decimal(nano: u64) -> String {
    format!("{}", nano as f64 / 1e9)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
