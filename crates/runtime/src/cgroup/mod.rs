//! Control groups: one small interface over v1 and v2.
//!
//! ```text
//!              v1 (also "hybrid")                       v2
//! create       mkdir in each hierarchy used, limits     mkdir, limits
//! join         the new process writes "0" to `tasks`    clone3 with the directory
//! freeze       freezer.state                            cgroup.freeze
//! kill_all     freeze, signal each, thaw                cgroup.kill
//! remove       rmdir in each                            rmdir
//! ```
//! A group is made before its first process and outlives the last: creation either succeeds whole or leaves nothing.
//! Nobody else may write below `/skep`, so a group's name is enough to find it again.

pub(crate) mod cpuset;
mod device;
mod file;
mod host;
mod limits;
mod tree;
mod v1;
mod v2;
mod view;

use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use failure::{Context, Error, Kind, Result};
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

pub use cpuset::check as check_list;
pub use limits::MINIMUM_MEMORY;
pub(crate) use view::is_unified;

/// How long processes have to stand still once they are told to.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same before a kill, which goes on in any case.
const FREEZE_BEFORE_KILL: Duration = Duration::from_millis(200);
/// The pause between two looks, at first; it doubles up to the second.
const FIRST_LOOK: Duration = Duration::from_micros(50);
const LONGEST_LOOK: Duration = Duration::from_millis(10);
/// How often processes that do not stand are killed again.
const KILL_ROUNDS: u32 = 20;

/// Where a group lies below the root of every hierarchy: `/skep/<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path from its text: absolute, of plain components.
    ///
    /// # Errors
    /// The text is relative, or has empty, `.`, `..` or strange components, or is too long.
    pub fn new(text: &str) -> Result<Self> {
        let plain = |component: &str| {
            !matches!(component, "" | "." | "..")
                && component.len() <= 255
                && component.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\'))
        };
        match text.strip_prefix('/') {
            Some(rest) if text.len() <= 1024 && rest.split('/').all(plain) => Ok(Self(text.to_owned())),
            _ => Err(Error::invalid(format!("`{text}` is no path of a control group; give one as `/skep/name`"))),
        }
    }

    /// The path of the container of this id: `/skep/<id>`.
    ///
    /// # Errors
    /// The id is no plain component.
    pub fn of_container(id: &str) -> Result<Self> {
        match id.contains('/') {
            false => Self::new(&format!("/skep/{id}")),
            true => Err(Error::invalid(format!("`{id}` is no name of a control group"))),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A controller, by its v1 name; what v2 calls differently is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Controller {
    Memory,
    Cpu,
    Cpuacct,
    Pids,
    Freezer,
    Cpuset,
    Blkio,
    Devices,
    Hugetlb,
}

impl Controller {
    const ALL: [Self; 9] = [
        Self::Memory,
        Self::Cpu,
        Self::Cpuacct,
        Self::Pids,
        Self::Freezer,
        Self::Cpuset,
        Self::Blkio,
        Self::Devices,
        Self::Hugetlb,
    ];

    /// What every container has: limits for its neighbours' sake, accounts, and a way to pause.
    const DEFAULT: [Self; 5] = [Self::Memory, Self::Cpu, Self::Cpuacct, Self::Pids, Self::Freezer];

    /// The v1 name, which is also that of its usual directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
            Self::Cpuset => "cpuset",
            Self::Blkio => "blkio",
            Self::Devices => "devices",
            Self::Hugetlb => "hugetlb",
        }
    }
}

/// How a new process joins the group.
#[derive(Debug)]
pub enum Joiners {
    /// v1: open `tasks` files; the process writes "0" to each, before it has threads.
    Tasks(Vec<OwnedFd>),
    /// v2: the group's directory, for clone3's `CLONE_INTO_CGROUP`.
    Directory(OwnedFd),
}

/// What a group uses. What the group's controllers do not count is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Memory in use, with the page cache.
    pub memory_usage: u64,
    /// The memory limit; `None` is unlimited.
    pub memory_limit: Option<u64>,
    /// Page cache that can be dropped at once (inactive file pages): Docker subtracts it from the usage.
    pub memory_cache: u64,
    /// CPU time used, in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Of which in user mode.
    pub cpu_user_nanoseconds: u64,
    /// Of which in the kernel.
    pub cpu_system_nanoseconds: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit; `None` is unlimited.
    pub pids_limit: Option<u64>,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_written: u64,
}

/// A group: one directory on v2, one in each hierarchy on v1.
#[derive(Debug)]
pub struct Cgroup {
    group: Group,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Group {
    V1(v1::Group),
    V2(v2::Group),
}

impl Cgroup {
    /// Makes the group with its limits; undone wholly if one is refused. `extra` names controllers to have beyond
    /// memory, cpu, cpuacct, pids, freezer and those that the limits need. Device rules count only if `extra` has
    /// [`Controller::Devices`].
    ///
    /// # Errors
    /// The group exists and is in use, a controller is missing, a limit is refused (the line names it).
    pub fn create(path: &Path, resources: &LinuxResources, extra: &[Controller]) -> Result<Self> {
        limits::check(resources)?;
        let wanted = wanted(resources, extra);
        let (group, warnings) = match host::version()? {
            host::Version::V1 => v1::create(path, resources, &wanted).map(|(group, lines)| (Group::V1(group), lines)),
            host::Version::V2 => v2::create(path, resources, &wanted).map(|(group, lines)| (Group::V2(group), lines)),
        }?;
        Ok(Self { group, warnings })
    }

    /// Opens a group that exists, in whatever hierarchies it is in.
    ///
    /// # Errors
    /// It exists nowhere.
    pub fn open(path: &Path) -> Result<Self> {
        let group = match host::version()? {
            host::Version::V1 => Group::V1(v1::open(path)?),
            host::Version::V2 => Group::V2(v2::open(path)?),
        };
        Ok(Self { group, warnings: Vec::new() })
    }

    /// What to hand to a new process so that it joins.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub fn joiners(&self) -> Result<Joiners> {
        match &self.group {
            Group::V1(group) => group.tasks().map(Joiners::Tasks),
            Group::V2(group) => group.open_directory().map(Joiners::Directory),
        }
    }

    /// Limits that this kernel does not have and that were left out at creation, one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Changes the limits that are given; returns the warnings, as [`Cgroup::warnings`] has them for creation. Device
    /// rules stay as they were made.
    ///
    /// # Errors
    /// A limit is refused; those before it stay changed.
    pub fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        limits::check(resources)?;
        match &self.group {
            Group::V1(group) => group.update(resources),
            Group::V2(group) => group.update(resources),
        }
    }

    /// Stops every process of the group, and waits until they stand.
    ///
    /// # Errors
    /// They do not stand within seconds; then they are let go again.
    pub fn freeze(&self) -> Result<()> {
        if self.freeze_within(FREEZE_TIMEOUT)? {
            return Ok(());
        }
        self.thaw()?;
        Err(Error::new(Kind::Busy, "the processes do not stop: one of them waits in the kernel; try again later"))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    /// Whether they stand.
    ///
    /// # Errors
    /// The group is gone.
    pub fn is_frozen(&self) -> Result<bool> {
        match &self.group {
            Group::V1(group) => group.is_frozen(),
            Group::V2(group) => group.is_frozen(),
        }
    }

    /// What the group uses now.
    ///
    /// # Errors
    /// The group is gone.
    pub fn stats(&self) -> Result<Stats> {
        rustix::fs::stat(self.directory()?).context("read the control group")?;
        Ok(match &self.group {
            Group::V1(group) => group.stats(),
            Group::V2(group) => group.stats(),
        })
    }

    /// How often the kernel killed a process of the group for want of memory.
    ///
    /// # Errors
    /// The group is gone, or is not one that counts memory.
    pub fn oom_kills(&self) -> Result<u64> {
        match &self.group {
            Group::V1(group) => group.oom_kills(),
            Group::V2(group) => group.oom_kills(),
        }
    }

    /// The processes of the group and of groups below it.
    ///
    /// # Errors
    /// The group is gone.
    pub fn processes(&self) -> Result<Vec<i32>> {
        tree::processes(self.directory()?).context("list the processes of the control group")
    }

    /// Kills every process of the group, frozen ones too.
    ///
    /// # Errors
    /// The kernel refuses. A group that is gone, or has no processes, is a success.
    pub fn kill_all(&self) -> Result<()> {
        if let Group::V2(group) = &self.group
            && group.kill()?
        {
            return Ok(());
        }
        if self.is_empty() {
            return Ok(());
        }
        // While they stand none can fork away or end, and so no number can be given to another process.
        let stand = self.freeze_within(FREEZE_BEFORE_KILL);
        let killed = self.signal_all();
        if stand.is_ok() {
            self.thaw()?;
        }
        killed?;
        if !matches!(stand, Ok(true)) {
            self.signal_until_empty()?;
        }
        Ok(())
    }

    /// Removes the group and groups below it; waits some 250 ms for processes that are ending. A group that is gone is a
    /// success.
    ///
    /// # Errors
    /// Processes are still in it.
    pub fn remove(&self) -> Result<()> {
        match &self.group {
            Group::V1(group) => group.remove(),
            Group::V2(group) => group.remove(),
        }
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        match &self.group {
            Group::V1(group) => group.set_frozen(frozen),
            Group::V2(group) => group.set_frozen(frozen),
        }
    }

    /// Tells them to stand and looks, until they do (`true`) or the time is over.
    fn freeze_within(&self, time: Duration) -> Result<bool> {
        let end = Instant::now() + time;
        let mut pause = FIRST_LOOK;
        loop {
            // Told again each time: v1's freezer can miss a process that was forking.
            self.set_frozen(true)?;
            if self.is_frozen()? {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            sleep(pause);
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// For a kernel without a freezer, or a process that waits in the kernel: again, for those that forked meanwhile.
    fn signal_until_empty(&self) -> Result<()> {
        for _ in 0..KILL_ROUNDS {
            if self.is_empty() {
                break;
            }
            self.signal_all()?;
            sleep(LONGEST_LOOK);
        }
        Ok(())
    }

    /// Whether no process is left; a group that is gone has none.
    fn is_empty(&self) -> bool {
        match self.directory().map(tree::processes) {
            Ok(Ok(processes)) => processes.is_empty(),
            Ok(Err(errno)) => matches!(errno, Errno::NOENT | Errno::NODEV),
            Err(_) => true,
        }
    }

    fn signal_all(&self) -> Result<()> {
        let processes = match tree::processes(self.directory()?) {
            Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
            processes => processes.context("list the processes of the control group")?,
        };
        for pid in processes.into_iter().filter_map(Pid::from_raw) {
            match kill_process(pid, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno).with_context(|| format!("kill process {}", pid.as_raw_nonzero())),
            }
        }
        Ok(())
    }

    fn directory(&self) -> Result<&str> {
        match &self.group {
            Group::V1(group) => group.any_directory().ok_or_else(|| Error::internal("the control group is nowhere")),
            Group::V2(group) => Ok(group.directory()),
        }
    }
}

/// The controllers of a group: the default ones, those that limits need, and those asked for.
fn wanted(resources: &LinuxResources, extra: &[Controller]) -> Vec<Controller> {
    let mut wanted = Controller::DEFAULT.to_vec();
    let cpu = resources.cpu().as_ref();
    let lists = cpu.is_some_and(|cpu| [cpu.cpus(), cpu.mems()].into_iter().flatten().any(|list| !list.is_empty()));
    let needed = [
        (Controller::Cpuset, lists),
        (Controller::Blkio, resources.block_io().is_some()),
        (Controller::Hugetlb, resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty())),
    ];
    let needed = needed.into_iter().filter(|(_, needed)| *needed).map(|(controller, _)| controller);
    for controller in needed.chain(extra.iter().copied()) {
        if !wanted.contains(&controller) {
            wanted.push(controller);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain() {
        assert_eq!(Path::of_container("abc").unwrap().as_str(), "/skep/abc");
        for bad in ["", "/", "skep", "/skep/", "/skep/..", "/./a", "//a", "/a\n", "/a b", "/a\\b", &"/a".repeat(600)] {
            assert!(Path::new(bad).is_err(), "{bad}");
        }
        assert!(Path::of_container("a/b").is_err());
    }

    #[test]
    fn controllers_come_with_their_limits() {
        let resources = serde_json::from_str(r#"{"cpu":{"cpus":"0"}}"#).unwrap();
        let controllers = wanted(&resources, &[Controller::Devices, Controller::Memory]);
        assert_eq!(controllers[..5], Controller::DEFAULT);
        assert_eq!(controllers[5..], [Controller::Cpuset, Controller::Devices]);
        assert_eq!(wanted(&serde_json::from_str(r#"{"cpu":{"cpus":"","shares":5}}"#).unwrap(), &[]).len(), 5);
    }
}
