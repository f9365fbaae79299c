//! v2: one directory, with every controller that its parents enabled for it.
//!
//! ```text
//!   /sys/fs/cgroup/cgroup.subtree_control       "+memory +cpu ..."   written when `skep` is made
//!   /sys/fs/cgroup/skep/cgroup.subtree_control  the same
//!   /sys/fs/cgroup/skep/<id>/memory.max ...     the limits
//! ```

mod settings;

use std::os::fd::{AsFd, OwnedFd};

use failure::{Context, Error, Kind, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::limits::Setting;
use super::path::Rules;
use super::tree::{Existing, Made};
use super::{Controller, Path, Stats, cpuset, device, file, host, limits, tree};
pub(super) use settings::{Current, swap, weight_of_shares};
use settings::{V1_ONLY, settings};

/// What an engine's container may need; those that the kernel lacks are not asked for.
const CONTROLLERS: [&str; 6] = ["cpu", "memory", "pids", "io", "cpuset", "hugetlb"];

/// A group: its directory.
#[derive(Debug)]
pub(super) struct Group {
    directory: String,
    rules: Rules,
    /// Whether it was made here.
    made: Made,
}

/// Makes the directory and sets the limits; what was made is removed again on failure.
pub(super) fn create(
    path: &Path,
    resources: &LinuxResources,
    wanted: &[Controller],
    existing: Existing,
) -> Result<(Group, Vec<String>)> {
    let mut group = at(path);
    let settings = limits::under(path.rules, settings(resources, &Current::default())?);
    group.refuse(&tree::nearest(host::ROOT, path.as_str()), resources, &settings)?;
    group.made = tree::make(host::ROOT, path.as_str(), existing, |_, _| Ok(()))?;
    let rules = device::effective(resources.devices().as_deref().unwrap_or_default(), path.rules);
    let rules = if wanted.contains(&Controller::Devices) { rules } else { Vec::new() };
    match group.fill(path, settings, &rules) {
        Ok(warnings) => Ok((group, warnings)),
        Err(error) => {
            group.made.undo(&group.directory);
            Err(error)
        }
    }
}

/// Refuses what cannot be had, before anything is made.
pub(super) fn check_before(path: &Path, resources: &LinuxResources) -> Result<()> {
    let settings = limits::under(path.rules, settings(resources, &Current::default())?);
    at(path).refuse(&tree::nearest(host::ROOT, path.as_str()), resources, &settings)
}

/// Finds the group.
pub(super) fn open(path: &Path) -> Result<Group> {
    let group = at(path);
    match rustix::fs::stat(&*group.directory) {
        Ok(_) => Ok(group),
        Err(Errno::NOENT) => Err(Error::not_found(format!("no control group `{}`", path.as_str()))),
        Err(errno) => Err(errno).with_context(|| format!("find the control group `{}`", group.directory)),
    }
}

fn at(path: &Path) -> Group {
    Group { directory: format!("{}{}", host::ROOT, path.as_str()), rules: path.rules, made: Made::default() }
}

impl Group {
    /// Whether it was made here.
    pub(super) fn is_new(&self) -> bool {
        self.made.group
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules
    }

    /// The directory and what the kernel says can be handed over; a few names are as old as v2 itself.
    pub(super) fn give_to(&self, user: u32) -> Result<()> {
        let list = file::read("/sys/kernel/cgroup/delegate");
        let list = list.as_deref().unwrap_or("cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n");
        let names = list.lines().filter(|name| !name.is_empty() && !name.contains('/'));
        let files = names.map(|name| format!("{}/{name}", self.directory));
        for path in std::iter::once(self.directory.clone()).chain(files) {
            match rustix::fs::chown(&*path, Some(rustix::fs::Uid::from_raw(user)), None) {
                // The list is for groups of every kind.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).with_context(|| format!("give `{path}` to user {user}")),
            }
        }
        Ok(())
    }

    /// The directory, which clone3 takes.
    pub(super) fn open_directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, &*self.directory, flags, Mode::empty())
            .with_context(|| format!("open `{}`", self.directory))
    }

    pub(super) fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        let settings = self.check_update(resources)?;
        limits::apply(settings, |_| Some(&*self.directory))
    }

    /// What an update writes; refused as a whole if a part cannot be had.
    pub(super) fn check_update(&self, resources: &LinuxResources) -> Result<Vec<Setting>> {
        let settings = limits::under(self.rules, settings(resources, &self.current())?);
        self.refuse(&self.directory, resources, &settings)?;
        limits::check_usage(resources, &format!("{}/memory.current", self.directory))?;
        Ok(settings)
    }

    /// Replaces the device rules, in one step for those in the group.
    pub(super) fn replace_devices(&self, resources: &LinuxResources) -> Result<()> {
        let rules = device::effective(resources.devices().as_deref().unwrap_or_default(), self.rules);
        self.attach_devices(&device::program(&rules), false)
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

    fn fill(&self, path: &Path, settings: Vec<Setting>, rules: &[LinuxDeviceCgroup]) -> Result<Vec<String>> {
        // A parent made just now, or by somebody else, does not hand on every controller yet.
        if self.rules == Rules::Runtime || settings.iter().chain(&probes()).any(|setting| !self.has(&setting.file)) {
            enable(path, self.rules)?;
        }
        if self.rules == Rules::Runtime {
            self.be_joinable(&settings)?;
        }
        let warnings = limits::apply(settings, |_| Some(&*self.directory))?;
        if !rules.is_empty() {
            self.attach_devices(&device::program(rules), self.made.group)?;
        }
        Ok(warnings)
    }

    /// What can be known before anything is made, from a group that is above this one, or is it.
    fn refuse(&self, nearest: &str, resources: &LinuxResources, settings: &[Setting]) -> Result<()> {
        let known = file::read(&format!("{nearest}/cgroup.controllers")).unwrap_or_default();
        limits::refuse_lacking(settings, |controller, name| {
            let handed_on = |name| known.split_whitespace().any(|known| known == name);
            V1_ONLY.contains(&name) || controller.unified_name().is_some_and(|name| !handed_on(name))
        })?;
        check_cpuset(nearest, resources)
    }

    /// Below a group with processes of its own, or with threads apart, there are only threaded groups: such a group
    /// can count CPU time and processes, but no memory.
    fn be_joinable(&self, settings: &[Setting]) -> Result<()> {
        let path = format!("{}/cgroup.type", self.directory);
        let kind = file::read(&path).unwrap_or_default();
        let kind = kind.trim();
        if !matches!(kind, "domain invalid" | "threaded" | "domain threaded") {
            return Ok(());
        }
        if let Some(setting) = settings.iter().find(|setting| setting.controller.counts_processes()) {
            let reason = format!("`{}` is of type `{kind}`; move the processes above it away", self.directory);
            return Err(Error::new(Kind::Busy, format!("{} cannot be set: {reason}", setting.option)));
        }
        if kind == "domain invalid" {
            file::write(&path, "threaded").with_context(|| format!("write `{path}`"))?;
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        rustix::fs::stat(&*format!("{}/{name}", self.directory)).is_ok()
    }

    fn attach_devices(&self, program: &[u64], is_first: bool) -> Result<()> {
        let directory = self.open_directory()?;
        let loaded = sys::bpf::load_device_program(program).context("load the program of the device rules")?;
        let attach = if is_first { sys::bpf::attach_device_program } else { sys::bpf::replace_device_programs };
        attach(loaded.as_fd(), directory.as_fd())
            .with_context(|| format!("attach the device rules to `{}`", self.directory))
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

/// Refuses CPUs and nodes that this machine, or the group above, does not have.
fn check_cpuset(nearest: &str, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    let options = [
        ("cpuset-cpus", cpu.cpus(), "cpuset.cpus.effective", "/sys/devices/system/cpu/online"),
        ("cpuset-mems", cpu.mems(), "cpuset.mems.effective", "/sys/devices/system/node/online"),
    ];
    let above = match nearest.rsplit_once('/') {
        // A group can be given more than it has now, as far as the one above has it.
        Some((above, _)) if nearest != host::ROOT => above,
        _ => nearest,
    };
    for (option, wanted, name, machine) in options {
        let Some(wanted) = wanted.as_deref().filter(|list| !list.is_empty()) else { continue };
        // Where the controller is not handed on yet, the machine itself is the bound.
        let available = file::read(&format!("{above}/{name}")).or_else(|_| file::read(machine)).unwrap_or_default();
        cpuset::check(option, wanted, &available)?;
    }
    Ok(())
}

/// Hands the controllers on from the root to the group, in each parent on the way. Under the specification's rules all that
/// there are, as far as it can be done: what a limit needs and does not get is found missing when it is written.
fn enable(path: &Path, rules: Rules) -> Result<()> {
    let mut parent = host::ROOT.to_owned();
    for component in path.as_str().split('/').skip(1) {
        enable_in(&parent, rules)?;
        parent = format!("{parent}/{component}");
    }
    Ok(())
}

fn enable_in(parent: &str, rules: Rules) -> Result<()> {
    let read = |name: &str| file::read(&format!("{parent}/{name}")).with_context(|| format!("read `{parent}/{name}`"));
    let (available, enabled) = (read("cgroup.controllers")?, read("cgroup.subtree_control")?);
    let is_enabled = |name: &str| enabled.split_whitespace().any(|word| word == name);
    let missing = available
        .split_whitespace()
        .filter(|name| !is_enabled(name) && (rules == Rules::Runtime || CONTROLLERS.contains(name)));
    for name in missing {
        match file::write(&format!("{parent}/cgroup.subtree_control"), &format!("+{name}")) {
            Ok(()) => {}
            Err(_) if rules == Rules::Runtime => {}
            Err(Errno::BUSY) => {
                let reason = format!("`{parent}` has processes of its own and cannot hand on `{name}`");
                return Err(Error::new(Kind::Busy, format!("{reason}; move them to a group below it")));
            }
            Err(errno) => return Err(errno).with_context(|| format!("enable `{name}` in `{parent}`")),
        }
    }
    Ok(())
}

/// The sum of `8:0 rbytes=4096 wbytes=...` over all devices.
fn sum_of(text: &str, key: &str) -> u64 {
    let numbers = text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
    numbers.fold(0, u64::saturating_add)
}
