//! v1: a directory of the same path in each hierarchy that is used.
//!
//! A hierarchy holds one controller, or several that were mounted together; a directory is made once in each. Three
//! traps of v1 are met here:
//! - a process joins by writing to `tasks`, itself, before it has threads: writing `cgroup.procs` takes a lock over
//!   all processes of the machine, which costs milliseconds when it is busy;
//! - a new cpuset group has no CPUs and no memory nodes, and nobody can join it: they are copied from the parent, for
//!   every group on the way down;
//! - the freezer may stay "FREEZING" while processes fork: it is told again until all stand.

mod settings;

use std::os::fd::OwnedFd;

use failure::{Context, Error, Result};
use oci_spec::runtime::LinuxResources;
use rustix::fs::{CWD, Mode, OFlags};

use super::host::{self, Hierarchy};
use super::limits::Setting;
use super::path::Rules;
use super::tree::{Existing, Made};
use super::{Controller, Path, Stats, check, cpuset, device, file, limits, tree};

pub(super) use settings::rdma;

/// A group: its directory in every hierarchy.
#[derive(Debug)]
pub(super) struct Group {
    places: Vec<Place>,
    rules: Rules,
}

#[derive(Debug)]
struct Place {
    directory: String,
    controllers: Vec<Controller>,
    /// Whether it was made here, and is to be undone if something fails.
    made: Made,
}

/// Makes the directories and sets the limits; what was made is removed again on failure.
pub(super) fn create(
    path: &Path,
    resources: &LinuxResources,
    wanted: &[Controller],
    existing: Existing,
) -> Result<(Group, Vec<String>)> {
    let hierarchies = host::hierarchies(wanted);
    if hierarchies.is_empty() {
        return Err(Error::unsupported(format!("no control group hierarchy is mounted below `{}`", host::ROOT)));
    }
    let settings = limits::under(path.rules, settings(resources)?);
    refuse(path, &hierarchies, resources, &settings)?;
    let devices = match wanted.contains(&Controller::Devices) {
        true => device::v1_lines(&device_rules(path.rules, resources))?,
        false => Vec::new(),
    };
    let mut group = Group { places: Vec::with_capacity(hierarchies.len()), rules: path.rules };
    let made = group.make(path, hierarchies, existing).and_then(|()| group.fill(settings, &devices));
    match made {
        Ok(warnings) => Ok((group, warnings)),
        Err(error) => {
            group.places.iter().rev().for_each(|place| place.made.undo(&place.directory));
            Err(error)
        }
    }
}

/// Finds the group in the hierarchies that have it.
pub(super) fn open(path: &Path) -> Result<Group> {
    let places: Vec<Place> = host::hierarchies(&Controller::ALL)
        .into_iter()
        .map(|hierarchy| place(path, hierarchy))
        .filter(|place| rustix::fs::stat(&*place.directory).is_ok())
        .collect();
    if places.is_empty() {
        return Err(Error::not_found(format!("no control group `{}`", path.as_str())));
    }
    Ok(Group { places, rules: path.rules })
}

/// The limits as files; what only v2 has is an error.
fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    if let Some(name) = resources.unified().iter().flat_map(std::collections::HashMap::keys).min() {
        let reason = "this machine has cgroup v1; give it as a limit of its own";
        return Err(Error::unsupported(format!("unified limit `{name}` cannot be set: {reason}")));
    }
    if let Some(shares) = resources.cpu().as_ref().and_then(oci_spec::runtime::LinuxCpu::shares)
        && shares != 0
        && !check::CPU_SHARES.contains(&shares)
    {
        return Err(check::out_of_range("cpu shares", shares, "from 2 to 262144"));
    }
    Ok(settings::settings(resources))
}

/// Refuses what cannot be had, before anything is made.
pub(super) fn check_before(path: &Path, resources: &LinuxResources, wanted: &[Controller]) -> Result<()> {
    if wanted.contains(&Controller::Devices) {
        device::v1_lines(&device_rules(path.rules, resources))?;
    }
    refuse(path, &host::hierarchies(wanted), resources, &limits::under(path.rules, settings(resources)?))
}

/// What can be known before anything is made: controllers and files that are missing, CPUs that are not there.
fn refuse(path: &Path, hierarchies: &[Hierarchy], resources: &LinuxResources, settings: &[Setting]) -> Result<()> {
    let find = |controller| hierarchies.iter().find(|hierarchy| hierarchy.controllers.contains(&controller));
    limits::refuse_lacking(settings, |controller, name| match find(controller) {
        None => true,
        // One look more for each limit, which only the runtime's many hierarchies make worth it.
        Some(hierarchy) => path.rules == Rules::Runtime && lacks(&hierarchy.root, name),
    })?;
    check_cpuset(resources, |_| {
        let hierarchy = find(Controller::Cpuset)?;
        Some(tree::nearest(&hierarchy.root, &path.within(&hierarchy.controllers)))
    })
}

/// Whether a file is known to be missing: neither the root has it, nor any group that exists. Some are not at the root.
fn lacks(root: &str, name: &str) -> bool {
    if is_of_the_past(name) {
        return true;
    }
    let has = |directory: &str| rustix::fs::stat(format!("{directory}/{name}")).is_ok();
    if has(root) {
        return false;
    }
    host::children(root).first().is_some_and(|child| !has(&format!("{root}/{child}")))
}

/// What newer kernels no longer have, or have without honouring it.
fn is_of_the_past(name: &str) -> bool {
    match name {
        settings::KERNEL_MEMORY => host::kernel() >= (5, 16),
        // With the CFQ scheduler; BFQ has files of its own.
        "blkio.weight" | "blkio.weight_device" | "blkio.leaf_weight" | "blkio.leaf_weight_device" => {
            host::kernel() >= (5, 0)
        }
        _ => false,
    }
}

/// The device rules in force.
fn device_rules(rules: Rules, resources: &LinuxResources) -> Vec<oci_spec::runtime::LinuxDeviceCgroup> {
    device::effective(resources.devices().as_deref().unwrap_or_default(), rules)
}

/// The CPUs and nodes of the group above bound what a group can have; `above` says where it is.
fn check_cpuset(resources: &LinuxResources, above: impl Fn(&str) -> Option<String>) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    for (option, wanted, name) in
        [("cpuset-cpus", cpu.cpus(), "cpuset.cpus"), ("cpuset-mems", cpu.mems(), "cpuset.mems")]
    {
        let Some(wanted) = wanted.as_deref().filter(|list| !list.is_empty()) else { continue };
        let Some(above) = above(name) else { continue };
        let available = file::read(&format!("{above}/{name}")).context("read the cpuset above")?;
        cpuset::check(option, wanted, &available)?;
    }
    Ok(())
}

impl Group {
    /// One that is in no hierarchy, and holds and limits nobody.
    pub(super) fn nowhere(path: &Path) -> Self {
        Self { places: Vec::new(), rules: path.rules }
    }

    /// Whether every part of it was made here.
    pub(super) fn is_new(&self) -> bool {
        self.places.iter().all(|place| place.made.group)
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules
    }

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
        let settings = self.check_update(resources)?;
        limits::apply(settings, |controller| self.directory(controller))
    }

    /// What an update writes; refused as a whole if a part cannot be had.
    pub(super) fn check_update(&self, resources: &LinuxResources) -> Result<Vec<Setting>> {
        let settings = limits::under(self.rules, settings(resources)?);
        limits::refuse_lacking(&settings, |controller, name| {
            self.directory(controller).is_none_or(|at| rustix::fs::stat(format!("{at}/{name}")).is_err())
                || is_of_the_past(name)
        })?;
        check_cpuset(resources, |_| {
            let directory = self.directory(Controller::Cpuset)?;
            directory.rsplit_once('/').map(|(parent, _)| parent.to_owned())
        })?;
        if let Some(at) = self.directory(Controller::Memory) {
            limits::check_usage(resources, &format!("{at}/memory.usage_in_bytes"))?;
        }
        Ok(settings)
    }

    /// What `devices.list` has to become: the writes, in their order; and whether they open everything for a moment.
    pub(super) fn device_changes(&self, resources: &LinuxResources) -> Result<device::Changes> {
        let path = format!("{}/devices.list", self.required(Controller::Devices)?);
        let now = file::read(&path).with_context(|| format!("read `{path}`"))?;
        device::changes(&now, &device_rules(self.rules, resources))
    }

    /// Writes device rules.
    pub(super) fn write_devices(&self, lines: &[device::Line]) -> Result<()> {
        let directory = self.required(Controller::Devices)?;
        // Most lines are for one file, which is opened once.
        lines.chunk_by(|(one, _), (other, _)| one == other).try_for_each(|lines| {
            let name = lines.first().map_or("", |(name, _)| name);
            let file = file::open(&format!("{directory}/{name}")).with_context(|| format!("open `{name}`"))?;
            lines.iter().try_for_each(|(_, line)| {
                file::write_to(&file, line).with_context(|| format!("device rule `{line}`: write `{name}`"))
            })
        })
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

    /// Puts a process into systemd's own hierarchy, by which it tells whether a unit lives.
    pub(super) fn register(&self, pid: i32) -> Result<()> {
        let Some(directory) = self.directory(Controller::Systemd) else { return Ok(()) };
        let path = format!("{directory}/cgroup.procs");
        file::write(&path, &pid.to_string()).with_context(|| format!("write `{path}`"))
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

    pub(super) fn directory(&self, controller: Controller) -> Option<&str> {
        self.places.iter().find(|place| place.controllers.contains(&controller)).map(|place| &*place.directory)
    }

    pub(super) fn required(&self, controller: Controller) -> Result<&str> {
        self.directory(controller).ok_or_else(|| {
            Error::unsupported(format!("the control group has no `{}` controller on this machine", controller.name()))
        })
    }

    fn text(&self, controller: Controller, name: &str) -> String {
        self.directory(controller).and_then(|at| file::read(&format!("{at}/{name}")).ok()).unwrap_or_default()
    }

    fn make(&mut self, path: &Path, hierarchies: Vec<Hierarchy>, existing: Existing) -> Result<()> {
        for hierarchy in hierarchies {
            let inherit = hierarchy.controllers.contains(&Controller::Cpuset);
            let root = hierarchy.root.clone();
            let mut place = place(path, hierarchy);
            place.made = tree::make(&root, &path.within(&place.controllers), existing, |directory, new| {
                if inherit && (new || is_without_cpus(directory)) { inherit_cpuset(directory) } else { Ok(()) }
            })?;
            self.places.push(place);
        }
        Ok(())
    }

    fn fill(&self, settings: Vec<Setting>, devices: &[device::Line]) -> Result<Vec<String>> {
        let warnings = limits::apply(settings, |controller| self.directory(controller))?;
        if !devices.is_empty() {
            self.write_devices(devices)?;
        }
        Ok(warnings)
    }
}

fn place(path: &Path, hierarchy: Hierarchy) -> Place {
    let Hierarchy { root, controllers } = hierarchy;
    Place { directory: format!("{root}{}", path.within(&controllers)), controllers, made: Made::default() }
}

/// A group that somebody made and did not finish: nobody could join it.
fn is_without_cpus(directory: &str) -> bool {
    ["cpuset.cpus", "cpuset.mems"]
        .iter()
        .any(|name| file::read(&format!("{directory}/{name}")).is_ok_and(|list| list.trim().is_empty()))
}

/// Gives a new cpuset group its parent's CPUs and memory nodes.
fn inherit_cpuset(directory: &str) -> rustix::io::Result<()> {
    let parent = directory.rsplit_once('/').map_or(directory, |(parent, _)| parent);
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let path = format!("{directory}/{name}");
        if file::read(&path)?.trim().is_empty() {
            file::write(&path, file::read(&format!("{parent}/{name}"))?.trim())?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_bytes_are_summed_over_devices() {
        let text = "8:0 Read 100\n8:0 Write 7\n8:0 Total 107\n8:16 Read 1\nTotal 108\n";
        assert_eq!((sum_of(text, "Read"), sum_of(text, "Write")), (101, 7));
    }
}
