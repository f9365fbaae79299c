//! Control groups: one small interface over v1 and v2.
use std::os::fd::OwnedFd;

use failure::Result;
use oci_spec::runtime::LinuxResources;

/// Where a group lies below the root of every hierarchy: `/skep/<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path from its text: absolute, of plain components.
    ///
    /// # Errors
    /// The text is relative, or has `.`, `..`, empty or over-long components.
    pub fn new(_text: &str) -> Result<Self> {
        unimplemented!()
    }

    /// The path of the container of this id: `/skep/<id>`.
    ///
    /// # Errors
    /// The id is no plain component.
    pub fn of_container(id: &str) -> Result<Self> {
        Self::new(&format!("/skep/{id}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
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

/// How a new process joins the group.
#[derive(Debug)]
pub enum Joiners {
    /// v1: open `tasks` files; the process writes "0" to each.
    Tasks(Vec<OwnedFd>),
    /// v2: the group's directory, for clone3's CLONE_INTO_CGROUP (or write "0" to its `cgroup.procs`).
    Directory(OwnedFd),
}

/// What a group uses.
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
pub struct Cgroup(());

impl Cgroup {
    /// Makes the group with its limits; undone wholly if one is refused. `extra` names controllers to have beyond
    /// memory, cpu, cpuacct, pids, freezer and those that the limits need.
    ///
    /// # Errors
    /// The group exists, a controller is missing, a limit is refused (the line names it).
    pub fn create(_path: &Path, _resources: &LinuxResources, _extra: &[Controller]) -> Result<Self> {
        unimplemented!()
    }

    /// Opens a group that exists, in whatever hierarchies it is in.
    ///
    /// # Errors
    /// It exists nowhere.
    pub fn open(_path: &Path) -> Result<Self> {
        unimplemented!()
    }

    /// What to hand to a new process so that it joins.
    ///
    /// # Errors
    /// A file cannot be opened.
    pub fn joiners(&self) -> Result<Joiners> {
        unimplemented!()
    }

    /// Limits that this kernel does not have and that were left out, one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        unimplemented!()
    }

    /// Changes the limits that are given; returns the warnings, as [`Cgroup::warnings`] has them for creation.
    ///
    /// # Errors
    /// A limit is refused; those before it stay changed.
    pub fn update(&self, _resources: &LinuxResources) -> Result<Vec<String>> {
        unimplemented!()
    }

    /// Stops every process of the group, and waits until they stand.
    ///
    /// # Errors
    /// They do not stand within seconds (then they are thawed again).
    pub fn freeze(&self) -> Result<()> {
        unimplemented!()
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        unimplemented!()
    }

    /// Whether they stand.
    ///
    /// # Errors
    /// The group is gone.
    pub fn is_frozen(&self) -> Result<bool> {
        unimplemented!()
    }

    /// What the group uses now.
    ///
    /// # Errors
    /// The group is gone.
    pub fn stats(&self) -> Result<Stats> {
        unimplemented!()
    }

    /// How often the kernel killed a process of the group for want of memory.
    ///
    /// # Errors
    /// The group is gone.
    pub fn oom_kills(&self) -> Result<u64> {
        unimplemented!()
    }

    /// The processes of the group and of groups below it.
    ///
    /// # Errors
    /// The group is gone.
    pub fn processes(&self) -> Result<Vec<i32>> {
        unimplemented!()
    }

    /// Kills every process of the group, frozen ones too.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill_all(&self) -> Result<()> {
        unimplemented!()
    }

    /// Removes the group and groups below it. A group that is gone is a success.
    ///
    /// # Errors
    /// Processes are still in it.
    pub fn remove(&self) -> Result<()> {
        unimplemented!()
    }
}
