//! The limits of a specification as v2's files.
//!
//! The numbers of an OCI spec are v1's; the conversions are those of runc, so that both give a container the same:
//!
//! | v1 | v2 |
//! |---|---|
//! | `cpu.shares` 2..262144 | `cpu.weight` 1..10000, a curve through 1024 -> 100 |
//! | quota and period | `cpu.max` "quota period" |
//! | memory + swap | `memory.swap.max` = swap alone |
//! | soft limit | `memory.low` |
//! | blkio weight 10..1000 | `io.bfq.weight` as it is, else `io.weight` 1..10000, a straight line |
//! | throttles | `io.max` "8:0 rbps=..." |
//! | devices.allow | a BPF program (see device.rs) |

use failure::{Error, Result};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxWeightDevice};

use super::super::Controller;
use super::super::limits::{Absent, Bytes, Setting, Throttle, given, throttles};

/// The kernel's period when none is given, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Limits that v2 does not have at all, by their v1 files.
pub(super) const V1_ONLY: [&str; 9] = [
    "memory.swappiness",
    "memory.oom_control",
    "memory.kmem.limit_in_bytes",
    "memory.kmem.tcp.limit_in_bytes",
    "memory.use_hierarchy",
    "cpu.rt_runtime_us",
    "net_cls.classid",
    "net_prio.ifpriomap",
    "blkio.leaf_weight",
];

/// What a group has now and an update that gives only half of a pair keeps.
#[derive(Default)]
pub(in super::super) struct Current {
    pub(super) memory: Option<i64>,
    pub(super) quota: Option<i64>,
    pub(super) period: Option<u64>,
}

/// The limits as v2 has them.
pub(super) fn settings(resources: &LinuxResources, current: &Current) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, current, &mut settings)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, current, &mut settings);
    }
    if let Some(limit) = given(resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit)) {
        let absent = if limit > 0 { Absent::Refuse } else { Absent::Ignore };
        settings
            .push(Setting::new(Controller::Pids, "pids.max", or_max(limit), "pids limit", limit).when_absent(absent));
    }
    weight_settings(resources, &mut settings);
    for (option, device, kind) in throttles(resources) {
        let asked = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        // Zero lifts a throttle, as in v1.
        let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
        let value = format!("{}:{} {}={rate}", device.major(), device.minor(), throttle_key(kind));
        settings.push(Setting::new(Controller::Blkio, "io.max", value, option, asked));
    }
    for huge in resources.hugepage_limits().as_deref().unwrap_or_default() {
        let setting = |name: String| {
            Setting::new(Controller::Hugetlb, name, or_max_from(huge.limit()), "huge page limit", huge.limit())
        };
        settings.push(setting(format!("hugetlb.{}.max", huge.page_size())));
        // What is reserved and not used yet counts too, where the kernel (5.7) can tell.
        settings.push(setting(format!("hugetlb.{}.rsvd.max", huge.page_size())).when_absent(Absent::Ignore));
    }
    if let Some(network) = resources.network() {
        network_settings(network, &mut settings);
    }
    settings.extend(super::super::v1::rdma(resources));
    unified_settings(resources, &mut settings);
    Ok(settings)
}

/// The user's own files, in the order of their names; each line of a value is a command of its own to the kernel.
fn unified_settings(resources: &LinuxResources, settings: &mut Vec<Setting>) {
    let mut files: Vec<(&String, &String)> = resources.unified().iter().flatten().collect();
    files.sort();
    for (name, value) in files {
        let prefix = name.split('.').next().unwrap_or_default();
        let known = Controller::ALL.into_iter().find(|controller| controller.unified_name() == Some(prefix));
        // A controller that is not known here needs no preparation, or has to be handed on by somebody else.
        let controller = known.unwrap_or(Controller::Freezer);
        for line in value.lines().filter(|line| !line.is_empty()) {
            let asked = format!("{name}={line}");
            settings.push(Setting::new(controller, name.clone(), line, "unified limit", asked));
        }
    }
}

/// v2 tells packets apart by the group itself: there are no classes to set.
fn network_settings(network: &LinuxNetwork, settings: &mut Vec<Setting>) {
    if let Some(class) = network.class_id() {
        settings.push(Setting::new(Controller::NetCls, V1_ONLY[6], class, "network class", format!("{class:#x}")));
    }
    if let Some(priority) = network.priorities().as_deref().unwrap_or_default().first() {
        settings.push(Setting::new(Controller::NetPrio, V1_ONLY[7], "", "network priority", priority.name()));
    }
}

fn memory_settings(memory: &LinuxMemory, current: &Current, settings: &mut Vec<Setting>) -> Result<()> {
    let limit = given(memory.limit());
    let swap = swap(memory, current)?;
    let mut push = |file: &'static str, value: i64, option, asked: i64, absent| {
        let absent = if value < 0 { Absent::Ignore } else { absent };
        let setting = Setting::new(Controller::Memory, file, or_max_from(value), option, Bytes(asked));
        settings.push(setting.when_absent(absent));
    };
    if let Some(swap) = swap {
        push("memory.swap.max", swap, "memory-swap limit", memory.swap().unwrap_or(swap), Absent::Warn);
    }
    if let Some(limit) = limit {
        push("memory.max", limit, "memory limit", limit, Absent::Refuse);
    }
    if let Some(reservation) = given(memory.reservation()) {
        push("memory.low", reservation, "memory reservation", reservation, Absent::Warn);
    }
    let numbers = [(2, memory.kernel(), "kernel memory limit"), (3, memory.kernel_tcp(), "kernel TCP memory limit")];
    for (file, value, option) in numbers {
        if let Some(value) = given(value) {
            push(V1_ONLY[file], value, option, value, Absent::Warn);
        }
    }
    let rest = [
        (0, memory.swappiness().map(|swappiness| swappiness.to_string()), "memory swappiness"),
        (1, memory.disable_oom_killer().filter(|disabled| *disabled).map(|_| "true".to_owned()), "oom-kill-disable"),
        // Every group counts what is below it; the other way is not to be had.
        (4, memory.use_hierarchy().filter(|shared| !shared).map(|_| "false".to_owned()), "useHierarchy"),
    ];
    for (file, value, option) in rest {
        if let Some(value) = value {
            let setting = Setting::new(Controller::Memory, V1_ONLY[file], "", option, value);
            settings.push(setting.when_absent(Absent::Warn));
        }
    }
    Ok(())
}

/// What `memory.swap.max` becomes; unlimited memory comes with unlimited swap.
pub(in super::super) fn swap(memory: &LinuxMemory, current: &Current) -> Result<Option<i64>> {
    let limit = given(memory.limit());
    let alone = swap_alone(given(memory.swap()), limit.or(current.memory))?;
    Ok(alone.or(limit.filter(|limit| *limit < 0)))
}

/// v1 counts memory and swap together, v2 counts swap alone.
fn swap_alone(together: Option<i64>, memory: Option<i64>) -> Result<Option<i64>> {
    match (together, memory) {
        (None, _) => Ok(None),
        (Some(together), _) if together < 0 => Ok(Some(-1)),
        (Some(together), Some(memory)) if memory > 0 => Ok(Some((together - memory).max(0))),
        (Some(together), _) => {
            Err(Error::invalid(format!("memory-swap limit `{}` needs a memory limit; give both", Bytes(together))))
        }
    }
}

fn cpu_settings(cpu: &LinuxCpu, current: &Current, settings: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        settings.push(Setting::new(Controller::Cpu, "cpu.weight", weight_of_shares(shares), "cpu shares", shares));
    }
    if let Some(idle) = cpu.idle() {
        settings.push(Setting::new(Controller::Cpu, "cpu.idle", idle, "cpu idle", idle).when_absent(Absent::Warn));
    }
    let (quota, period) = (given(cpu.quota()), cpu.period().filter(|period| *period != 0));
    if quota.is_some() || period.is_some() {
        let option = if quota.is_some() { "cpu quota" } else { "cpu period" };
        let asked = quota.map_or_else(|| period.unwrap_or_default().to_string(), |quota| quota.to_string());
        let quota = quota.or(current.quota).unwrap_or(-1);
        let period = period.or(current.period).unwrap_or(DEFAULT_PERIOD);
        let value = format!("{} {period}", or_max(quota));
        settings.push(Setting::new(Controller::Cpu, "cpu.max", value, option, asked));
    }
    if let Some(burst) = cpu.burst() {
        settings.push(Setting::new(Controller::Cpu, "cpu.max.burst", burst, "cpu burst", burst));
    }
    let realtime = given(cpu.realtime_runtime()).map(|time| ("cpu realtime runtime", time.to_string()));
    let period = cpu.realtime_period().filter(|time| *time != 0).map(|time| ("cpu realtime period", time.to_string()));
    for (option, time) in realtime.into_iter().chain(period) {
        settings.push(Setting::new(Controller::Cpu, V1_ONLY[5], "", option, time).when_absent(Absent::Warn));
    }
    let lists = [("cpuset.cpus", cpu.cpus(), "cpuset-cpus"), ("cpuset.mems", cpu.mems(), "cpuset-mems")];
    for (name, list, option) in lists {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            settings.push(Setting::new(Controller::Cpuset, name, list, option, list));
        }
    }
}

fn weight_settings(resources: &LinuxResources, settings: &mut Vec<Setting>) {
    let Some(io) = resources.block_io() else { return };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let setting = Setting::new(Controller::Blkio, "io.bfq.weight", weight, "blkio weight", weight);
        settings.push(setting.or("io.weight", weight_of_blkio(weight)).when_absent(Absent::Warn));
    }
    let leaf = [io.leaf_weight()].into_iter().flatten();
    let devices = io.weight_device().as_deref().unwrap_or_default();
    for weight in leaf.chain(devices.iter().filter_map(LinuxWeightDevice::leaf_weight)).filter(|weight| *weight != 0) {
        let setting = Setting::new(Controller::Blkio, V1_ONLY[8], "", "blkio leaf weight", weight);
        settings.push(setting.when_absent(Absent::Warn));
    }
    for device in devices {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
        let number = format!("{}:{}", device.major(), device.minor());
        let asked = format!("{number} {weight}");
        let setting = Setting::new(Controller::Blkio, "io.bfq.weight", &asked, "blkio weight device", &asked);
        let other = format!("{number} {}", weight_of_blkio(weight));
        settings.push(setting.or("io.weight", other).when_absent(Absent::Warn));
    }
}

/// `cpu.shares` to `cpu.weight`: the exponent is a quadratic function of the logarithm, chosen so that both ends and the
/// two defaults (1024 and 100) meet. An older straight line gave a default container a weight of 39.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
pub(in super::super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let logarithm = (shares as f64).log2();
            let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

/// `blkio.weight` 10..1000 to `io.weight` 1..10000, a straight line.
fn weight_of_blkio(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// The value, or `max` for zero and below.
fn or_max(value: i64) -> String {
    if value > 0 { value.to_string() } else { "max".to_owned() }
}

/// The value, or `max` below zero.
fn or_max_from(value: i64) -> String {
    if value >= 0 { value.to_string() } else { "max".to_owned() }
}

fn throttle_key(kind: Throttle) -> &'static str {
    match kind {
        Throttle::ReadBytes => "rbps",
        Throttle::WriteBytes => "wbps",
        Throttle::ReadOperations => "riops",
        Throttle::WriteOperations => "wiops",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_over(current: &Current, json: &str) -> Vec<String> {
        let settings = settings(&serde_json::from_str(json).unwrap(), current).unwrap();
        settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    fn written(json: &str) -> Vec<String> {
        written_over(&Current::default(), json)
    }

    #[test]
    fn limits_become_files() {
        let json = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},
            "cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1","mems":"0"},"pids":{"limit":20},
            "blockIO":{"weight":10,"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":9}]},
            "hugepageLimits":[{"pageSize":"2MB","limit":4096}],"unified":{"memory.high":"1"}}"#;
        assert_eq!(
            written(json),
            [
                "memory.swap.max=67108864",
                "memory.max=67108864",
                "memory.low=33554432",
                "cpu.weight=100",
                "cpu.max=50000 100000",
                "cpuset.cpus=0-1",
                "cpuset.mems=0",
                "pids.max=20",
                "io.bfq.weight=10",
                "io.max=8:0 wiops=9",
                "hugetlb.2MB.max=4096",
                "hugetlb.2MB.rsvd.max=4096",
                "memory.high=1",
            ]
        );
    }

    #[test]
    fn shares_meet_weights_at_both_ends_and_at_the_defaults() {
        let pairs = [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000), (512, 59), (2048, 174)];
        for (shares, weight) in pairs {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert!((3..262_144).step_by(997).all(|shares| weight_of_shares(shares) <= weight_of_shares(shares + 1)));
        assert_eq!((weight_of_blkio(10), weight_of_blkio(1000)), (1, 10_000));
    }

    #[test]
    fn swap_is_what_is_above_memory() {
        assert_eq!(written(r#"{"memory":{"limit":8388608,"swap":8388608}}"#)[0], "memory.swap.max=0");
        assert_eq!(written(r#"{"memory":{"limit":8388608,"swap":-1}}"#)[0], "memory.swap.max=max");
        assert_eq!(written(r#"{"memory":{"limit":-1}}"#), ["memory.swap.max=max", "memory.max=max"]);
        let alone = serde_json::from_str(r#"{"memory":{"swap":8388608}}"#).unwrap();
        assert!(settings(&alone, &Current::default()).unwrap_err().to_string().contains("needs a memory limit"));
    }

    #[test]
    fn an_update_keeps_the_other_half_of_a_pair() {
        let current = Current { memory: Some(16 << 20), quota: Some(20_000), period: Some(50_000) };
        assert_eq!(written_over(&current, r#"{"cpu":{"period":10000}}"#), ["cpu.max=20000 10000"]);
        assert_eq!(written_over(&current, r#"{"cpu":{"quota":-1}}"#), ["cpu.max=max 50000"]);
        assert_eq!(written_over(&current, r#"{"memory":{"swap":33554432}}"#), ["memory.swap.max=16777216"]);
    }

    #[test]
    fn unified_files_are_written_by_line() {
        let json = r#"{"unified":{"memory.high":"1","io.max":"8:0 rbps=1\n8:16 wbps=2\n","hugetlb.1GB.max":"max"}}"#;
        assert_eq!(written(json), ["hugetlb.1GB.max=max", "io.max=8:0 rbps=1", "io.max=8:16 wbps=2", "memory.high=1"]);
    }

    #[test]
    fn what_only_v1_has_is_not_lost() {
        let json = r#"{"memory":{"swappiness":1,"kernel":2,"kernelTCP":3,"disableOOMKiller":true,"useHierarchy":false},
            "cpu":{"realtimeRuntime":4},"blockIO":{"leafWeight":50},
            "network":{"classID":6,"priorities":[{"name":"eth0","priority":7}]}}"#;
        let settings = settings(&serde_json::from_str(json).unwrap(), &Current::default()).unwrap();
        let mut names: Vec<&str> = settings.iter().map(|setting| &*setting.file).collect();
        names.sort_unstable();
        let mut expected = V1_ONLY;
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert!(written(r#"{"memory":{"disableOOMKiller":false,"useHierarchy":true,"kernel":0}}"#).is_empty());
    }
}
