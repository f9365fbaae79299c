//! What the next command does about the leftovers of killed ones.
//!
//! Any process may be killed at any instruction. Every change is a row of steps in an order that leaves, after
//! each step, a state that is either complete or recognisable as cut off:
//!
//! ```text
//! create   1 mkdir containers/.tmp-<id>/layer, flock it    left: a .tmp- directory that nobody has locked   -> sweep
//!          2 write config, state, hosts, ...; anonymous       with the names of volumes that go with it
//!            volumes, whose names are written first
//!          3 claim ids/<n>, names/<name>                   left: also claims of a container that is not     -> sweep,
//!          4 rename .tmp-<id> -> <id>                      there: stale                          or the name's next taker
//! start    5 mkdir <run>/<id>                              left: <run>/<id> that no monitor holds: the     -> start, rm,
//!          6 cgroups, clone (the child waits)              mark of all below it; the child ends with its      sweep
//!          7 state: running, with the child's identity     monitor's socket
//!          8 exec                                          left: a container without a monitor: still
//!                                                          running, or ended unseen; `ps` tells             -> stop, rm
//! end      9 state: exited   10 rmdir cgroups   11 rmdir <run>/<id>
//! remove  12 unlink names/<name>, ids/<n>                  left: a container without a name                 -> rm
//!         13 rename <id> -> trash/<id>                     left: something in the trash                     -> sweep
//!         14 delete it
//! rename  15 claim the new name  16 write config  17 release the old one    left: a second name            -> sweep
//! ```
//! A claim is *stale* when its container is neither there nor locked in the making. Only [`sweep`] and the taker of a
//! name remove stale claims, under the lock of `names/`.
//!
//! [`sweep`] runs in `container prune` and `info`, its cheap part beside `rm` ([`tidy_up`]). The path of `run` and `ps` pays nothing for all this.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

use failure::Result;
use monitor::state::Observed;
use runtime::{ContainerId, cgroup};

use crate::config::ContainerConfig;
use crate::lifecycle::RemoveOptions;
use crate::state::Lock;
use crate::{Home, list, names, remove, state, volumes};

/// What the directory of a container in the making begins with.
pub(crate) const UNFINISHED: &str = ".tmp-";
/// Younger things may be in the hands of a command that has not locked them yet.
const SETTLED: Duration = Duration::from_secs(2);

/// Finishes or undoes what killed commands began. Failures are left to the next sweep: they never stop a command.
pub(crate) fn sweep(home: &Home) {
    sweep_unfinished(home);
    sweep_containers(home);
    let _ = sweep_claims(home);
    sweep_run(home);
    empty_trash(home);
}

/// Undoes cut-off creations, and deletes what is in the trash in a process of its own that nobody waits for: deleting a layer's
/// directories costs the disk milliseconds each, and no answer depends on it. Killed, it leaves the rest to the next.
/// Where the disk is nearly full somebody does wait: whoever makes room means to use it. For a process of one thread;
/// does nothing where none can be made.
pub fn tidy_up(home: &Home) {
    sweep_unfinished(home);
    if entries(&home.root().join("trash")).is_empty() {
        return;
    }
    if is_scarce(home) {
        return empty_trash(home);
    }
    if let Ok(monitor::process::Fork::Child) = monitor::process::fork() {
        if monitor::process::setup_process(&[]).is_ok() {
            empty_trash(&home.reopened());
        }
        monitor::process::exit(0);
    }
}

/// Whether the claim of this owner can be taken: the container is not there and nobody is making it.
pub(crate) fn is_stale(home: &Home, owner: &str) -> Result<bool> {
    if ContainerId::from_str(owner).is_err() {
        return Ok(true);
    }
    // First the directory in the making, then the finished one: one becomes the other, never back.
    if let Ok(None) = Lock::attempt(&home.unfinished(owner).join("layer")) {
        return Ok(false);
    }
    Ok(!home.containers().join(owner).exists())
}

/// Removes what is left of a run whose monitor is gone: its processes, its cgroups, its run directory.
pub(crate) fn clear_run(home: &Home, id: &ContainerId) -> Result<()> {
    let run = home.container_run(id);
    if !run.exists() {
        return Ok(());
    }
    if let Ok(group) = cgroup::Cgroup::open(&cgroup::Path::of_container(id.as_ref())?) {
        let _ = group.kill_all();
        remove_cgroup(&group)?;
    }
    remove_directory(&run);
    Ok(())
}

/// Removes a cgroup. With a pid namespace of its own nothing lives in it any more; otherwise what is left is killed, and
/// may need a moment to be gone.
pub(crate) fn remove_cgroup(group: &cgroup::Cgroup) -> Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        match group.remove() {
            Ok(()) => return Ok(()),
            Err(error) if pause > Duration::from_secs(1) => return Err(error),
            Err(_) => {
                let _ = group.kill_all();
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
    }
}

/// Deletes a directory of ours with its few files.
pub(crate) fn remove_directory(path: &Path) {
    let _ = fs::remove_dir_all(path);
}

fn sweep_unfinished(home: &Home) {
    for name in entries(&home.containers()) {
        let name = name.to_string_lossy();
        let Some(id) = name.strip_prefix(UNFINISHED) else { continue };
        let directory = home.unfinished(id);
        if !settled(&directory) {
            continue;
        }
        match Lock::attempt(&directory.join("layer")) {
            Ok(None) => continue,
            Ok(Some(_)) | Err(_) => {
                volumes::remove_of_unfinished(home, &directory);
                discard(home, &directory);
            }
        }
    }
}

/// Removes containers whose removal was cut off, and those that were to go with their end but lost their monitor.
fn sweep_containers(home: &Home) {
    for id in list::ids(home).unwrap_or_default() {
        let Ok((state, observed)) = state::observe(home, &id) else { continue };
        let removing = state.status == monitor::state::Status::Removing;
        let unseen = observed == Observed::EndedUnseen;
        let auto_remove = || ContainerConfig::read(home, &id).is_ok_and(|config| config.auto_remove);
        if (removing && settled(&home.container(&id))) || (unseen && auto_remove()) {
            let _ = remove(home, &id, RemoveOptions { force: false, volumes: true });
        }
    }
}

/// Removes stale claims, and names that a rename left behind.
fn sweep_claims(home: &Home) -> Result<()> {
    let _lock = names::lock(home)?;
    for directory in ["ids", "names"] {
        for entry in entries(&home.root().join(directory)) {
            let path = home.root().join(directory).join(&entry);
            let Ok(target) = fs::read_link(&path) else { continue };
            let owner = target.to_string_lossy().into_owned();
            if is_stale(home, &owner)? || (directory == "names" && is_left_behind(home, &owner, &entry)) {
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(())
}

/// Whether a container has another name now, and is not being renamed.
fn is_left_behind(home: &Home, owner: &str, name: &std::ffi::OsStr) -> bool {
    let Ok(id) = ContainerId::from_str(owner) else { return true };
    let Ok(Some(_lock)) = Lock::attempt(&home.container(&id).join("layer")) else { return false };
    ContainerConfig::read(home, &id).is_ok_and(|config| name.to_str() != Some(config.name.as_str()))
}

/// Removes run directories of containers that are gone.
fn sweep_run(home: &Home) {
    for name in entries(home.run()) {
        let Some(id) = name.to_str().and_then(|name| ContainerId::from_str(name).ok()) else { continue };
        let path = home.container_run(&id);
        let known = home.container(&id).exists() || home.unfinished(id.as_ref()).exists();
        if !known && settled(&path) {
            let _ = clear_run(home, &id);
        }
    }
}

/// Moves a directory into the trash.
pub(crate) fn discard(home: &Home, directory: &Path) {
    if let Ok(store) = home.store() {
        let _ = store::writable::discard(store, directory);
    }
}

/// Deletes what is in the trash, for which nobody waits.
pub(crate) fn empty_trash(home: &Home) {
    if let Ok(store) = home.store() {
        let _ = store::writable::sweep_trash(store);
    }
}

/// Whether less than a twentieth of the disk's room or files is left.
fn is_scarce(home: &Home) -> bool {
    rustix::fs::statvfs(home.root()).is_ok_and(|disk| {
        disk.f_bavail.saturating_mul(20) < disk.f_blocks || disk.f_favail.saturating_mul(20) < disk.f_files
    })
}

fn settled(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > SETTLED))
}

/// The names in a directory; none if it is missing.
pub(crate) fn entries(path: &Path) -> Vec<OsString> {
    let Ok(directory) = rustix::fs::open(
        path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) else {
        return Vec::new();
    };
    let Ok(entries) = rustix::fs::Dir::new(directory) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_bytes().to_vec())
        .filter(|name| name != b"." && name != b"..")
        .map(OsString::from_vec)
        .collect()
}
