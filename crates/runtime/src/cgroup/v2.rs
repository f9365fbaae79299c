//! v2: one directory, with every controller that its parents enabled for it.
//!
//! ```text
//!   /sys/fs/cgroup/cgroup.subtree_control       "+memory +cpu ..."   written when `skep` is made
//!   /sys/fs/cgroup/skep/cgroup.subtree_control  the same
//!   /sys/fs/cgroup/skep/<id>/memory.max ...     the limits
//! ```
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

use std::os::fd::{AsFd, OwnedFd};

use failure::{Context, Error, Kind, Result};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::limits::{Absent, Bytes, Setting, Throttle, given, throttles};
use super::{Controller, Path, Stats, cpuset, device, file, host, limits, tree};

/// The kernel's period when none is given, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;
/// What a container may need; those that the kernel lacks are not asked for.
const CONTROLLERS: [&str; 6] = ["cpu", "memory", "pids", "io", "cpuset", "hugetlb"];

/// A group: its directory.
#[derive(Debug)]
pub(super) struct Group {
    directory: String,
}

/// What a group has now and an update that gives only half of a pair keeps.
#[derive(Default)]
struct Current {
    memory: Option<i64>,
    quota: Option<i64>,
    period: Option<u64>,
}

/// Makes the directory and sets the limits; what was made is removed again on failure.
pub(super) fn create(path: &Path, resources: &LinuxResources, wanted: &[Controller]) -> Result<(Group, Vec<String>)> {
    let group = Group { directory: format!("{}{}", host::ROOT, path.as_str()) };
    tree::make(host::ROOT, path, |_| Ok(()))?;
    match group.fill(path, resources, wanted) {
        Ok(warnings) => Ok((group, warnings)),
        Err(error) => {
            // The failure that matters is the first one; a directory without processes can always be removed.
            let _ = group.remove();
            Err(error)
        }
    }
}

/// Finds the group.
pub(super) fn open(path: &Path) -> Result<Group> {
    let directory = format!("{}{}", host::ROOT, path.as_str());
    match rustix::fs::stat(&*directory) {
        Ok(_) => Ok(Group { directory }),
        Err(Errno::NOENT) => Err(Error::not_found(format!("no control group `{}`", path.as_str()))),
        Err(errno) => Err(errno).with_context(|| format!("find the control group `{directory}`")),
    }
}

impl Group {
    /// The directory, which clone3 takes.
    pub(super) fn open_directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, &*self.directory, flags, Mode::empty())
            .with_context(|| format!("open `{}`", self.directory))
    }

    pub(super) fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        self.check_cpuset(resources)?;
        let settings = settings(resources, &self.current())?;
        limits::apply(settings, |_| Some(&*self.directory))
    }

    pub(super) fn set_frozen(&self, frozen: bool) -> Result<()> {
        let path = format!("{}/cgroup.freeze", self.directory);
        file::write(&path, if frozen { "1" } else { "0" }).with_context(|| format!("write `{path}`"))
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        let path = format!("{}/cgroup.events", self.directory);
        let text = file::read(&path).with_context(|| format!("read `{path}`"))?;
        Ok(file::keyed(&text, "frozen") == Some(1))
    }

    pub(super) fn stats(&self) -> Stats {
        let path = |name: &str| format!("{}/{name}", self.directory);
        let number = |name: &str| file::read_number(&path(name)).unwrap_or(0);
        let text = |name: &str| file::read(&path(name)).unwrap_or_default();
        let cpu = text("cpu.stat");
        let time = |key: &str| file::keyed(&cpu, key).unwrap_or(0).saturating_mul(1000);
        let io = text("io.stat");
        Stats {
            memory_usage: number("memory.current"),
            memory_limit: file::read_limit(&path("memory.max")).ok().flatten(),
            memory_cache: file::keyed(&text("memory.stat"), "inactive_file").unwrap_or(0),
            cpu_nanoseconds: time("usage_usec"),
            cpu_user_nanoseconds: time("user_usec"),
            cpu_system_nanoseconds: time("system_usec"),
            pids: number("pids.current"),
            pids_limit: file::read_limit(&path("pids.max")).ok().flatten(),
            block_read: sum_of(&io, "rbytes="),
            block_written: sum_of(&io, "wbytes="),
        }
    }

    pub(super) fn oom_kills(&self) -> Result<u64> {
        let path = format!("{}/memory.events", self.directory);
        let text = file::read(&path).with_context(|| format!("read `{path}`"))?;
        Ok(file::keyed(&text, "oom_kill").unwrap_or(0))
    }

    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// Kills all at once; `false` where the kernel is older than 5.14 and cannot.
    pub(super) fn kill(&self) -> Result<bool> {
        match file::write(&format!("{}/cgroup.kill", self.directory), "1") {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("write `{}/cgroup.kill`", self.directory)),
        }
    }

    pub(super) fn remove(&self) -> Result<()> {
        tree::remove(&self.directory)
    }

    fn fill(&self, path: &Path, resources: &LinuxResources, wanted: &[Controller]) -> Result<Vec<String>> {
        let settings = settings(resources, &Current::default())?;
        // A parent made just now, or by somebody else, does not hand on every controller yet.
        if settings.iter().chain(&probes()).any(|setting| !self.has(&setting.file)) {
            enable(path)?;
        }
        self.check_cpuset(resources)?;
        let warnings = limits::apply(settings, |_| Some(&*self.directory))?;
        if wanted.contains(&Controller::Devices) {
            let rules = resources.devices().as_deref().unwrap_or_default();
            if !rules.is_empty() {
                self.attach_devices(&device::program(rules))?;
            }
        }
        Ok(warnings)
    }

    fn has(&self, name: &str) -> bool {
        rustix::fs::stat(&*format!("{}/{name}", self.directory)).is_ok()
    }

    fn attach_devices(&self, program: &[u64]) -> Result<()> {
        let directory = self.open_directory()?;
        let loaded = sys::bpf::load_device_program(program).context("load the program of the device rules")?;
        sys::bpf::attach_device_program(loaded.as_fd(), directory.as_fd())
            .with_context(|| format!("attach the device rules to `{}`", self.directory))
    }

    fn check_cpuset(&self, resources: &LinuxResources) -> Result<()> {
        let Some(cpu) = resources.cpu() else { return Ok(()) };
        let parent = self.directory.rsplit_once('/').map_or(host::ROOT, |(parent, _)| parent);
        let options = [
            ("cpuset-cpus", cpu.cpus(), "cpuset.cpus.effective"),
            ("cpuset-mems", cpu.mems(), "cpuset.mems.effective"),
        ];
        for (option, wanted, name) in options {
            let Some(wanted) = wanted.as_deref().filter(|list| !list.is_empty()) else { continue };
            // Without the controller there is nothing to check against; the write will say so.
            let available = file::read(&format!("{parent}/{name}")).unwrap_or_default();
            cpuset::check(option, wanted, &available)?;
        }
        Ok(())
    }

    fn current(&self) -> Current {
        let text = file::read(&format!("{}/cpu.max", self.directory)).unwrap_or_default();
        let mut words = text.split_whitespace();
        let quota = words.next().and_then(|word| word.parse().ok());
        let period = words.next().and_then(|word| word.parse().ok());
        let memory = file::read_limit(&format!("{}/memory.max", self.directory)).ok().flatten();
        Current { memory: memory.map(u64::cast_signed), quota, period }
    }
}

/// The files whose presence says that the default controllers are handed on.
fn probes() -> [Setting; 2] {
    let probe = |controller, file: &'static str| Setting::new(controller, file, "", "", "");
    [probe(Controller::Memory, "memory.max"), probe(Controller::Pids, "pids.max")]
}

/// Hands the controllers on from the root to the group, in each parent on the way.
fn enable(path: &Path) -> Result<()> {
    let mut parent = host::ROOT.to_owned();
    for component in path.as_str().split('/').skip(1) {
        enable_in(&parent)?;
        parent = format!("{parent}/{component}");
    }
    Ok(())
}

fn enable_in(parent: &str) -> Result<()> {
    let read = |name: &str| file::read(&format!("{parent}/{name}")).with_context(|| format!("read `{parent}/{name}`"));
    let (available, enabled) = (read("cgroup.controllers")?, read("cgroup.subtree_control")?);
    let named = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
    for name in CONTROLLERS.iter().filter(|name| named(&available, name) && !named(&enabled, name)) {
        match file::write(&format!("{parent}/cgroup.subtree_control"), &format!("+{name}")) {
            Ok(()) => {}
            Err(Errno::BUSY) => {
                let reason = format!("`{parent}` has processes of its own and cannot hand on `{name}`");
                return Err(Error::new(Kind::Busy, format!("{reason}; move them to a group below it")));
            }
            Err(errno) => return Err(errno).with_context(|| format!("enable `{name}` in `{parent}`")),
        }
    }
    Ok(())
}

/// The limits as v2 has them.
fn settings(resources: &LinuxResources, current: &Current) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, current, &mut settings)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, current, &mut settings);
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit) {
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
        let name = format!("hugetlb.{}.max", huge.page_size());
        settings.push(Setting::new(Controller::Hugetlb, name, huge.limit(), "huge page limit", huge.limit()));
    }
    for (name, value) in resources.unified().iter().flatten() {
        if name.contains('/') || name.starts_with("cgroup.") {
            return Err(Error::invalid(format!(
                "unified limit `{name}` is no limit; name a file such as `memory.high`"
            )));
        }
        settings.push(Setting::new(
            Controller::Memory,
            name.clone(),
            value,
            "unified limit",
            format!("{name}={value}"),
        ));
    }
    Ok(settings)
}

fn memory_settings(memory: &LinuxMemory, current: &Current, settings: &mut Vec<Setting>) -> Result<()> {
    let limit = given(memory.limit());
    let swap = swap_alone(given(memory.swap()), limit.or(current.memory))?.or(limit.filter(|limit| *limit < 0));
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
    Ok(())
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
    for device in io.weight_device().as_deref().unwrap_or_default() {
        let Some(weight) = device.weight() else { continue };
        let number = format!("{}:{}", device.major(), device.minor());
        let asked = format!("{number} {weight}");
        let setting = Setting::new(Controller::Blkio, "io.bfq.weight", &asked, "blkio weight device", &asked);
        settings
            .push(setting.or("io.weight", format!("{number} {}", weight_of_blkio(weight))).when_absent(Absent::Warn));
    }
}

/// `cpu.shares` to `cpu.weight`: the exponent is a quadratic function of the logarithm, chosen so that both ends and the
/// two defaults (1024 and 100) meet. An older straight line gave a default container a weight of 39.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
fn weight_of_shares(shares: u64) -> u64 {
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

/// The sum of `8:0 rbytes=4096 wbytes=...` over all devices.
fn sum_of(text: &str, key: &str) -> u64 {
    let numbers = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    numbers.fold(0, u64::saturating_add)
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
    fn a_unified_limit_stays_in_its_group() {
        for name in ["../memory.max", "cgroup.procs"] {
            let json = format!(r#"{{"unified":{{"{name}":"1"}}}}"#);
            assert!(settings(&serde_json::from_str(&json).unwrap(), &Current::default()).is_err(), "{name}");
        }
    }
}
