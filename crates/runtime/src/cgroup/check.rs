//! What no kernel takes is refused here by name and bound, before anything is made: a value, or a name that would lead out
//! of its file.
//!
//! Docker's own bounds (a memory limit of at least 6 MiB, a reservation below the limit) count for the engine alone.

use std::fmt;

use failure::{Error, Result};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxNetwork, LinuxResources,
};

use super::limits::{Bytes, given};
use super::path::Rules;

/// Docker's lower bound: below it a process is killed before its program starts.
pub const MINIMUM_MEMORY: i64 = 6 << 20;
/// The kernel's bounds for the period and the quota of CPU time, in microseconds.
const CPU_PERIOD: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const MINIMUM_QUOTA: i64 = 1_000;
/// The kernel's own limit of process ids.
const MAXIMUM_PIDS: i64 = 4_194_304;
const BLKIO_WEIGHT: std::ops::RangeInclusive<u16> = 10..=1_000;
/// v1's bounds of `cpu.shares`, into which the kernel would press other values in silence.
pub(super) const CPU_SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
/// The highest numbers of a device.
const HIGHEST_MAJOR: i64 = (1 << 12) - 1;
const HIGHEST_MINOR: i64 = (1 << 20) - 1;
/// The longest name of a network interface, and of an RDMA device.
const LONGEST_INTERFACE: usize = 15;
const LONGEST_DEVICE: usize = 64;

/// Refuses values that no kernel takes, and combinations that make no sense.
pub(super) fn resources(resources: &LinuxResources, rules: Rules) -> Result<()> {
    if let Some(memory) = resources.memory() {
        check_memory(memory, rules)?;
    }
    if let Some(cpu) = resources.cpu() {
        check_cpu(cpu)?;
    }
    if let Some(pids) = resources.pids()
        && pids.limit() > MAXIMUM_PIDS
    {
        return Err(out_of_range("pids limit", pids.limit(), &format!("at most {MAXIMUM_PIDS}")));
    }
    if let Some(io) = resources.block_io() {
        check_block_io(io)?;
    }
    for huge in resources.hugepage_limits().iter().flatten() {
        check_page_size(huge.page_size())?;
    }
    if let Some(network) = resources.network() {
        check_network(network)?;
    }
    for name in resources.rdma().iter().flat_map(std::collections::HashMap::keys) {
        check_name("rdma device", name, LONGEST_DEVICE)?;
    }
    for (name, value) in resources.unified().iter().flatten() {
        check_unified(name, value)?;
    }
    resources.devices().iter().flatten().try_for_each(check_device)
}

/// A number that is outside of its bounds.
pub(super) fn out_of_range(option: &str, value: impl fmt::Display, bound: &str) -> Error {
    Error::invalid(format!("{option} `{value}` is out of range: it must be {bound}"))
}

fn check_memory(memory: &LinuxMemory, rules: Rules) -> Result<()> {
    let limit = given(memory.limit()).filter(|limit| *limit > 0);
    let swap = given(memory.swap()).filter(|swap| *swap > 0);
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap < limit
    {
        let reason = format!("at least the memory limit `{}`, since it is memory and swap together", Bytes(limit));
        return Err(out_of_range("memory-swap limit", Bytes(swap), &reason));
    }
    if rules == Rules::Runtime {
        return match memory.swappiness() {
            Some(swappiness) if swappiness > 200 => Err(out_of_range("memory swappiness", swappiness, "at most 200")),
            _ => Ok(()),
        };
    }
    if let Some(limit) = limit.filter(|limit| *limit < MINIMUM_MEMORY) {
        return Err(out_of_range("memory limit", Bytes(limit), "at least 6 MiB"));
    }
    if let (Some(limit), Some(reservation)) = (limit, given(memory.reservation()))
        && reservation > limit
    {
        let reason = format!("at most the memory limit `{}`", Bytes(limit));
        return Err(out_of_range("memory reservation", Bytes(reservation), &reason));
    }
    match memory.swappiness() {
        Some(swappiness) if swappiness > 100 => Err(out_of_range("memory swappiness", swappiness, "from 0 to 100")),
        _ => Ok(()),
    }
}

fn check_cpu(cpu: &LinuxCpu) -> Result<()> {
    if let Some(period) = cpu.period().filter(|period| *period != 0 && !CPU_PERIOD.contains(period)) {
        return Err(out_of_range("cpu period", period, "from 1000 to 1000000 microseconds"));
    }
    if let Some(idle) = cpu.idle().filter(|idle| !(0..=1).contains(idle)) {
        return Err(out_of_range("cpu idle", idle, "0 or 1"));
    }
    match given(cpu.quota()) {
        Some(quota) if quota > 0 && quota < MINIMUM_QUOTA => {
            Err(out_of_range("cpu quota", quota, "at least 1000 microseconds, which is `--cpus 0.01`"))
        }
        _ => Ok(()),
    }
}

fn check_block_io(io: &LinuxBlockIo) -> Result<()> {
    let devices = io.weight_device().as_deref().unwrap_or_default();
    let weights = [("blkio weight", io.weight()), ("blkio leaf weight", io.leaf_weight())];
    let of_devices = devices.iter().flat_map(|device| {
        [("blkio weight device", device.weight()), ("blkio leaf weight device", device.leaf_weight())]
    });
    let wrong = |weight: u16| weight != 0 && !BLKIO_WEIGHT.contains(&weight);
    match weights
        .into_iter()
        .chain(of_devices)
        .find_map(|(option, weight)| Some((option, weight.filter(|w| wrong(*w))?)))
    {
        Some((option, weight)) => Err(out_of_range(option, weight, "from 10 to 1000")),
        None => Ok(()),
    }
}

/// `2MB`, `1GB`, `64KB`: a size becomes a part of a file's name.
fn check_page_size(size: &str) -> Result<()> {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    match number {
        Some(number) if !number.is_empty() && number.len() < 10 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(())
        }
        _ => Err(Error::invalid(format!("huge page size `{}` is none; give one as `2MB`", size.escape_debug()))),
    }
}

fn check_network(network: &LinuxNetwork) -> Result<()> {
    network
        .priorities()
        .iter()
        .flatten()
        .try_for_each(|priority| check_name("network interface", priority.name(), LONGEST_INTERFACE))
}

fn check_name(what: &str, name: &str, longest: usize) -> Result<()> {
    if !name.is_empty() && name.len() <= longest && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is no name of a {what}", name.escape_debug())))
}

/// A file of the group itself; those that move, kill or stop processes are not for limits.
fn check_unified(name: &str, value: &str) -> Result<()> {
    const ACTIONS: [&str; 6] =
        ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type", "cgroup.subtree_control"];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let controller = name.split_once('.').map_or("", |(controller, _)| controller);
    if controller.is_empty() || name.len() > 128 || !name.bytes().all(plain) || ACTIONS.contains(&name) {
        let name = name.escape_debug();
        return Err(Error::invalid(format!("unified limit `{name}` is no limit; name a file such as `memory.high`")));
    }
    if value.len() > 4096 || value.contains('\0') {
        return Err(Error::invalid(format!("the value of the unified limit `{name}` is no text that a file takes")));
    }
    Ok(())
}

/// A number that does not fit must never come to mean "every device".
fn check_device(rule: &LinuxDeviceCgroup) -> Result<()> {
    if rule.typ() == Some(LinuxDeviceType::P) {
        return Err(Error::invalid("a device rule for FIFOs does not exist; its type is `a`, `b`, `c` or `u`"));
    }
    let access = rule.access().as_deref().unwrap_or("rwm");
    if access.is_empty() || !access.bytes().all(|letter| matches!(letter, b'r' | b'w' | b'm')) {
        let access = access.escape_debug();
        return Err(Error::invalid(format!("device rule access `{access}` is none; it is made of `r`, `w` and `m`")));
    }
    for (option, number, highest) in [("major", rule.major(), HIGHEST_MAJOR), ("minor", rule.minor(), HIGHEST_MINOR)] {
        if let Some(number) = number.filter(|number| !(-1..=highest).contains(number)) {
            return Err(out_of_range(&format!("device rule {option}"), number, &format!("from 0 to {highest}, or -1")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str, rules: Rules) -> Result<()> {
        resources(&serde_json::from_str(json).unwrap(), rules)
    }

    fn refused(json: &str) -> String {
        checked(json, Rules::Engine).unwrap_err().to_string()
    }

    #[test]
    fn what_no_kernel_takes_is_refused_with_the_bound() {
        assert_eq!(
            refused(r#"{"memory":{"limit":4194304}}"#),
            "memory limit `4m` is out of range: it must be at least 6 MiB"
        );
        assert!(refused(r#"{"memory":{"limit":67108864,"swap":33554432}}"#).starts_with("memory-swap limit `32m`"));
        assert!(refused(r#"{"memory":{"limit":67108864,"reservation":134217728}}"#).contains("`64m`"));
        assert!(refused(r#"{"cpu":{"quota":999}}"#).contains("at least 1000"));
        assert!(refused(r#"{"cpu":{"period":999}}"#).contains("from 1000 to 1000000"));
        assert!(refused(r#"{"cpu":{"period":1000001}}"#).contains("cpu period `1000001`"));
        assert!(refused(r#"{"cpu":{"idle":2}}"#).contains("0 or 1"));
        assert!(refused(r#"{"pids":{"limit":4194305}}"#).contains("4194304"));
        assert!(refused(r#"{"blockIO":{"weight":5}}"#).contains("from 10 to 1000"));
        assert!(refused(r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":5}]}}"#).contains("leaf"));
        assert!(refused(r#"{"memory":{"swappiness":101}}"#).contains("from 0 to 100"));
    }

    #[test]
    fn docker_s_bounds_are_the_engine_s_alone() {
        for json in [r#"{"memory":{"limit":524288}}"#, r#"{"memory":{"limit":67108864,"reservation":134217728}}"#] {
            assert!(checked(json, Rules::Engine).is_err() && checked(json, Rules::Runtime).is_ok(), "{json}");
        }
        assert!(checked(r#"{"memory":{"limit":67108864,"swap":33554432}}"#, Rules::Runtime).is_err());
    }

    #[test]
    fn zero_and_minus_one_are_never_out_of_range() {
        let json = r#"{"memory":{"limit":-1,"swap":-1,"reservation":0},"cpu":{"quota":-1,"period":0,"shares":0},"pids":{"limit":-1}}"#;
        assert!(checked(json, Rules::Engine).is_ok());
    }

    #[test]
    fn names_stay_in_their_file() {
        for bad in [
            r#"{"unified":{"../memory.max":"1"}}"#,
            r#"{"unified":{"cgroup.procs":"1"}}"#,
            r#"{"unified":{".max":"1"}}"#,
            r#"{"unified":{"memory":"1"}}"#,
            r#"{"unified":{"memory.max\n":"1"}}"#,
            r#"{"hugepageLimits":[{"pageSize":"2MB/../../x","limit":1}]}"#,
            r#"{"hugepageLimits":[{"pageSize":"MB","limit":1}]}"#,
            r#"{"hugepageLimits":[{"pageSize":"2mb","limit":1}]}"#,
            r#"{"network":{"priorities":[{"name":"eth0 5\n","priority":1}]}}"#,
            r#"{"network":{"priorities":[{"name":"","priority":1}]}}"#,
            r#"{"rdma":{"mlx5 hca_handle=1":{"hcaHandles":1}}}"#,
        ] {
            assert!(checked(bad, Rules::Runtime).is_err(), "{bad}");
        }
        let good = r#"{"unified":{"cgroup.max.depth":"1","memory.high":"max","io.max":"8:0 rbps=1\n8:16 wbps=2"},
            "hugepageLimits":[{"pageSize":"1GB","limit":0}],"network":{"priorities":[{"name":"eth0","priority":1}]}}"#;
        assert!(checked(good, Rules::Runtime).is_ok());
    }

    #[test]
    fn a_device_number_that_does_not_fit_is_no_wildcard() {
        for bad in [
            r#"{"allow":true,"type":"c","major":4294967297,"minor":3,"access":"r"}"#,
            r#"{"allow":true,"type":"c","major":1,"minor":1048576,"access":"r"}"#,
            r#"{"allow":true,"type":"c","major":-2,"access":"r"}"#,
            r#"{"allow":true,"access":"rx"}"#,
            r#"{"allow":true,"access":""}"#,
            r#"{"allow":true,"type":"p","access":"r"}"#,
        ] {
            assert!(checked(&format!(r#"{{"devices":[{bad}]}}"#), Rules::Runtime).is_err(), "{bad}");
        }
        assert!(checked(r#"{"devices":[{"allow":true,"major":-1,"minor":4}]}"#, Rules::Runtime).is_ok());
    }
}
