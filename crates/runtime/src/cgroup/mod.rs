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
//! A [`Path`] says where it is and by whose rules it is made: those of the engine, for which nobody else may write below
//! `/skep`, or those of the OCI specification, where a group may exist already and nothing asked for is left out.

mod check;
mod controller;
pub(crate) mod cpuset;
mod device;
mod file;
mod host;
mod limits;
pub mod metrics;
mod oom;
pub(crate) mod owner;
mod path;
mod systemd;
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

use path::Rules;
use systemd::{Holder, Unit};
use tree::Existing;

pub use check::MINIMUM_MEMORY;
pub use controller::Controller;
pub use cpuset::check as check_list;
pub use oom::{MemoryEvent, OomWatch};
pub use path::{Driver, Path};
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
    /// The systemd unit that holds it, and the process that keeps it until another one is in it.
    unit: Option<Unit>,
    holder: Option<Holder>,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Group {
    V1(v1::Group),
    V2(v2::Group),
}

impl Group {
    fn create(
        path: &Path,
        resources: &LinuxResources,
        wanted: &[Controller],
        existing: Existing,
    ) -> Result<(Self, Vec<String>)> {
        match host::version()? {
            host::Version::V1 => {
                v1::create(path, resources, wanted, existing).map(|(group, lines)| (Self::V1(group), lines))
            }
            host::Version::V2 => {
                v2::create(path, resources, wanted, existing).map(|(group, lines)| (Self::V2(group), lines))
            }
        }
    }
}

/// Whether nothing is asked for that a group is needed for. A user namespace makes no device nodes, which is what rules on them
/// are about.
fn unlimited(resources: &LinuxResources) -> bool {
    let mut resources = resources.clone();
    resources.set_devices(None);
    resources == LinuxResources::default()
}

impl Cgroup {
    /// Makes the group with its limits; undone wholly if one is refused. By the engine's rules `extra` names controllers to
    /// have beyond memory, cpu, cpuacct, pids, freezer and those that the limits need; by the specification's all are had.
    /// Device rules count only if `extra` has [`Controller::Devices`].
    ///
    /// # Errors
    /// The group exists and is in use, a controller is missing, a limit is refused (the line names it).
    pub fn create(path: &Path, resources: &LinuxResources, extra: &[Controller]) -> Result<Self> {
        check::resources(resources, path.rules)?;
        let (wanted, existing) = match path.rules {
            Rules::Engine => (controller::wanted(resources, extra), Existing::Replace),
            Rules::Runtime => (Controller::ALL.to_vec(), Existing::Use),
        };
        if let Some(unit) = &path.unit {
            return Self::create_scope(path, unit, resources, &wanted);
        }
        let (group, warnings) = match Group::create(path, resources, &wanted, existing) {
            Err(refused) if path.may_be_nowhere(refused.kind()) && unlimited(resources) => {
                (Group::V1(v1::Group::nowhere(path)), vec![format!("the container has no control group: {refused}")])
            }
            made => made?,
        };
        let cgroup = Self { group, unit: None, holder: None, warnings };
        if existing == Existing::Use && !cgroup.is_new() && cgroup.is_frozen().unwrap_or(false) {
            return Err(Error::conflict(format!("the control group `{}` is frozen; thaw it first", path.as_str())));
        }
        Ok(cgroup)
    }

    /// Opens a group that exists, in whatever hierarchies it is in.
    ///
    /// # Errors
    /// It exists nowhere.
    pub fn open(path: &Path) -> Result<Self> {
        let group = match host::version()? {
            host::Version::V1 => v1::open(path).map(Group::V1),
            host::Version::V2 => v2::open(path).map(Group::V2),
        };
        let group = match group {
            Err(missing) if path.may_be_nowhere(missing.kind()) && missing.kind() == Kind::NotFound => {
                Group::V1(v1::Group::nowhere(path))
            }
            group => group?,
        };
        Ok(Self { group, unit: path.unit.clone(), holder: None, warnings: Vec::new() })
    }

    /// Removes a group wherever it is left: what is gone is a success, and a unit that failed is forgotten by systemd.
    ///
    /// # Errors
    /// Processes are still in it.
    pub fn remove_at(path: &Path) -> Result<()> {
        match (Self::open(path), &path.unit) {
            (Ok(group), _) => group.remove(),
            (Err(error), Some(unit)) if error.kind() == Kind::NotFound => unit.stop(),
            (Err(error), None) if error.kind() == Kind::NotFound => Ok(()),
            (Err(error), _) => Err(error),
        }
    }

    /// Says that a process of the container was cloned: from now on it is what keeps the group.
    ///
    /// # Errors
    /// The process is gone.
    pub fn settle(&mut self, pid: i32) -> Result<()> {
        if let Some(holder) = self.holder.take() {
            if let Group::V1(group) = &self.group {
                group.register(pid)?;
            }
            drop(holder);
        }
        Ok(())
    }

    /// Whether the root of a user namespace made the container without a group, because nobody gave it one to make groups in.
    fn is_nowhere(&self) -> bool {
        matches!(&self.group, Group::V1(group) if group.any_directory().is_none())
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

    /// Changes the limits that are given, and the device rules if there are any; returns the warnings, as
    /// [`Cgroup::warnings`] has them for creation.
    ///
    /// # Errors
    /// A limit is refused; those before it stay changed.
    pub fn update(&self, resources: &LinuxResources) -> Result<Vec<String>> {
        check::resources(resources, self.rules())?;
        if let Some(unit) = &self.unit {
            self.update_unit(unit, resources)?;
        }
        let warnings = match &self.group {
            Group::V1(group) => group.update(resources),
            Group::V2(group) => group.update(resources),
        }?;
        if resources.devices().as_ref().is_some_and(|rules| !rules.is_empty()) {
            self.update_devices(resources)?;
        }
        Ok(warnings)
    }

    /// Hands the group over to a user: v2's directory and the files that the kernel names for it, so that the container
    /// can make groups below its own. v1 is never handed over.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn give_to(&self, user: u32) -> Result<()> {
        match &self.group {
            Group::V1(_) => Ok(()),
            Group::V2(group) => group.give_to(user),
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

    /// Everything that the group counts.
    ///
    /// # Errors
    /// The group is gone.
    pub fn metrics(&self) -> Result<metrics::Metrics> {
        rustix::fs::stat(self.directory()?).context("read the control group")?;
        Ok(match &self.group {
            Group::V1(group) => metrics::of_v1(|controller| group.directory(controller)),
            Group::V2(group) => metrics::of_v2(group.directory()),
        })
    }

    /// Starts to watch the group for want of memory.
    ///
    /// # Errors
    /// The group is gone, or is not one that counts memory.
    pub fn watch_memory(&self) -> Result<OomWatch> {
        match &self.group {
            Group::V1(group) => OomWatch::v1(group.required(Controller::Memory)?),
            Group::V2(group) => OomWatch::v2(group.directory()),
        }
    }

    /// Where the group is in each hierarchy, by its controllers; on v2 once, without a name.
    #[must_use]
    pub fn directories(&self) -> Vec<(&'static str, &str)> {
        match &self.group {
            Group::V1(group) => {
                let each = |(controllers, directory)| Controller::names(controllers).map(move |name| (name, directory));
                group.places().flat_map(each).collect()
            }
            Group::V2(group) => vec![("", group.directory())],
        }
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
        if self.is_nowhere() {
            return Ok(Vec::new());
        }
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

    /// Removes the group and groups below it; waits some seconds for processes that are ending. A group that is gone is a
    /// success.
    ///
    /// # Errors
    /// Processes are still in it.
    pub fn remove(&self) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.stop()?;
        }
        match &self.group {
            Group::V1(group) => group.remove(),
            Group::V2(group) => group.remove(),
        }
    }

    /// Has systemd make the group as a scope, with a process in it that stays until [`Cgroup::settle`].
    fn create_scope(path: &Path, unit: &Unit, resources: &LinuxResources, wanted: &[Controller]) -> Result<Self> {
        match host::version()? {
            host::Version::V1 => v1::check_before(path, resources, wanted)?,
            host::Version::V2 => v2::check_before(path, resources)?,
        }
        let holder = unit.start(resources, wanted.contains(&Controller::Devices))?;
        match Group::create(path, resources, wanted, Existing::Adopt) {
            Ok((group, warnings)) => Ok(Self { group, unit: Some(unit.clone()), holder: Some(holder), warnings }),
            Err(error) => {
                drop(holder);
                // The failure that matters is the first one.
                let _ = unit.stop();
                Err(error)
            }
        }
    }

    /// Refuses what the files would refuse, then tells systemd. On v1 it writes device lists anew, all closed at first:
    /// nobody shall notice.
    fn update_unit(&self, unit: &Unit, resources: &LinuxResources) -> Result<()> {
        let devices = resources.devices().as_ref().is_some_and(|rules| !rules.is_empty());
        match &self.group {
            Group::V1(group) => group.check_update(resources).map(drop)?,
            Group::V2(group) => group.check_update(resources).map(drop)?,
        }
        if !devices || matches!(self.group, Group::V2(_)) || self.is_frozen()? {
            return unit.update(resources);
        }
        self.freeze()?;
        let updated = unit.update(resources);
        self.thaw().and(updated)
    }

    fn is_new(&self) -> bool {
        match &self.group {
            Group::V1(group) => group.is_new(),
            Group::V2(group) => group.is_new(),
        }
    }

    fn rules(&self) -> Rules {
        match &self.group {
            Group::V1(group) => group.rules(),
            Group::V2(group) => group.rules(),
        }
    }

    /// v2 exchanges the program. v1 changes a list; what opens everything for a moment is done while nobody runs.
    fn update_devices(&self, resources: &LinuxResources) -> Result<()> {
        let group = match &self.group {
            Group::V2(group) => return group.replace_devices(resources),
            Group::V1(group) => group,
        };
        let changes = group.device_changes(resources)?;
        if !changes.opens || self.is_frozen()? {
            return group.write_devices(&changes.lines);
        }
        self.freeze()?;
        let written = group.write_devices(&changes.lines);
        self.thaw().and(written)
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
