//! The end of a container: its processes, its control group, its directory, its last hooks.
//!
//! ```text
//!   kill (only if it still runs) --> wait --> group away --> directory away --> poststop hooks
//! ```
//! Each step may be done again: a deletion that was killed is finished by the next one. The directory goes after the group,
//! so that nothing is left that could not be found.

use std::os::fd::OwnedFd;
use std::time::Duration;

use failure::{Context as _, Error, Kind, Result};
use runtime::cgroup::Cgroup;
use runtime::hooks;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::bundle;
use crate::container::Container;
use crate::global::Global;
use crate::make;

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills the first process, and with it all of them, and waits for its end.
pub(crate) fn kill(container: &Container) -> Result<()> {
    let record = container.record()?;
    // One that has ended needs no killing.
    let Ok(pidfd) = record.process.open() else { return Ok(()) };
    let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    let group = container.cgroup();
    // Frozen processes of v1 do not die; those without process ids of their own do not die with the first.
    if let Ok(group) = &group
        && (!record.own_processes || group.is_frozen().unwrap_or(false))
    {
        group.kill_all()?;
    }
    match has_ended_within(&pidfd, PATIENCE) {
        true => Ok(()),
        false => Err(Error::new(Kind::Busy, "container init still running")),
    }
}

/// Removes a container whose first process has ended.
pub(crate) fn destroy(global: &Global, container: Container) -> Result<()> {
    let Some(record) = container.record_if_any() else {
        make::end_cut_off(global, &container.directory)?;
        return container.root.remove(container.directory);
    };
    if !record.own_processes
        && let Ok(group) = container.cgroup()
    {
        group.kill_all()?;
    }
    Cgroup::remove_at(&record.cgroup).context("unable to destroy container")?;
    if record.shares {
        give_shares_back(&container)?;
    }
    let hooks = record.hooks.as_ref().and_then(|hooks| hooks.poststop().clone()).unwrap_or_default();
    let state = container.hook_state("stopped", 0)?;
    container.root.remove(container.directory)?;
    for failed in hooks::run_all(&hooks, &state) {
        global.log.warning(&format!("a poststop hook failed: {failed}"));
    }
    Ok(())
}

/// The resctrl groups that were made for it.
fn give_shares_back(container: &Container) -> Result<()> {
    let spec = container.directory.read_config()?.and_then(|text| bundle::parse(&text).ok());
    match spec.as_ref().and_then(|spec| spec.linux().as_ref()).filter(|linux| linux.intel_rdt().is_some()) {
        Some(linux) => runtime::resctrl::remove(linux, container.id()),
        None => Ok(()),
    }
}

fn has_ended_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let limit = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.is_ok_and(|ready| ready > 0),
        }
    }
}
