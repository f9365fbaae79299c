//! v1: a directory of the same path in each hierarchy that is used.
//!
//! A hierarchy holds one controller, or several that were mounted together; a directory is made once in each. Three
//! traps of v1 are met here:
//! - a process joins by writing to `tasks`, itself, before it has threads: writing `cgroup.procs` takes a lock over
//!   all processes of the machine, which costs milliseconds when it is busy;
//! - a new cpuset group has no CPUs and no memory nodes, and nobody can join it: they are copied from the parent, for
//!   every group on the way down;
//! - the freezer may stay "FREEZING" while processes fork: it is told again until all stand.

use std::os::fd::OwnedFd;

use failure::{Context, Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};
use rustix::fs::{CWD, Mode, OFlags};

use super::host::{self, Hierarchy};
use super::limits::{Absent, Bytes, Setting, Throttle, given, throttles};
use super::{Controller, Path, Stats, cpuset, device, file, limits, tree};

/// A group: its directory in every hierarchy.
#[derive(Debug)]
pub(super) struct Group {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    directory: String,
    controllers: Vec<Controller>,
}

/// Makes the directories and sets the limits; what was made is removed again on failure.
pub(super) fn create(path: &Path, resources: &LinuxResources, wanted: &[Controller]) -> Result<(Group, Vec<String>)> {
    let hierarchies = host::hierarchies(wanted);
    if hierarchies.is_empty() {
        return Err(Error::unsupported(format!("no control group hierarchy is mounted below `{}`", host::ROOT)));
    }
    let mut group = Group { places: Vec::with_capacity(hierarchies.len()) };
    let made = group.make(path, hierarchies).and_then(|()| group.fill(resources, wanted));
    match made {
        Ok(warnings) => Ok((group, warnings)),
        Err(error) => {
            // The failure that matters is the first one; a directory without processes can always be removed.
            let _ = group.remove();
            Err(error)
        }
    }
}

/// Finds the group in the hierarchies that have it.
pub(super) fn open(path: &Path) -> Result<Group> {
    let places: Vec<Place> = host::hierarchies(&Controller::ALL)
        .into_iter()
        .map(|hierarchy| place(&hierarchy.root, path, hierarchy.controllers))
        .filter(|place| rustix::fs::stat(&*place.directory).is_ok())
        .collect();
    if places.is_empty() {
        return Err(Error::not_found(format!("no control group `{}`", path.as_str())));
    }
    Ok(Group { places })
}

impl Group {
    /// What is in each hierarchy, and where.
    pub(super) fn places(&self) -> impl Iterator<Item = (&[Controller], &str)> {
        self.places.iter().map(|place| (&*place.controllers, &*place.directory))
    }

    /// The `tasks` files, in each of which the new process writes "0".
    pub(super) fn tasks(&self) -> Result<Vec<OwnedFd>> {
        let open = |place: &Place| {
            let path = format!("{}/tasks", place.directory);
            rustix::fs::openat(CWD, &*path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .with_context(|| format!("open `{path}`"))
        };
        self.places.iter().map(open).collect()
    }

    pub(super) fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        self.check_cpuset(resources)?;
        limits::apply(settings(resources), |controller| self.directory(controller))
    }

    pub(super) fn set_frozen(&self, frozen: bool) -> Result<()> {
        let value = if frozen { "FROZEN" } else { "THAWED" };
        let path = format!("{}/freezer.state", self.required(Controller::Freezer)?);
        file::write(&path, value).with_context(|| format!("write `{path}`"))
    }

    /// Whether all stand; "FREEZING" is not yet.
    pub(super) fn is_frozen(&self) -> Result<bool> {
        let path = format!("{}/freezer.state", self.required(Controller::Freezer)?);
        Ok(file::read(&path).with_context(|| format!("read `{path}`"))?.trim() == "FROZEN")
    }

    pub(super) fn stats(&self) -> Stats {
        let number = |controller, name: &str| {
            self.directory(controller).and_then(|at| file::read_number(&format!("{at}/{name}")).ok()).unwrap_or(0)
        };
        let limit = |controller, name: &str| {
            self.directory(controller).and_then(|at| file::read_limit(&format!("{at}/{name}")).ok()).flatten()
        };
        let memory = self.text(Controller::Memory, "memory.stat");
        let blkio = self.text(Controller::Blkio, "blkio.throttle.io_service_bytes_recursive");
        Stats {
            memory_usage: number(Controller::Memory, "memory.usage_in_bytes"),
            memory_limit: limit(Controller::Memory, "memory.limit_in_bytes"),
            memory_cache: file::keyed(&memory, "total_inactive_file").unwrap_or(0),
            cpu_nanoseconds: number(Controller::Cpuacct, "cpuacct.usage"),
            cpu_user_nanoseconds: number(Controller::Cpuacct, "cpuacct.usage_user"),
            cpu_system_nanoseconds: number(Controller::Cpuacct, "cpuacct.usage_sys"),
            pids: number(Controller::Pids, "pids.current"),
            pids_limit: limit(Controller::Pids, "pids.max"),
            block_read: sum_of(&blkio, "Read"),
            block_written: sum_of(&blkio, "Write"),
        }
    }

    pub(super) fn oom_kills(&self) -> Result<u64> {
        let path = format!("{}/memory.oom_control", self.required(Controller::Memory)?);
        let text = file::read(&path).with_context(|| format!("read `{path}`"))?;
        Ok(file::keyed(&text, "oom_kill").unwrap_or(0))
    }

    /// One of the directories; all have the same processes.
    pub(super) fn any_directory(&self) -> Option<&str> {
        self.places.first().map(|place| &*place.directory)
    }

    /// Removes every directory; goes on after a failure, and returns the first.
    pub(super) fn remove(&self) -> Result<()> {
        let remove = |place: &Place| tree::remove(&place.directory);
        self.places.iter().rev().map(remove).fold(Ok(()), Result::and)
    }

    fn directory(&self, controller: Controller) -> Option<&str> {
        self.places.iter().find(|place| place.controllers.contains(&controller)).map(|place| &*place.directory)
    }

    fn required(&self, controller: Controller) -> Result<&str> {
        self.directory(controller).ok_or_else(|| {
            Error::unsupported(format!("the control group has no `{}` controller on this machine", controller.name()))
        })
    }

    fn text(&self, controller: Controller, name: &str) -> String {
        self.directory(controller).and_then(|at| file::read(&format!("{at}/{name}")).ok()).unwrap_or_default()
    }

    fn make(&mut self, path: &Path, hierarchies: Vec<Hierarchy>) -> Result<()> {
        for Hierarchy { root, controllers } in hierarchies {
            let inherit = controllers.contains(&Controller::Cpuset);
            let place = place(&root, path, controllers);
            tree::make(&root, path, |directory| if inherit { inherit_cpuset(directory) } else { Ok(()) })?;
            self.places.push(place);
        }
        Ok(())
    }

    fn fill(&self, resources: &LinuxResources, wanted: &[Controller]) -> Result<Vec<String>> {
        self.check_cpuset(resources)?;
        let warnings = limits::apply(settings(resources), |controller| self.directory(controller))?;
        if wanted.contains(&Controller::Devices) {
            let directory = self.required(Controller::Devices)?;
            for (name, line) in device::v1_lines(resources.devices().as_deref().unwrap_or_default()) {
                file::write(&format!("{directory}/{name}"), &line)
                    .with_context(|| format!("device rule `{line}`: write `{name}`"))?;
            }
        }
        Ok(warnings)
    }

    /// The parent's CPUs and nodes bound what a group can have.
    fn check_cpuset(&self, resources: &LinuxResources) -> Result<()> {
        let Some(cpu) = resources.cpu() else { return Ok(()) };
        for (option, wanted, name) in
            [("cpuset-cpus", cpu.cpus(), "cpuset.cpus"), ("cpuset-mems", cpu.mems(), "cpuset.mems")]
        {
            let Some(wanted) = wanted.as_deref().filter(|list| !list.is_empty()) else { continue };
            let directory = self.required(Controller::Cpuset)?;
            let parent = directory.rsplit_once('/').map_or(directory, |(parent, _)| parent);
            cpuset::check(
                option,
                wanted,
                &file::read(&format!("{parent}/{name}")).context("read the parent's cpuset")?,
            )?;
        }
        Ok(())
    }
}

fn place(root: &str, path: &Path, controllers: Vec<Controller>) -> Place {
    Place { directory: format!("{root}{}", path.as_str()), controllers }
}

/// Gives a new cpuset group its parent's CPUs and memory nodes.
fn inherit_cpuset(directory: &str) -> rustix::io::Result<()> {
    let parent = directory.rsplit_once('/').map_or(directory, |(parent, _)| parent);
    for name in ["cpuset.cpus", "cpuset.mems"] {
        file::write(&format!("{directory}/{name}"), file::read(&format!("{parent}/{name}"))?.trim())?;
    }
    Ok(())
}

/// The sum of `8:0 Read 4096` over all devices.
fn sum_of(text: &str, direction: &str) -> u64 {
    let bytes = |line: &str| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == direction).then(|| words.next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(bytes).fold(0, u64::saturating_add)
}

/// The limits as v1 has them.
fn settings(resources: &LinuxResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut settings);
    }
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut settings);
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit) {
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        let absent = if limit > 0 { Absent::Refuse } else { Absent::Ignore };
        settings.push(Setting::new(Controller::Pids, "pids.max", value, "pids limit", limit).when_absent(absent));
    }
    if let Some(io) = resources.block_io() {
        weight_settings(io, &mut settings);
    }
    for (option, device, kind) in throttles(resources) {
        let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        settings.push(Setting::new(Controller::Blkio, throttle_file(kind), &value, option, &value));
    }
    for huge in resources.hugepage_limits().as_deref().unwrap_or_default() {
        let name = format!("hugetlb.{}.limit_in_bytes", huge.page_size());
        settings.push(Setting::new(Controller::Hugetlb, name, huge.limit(), "huge page limit", huge.limit()));
    }
    settings
}

fn memory_settings(memory: &LinuxMemory, settings: &mut Vec<Setting>) {
    let mut push = |file: &'static str, value: i64, option, absent| {
        let absent = if value < 0 { Absent::Ignore } else { absent };
        settings.push(Setting::new(Controller::Memory, file, value, option, Bytes(value)).when_absent(absent));
    };
    let limit = given(memory.limit());
    if let Some(limit) = limit {
        push("memory.limit_in_bytes", limit, "memory limit", Absent::Refuse);
    }
    // Unlimited memory needs unlimited memory and swap.
    let swap = given(memory.swap()).or(limit.filter(|limit| *limit < 0));
    if let Some(swap) = swap {
        push("memory.memsw.limit_in_bytes", swap, "memory-swap limit", Absent::Warn);
    }
    if let Some(reservation) = given(memory.reservation()) {
        push("memory.soft_limit_in_bytes", reservation, "memory reservation", Absent::Warn);
    }
    if let Some(kernel) = given(memory.kernel_tcp()) {
        push("memory.kmem.tcp.limit_in_bytes", kernel, "kernel TCP memory limit", Absent::Warn);
    }
    if let Some(swappiness) = memory.swappiness() {
        let setting =
            Setting::new(Controller::Memory, "memory.swappiness", swappiness, "memory swappiness", swappiness);
        settings.push(setting.when_absent(Absent::Warn));
    }
    if memory.disable_oom_killer() == Some(true) {
        let setting = Setting::new(Controller::Memory, "memory.oom_control", 1, "oom-kill-disable", true);
        settings.push(setting.when_absent(Absent::Warn));
    }
}

fn cpu_settings(cpu: &LinuxCpu, settings: &mut Vec<Setting>) {
    let mut push = |controller, file: &'static str, value: Option<String>, option| {
        if let Some(value) = value {
            settings.push(Setting::new(controller, file, &value, option, &value));
        }
    };
    let number = |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    push(Controller::Cpu, "cpu.shares", number(cpu.shares()), "cpu shares");
    push(Controller::Cpu, "cpu.cfs_period_us", number(cpu.period()), "cpu period");
    push(Controller::Cpu, "cpu.cfs_quota_us", given(cpu.quota()).map(|quota| quota.to_string()), "cpu quota");
    push(Controller::Cpu, "cpu.cfs_burst_us", cpu.burst().map(|burst| burst.to_string()), "cpu burst");
    push(Controller::Cpu, "cpu.idle", cpu.idle().map(|idle| idle.to_string()), "cpu idle");
    push(Controller::Cpu, "cpu.rt_period_us", number(cpu.realtime_period()), "cpu realtime period");
    let runtime = given(cpu.realtime_runtime()).map(|runtime| runtime.to_string());
    push(Controller::Cpu, "cpu.rt_runtime_us", runtime, "cpu realtime runtime");
    push(Controller::Cpuset, "cpuset.cpus", text(cpu.cpus()), "cpuset-cpus");
    push(Controller::Cpuset, "cpuset.mems", text(cpu.mems()), "cpuset-mems");
}

/// Weights are of the BFQ scheduler in newer kernels and of CFQ in older ones; many kernels have neither.
fn weight_settings(io: &LinuxBlockIo, settings: &mut Vec<Setting>) {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let setting = Setting::new(Controller::Blkio, "blkio.bfq.weight", weight, "blkio weight", weight);
        settings.push(setting.or("blkio.weight", weight).when_absent(Absent::Warn));
    }
    for device in io.weight_device().as_deref().unwrap_or_default() {
        let Some(weight) = device.weight() else { continue };
        let value = format!("{}:{} {weight}", device.major(), device.minor());
        let setting = Setting::new(Controller::Blkio, "blkio.bfq.weight_device", &value, "blkio weight device", &value);
        settings.push(setting.or("blkio.weight_device", &value).when_absent(Absent::Warn));
    }
}

fn throttle_file(kind: Throttle) -> &'static str {
    match kind {
        Throttle::ReadBytes => "blkio.throttle.read_bps_device",
        Throttle::WriteBytes => "blkio.throttle.write_bps_device",
        Throttle::ReadOperations => "blkio.throttle.read_iops_device",
        Throttle::WriteOperations => "blkio.throttle.write_iops_device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> Vec<String> {
        let settings = settings(&serde_json::from_str(json).unwrap());
        settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn limits_become_files() {
        let json = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432,"swappiness":10},
            "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0-1","mems":"0"},"pids":{"limit":20},
            "blockIO":{"weight":300,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}]}}"#;
        assert_eq!(
            written(json),
            [
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=134217728",
                "memory.soft_limit_in_bytes=33554432",
                "memory.swappiness=10",
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0-1",
                "cpuset.mems=0",
                "pids.max=20",
                "blkio.bfq.weight=300",
                "blkio.throttle.read_bps_device=8:0 1048576",
            ]
        );
    }

    #[test]
    fn unlimited_and_unset() {
        assert_eq!(
            written(r#"{"memory":{"limit":-1},"cpu":{"quota":-1,"shares":0,"period":0},"pids":{"limit":-1}}"#),
            ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1", "cpu.cfs_quota_us=-1", "pids.max=max"]
        );
        assert_eq!(written(r#"{"memory":{"limit":0,"swap":0},"cpu":{"cpus":""}}"#), [""; 0]);
    }

    #[test]
    fn block_bytes_are_summed_over_devices() {
        let text = "8:0 Read 100\n8:0 Write 7\n8:0 Total 107\n8:16 Read 1\nTotal 108\n";
        assert_eq!((sum_of(text, "Read"), sum_of(text, "Write")), (101, 7));
    }
}
