//! Directories of groups: making one with its parents, listing its processes, removing it with what is below.

use std::os::fd::{AsFd, BorrowedFd};
use std::thread::sleep;
use std::time::Duration;

use failure::{Context, Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{file, host};

/// How long a removal waits for processes that are on their way out, doubling from the first step: about four seconds in
/// all, which a busy machine needs now and then.
const FIRST_WAIT: Duration = Duration::from_micros(500);
const WAITS: u32 = 13;
/// Groups nest no deeper than this below a container's own; the kernel's paths end long before.
const DEEPEST: u32 = 1000;

/// What to do with a group that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// Without processes it is a leftover of a container that lost its monitor: made anew.
    Replace,
    /// Without processes it is used as it is, with the limits that somebody gave it.
    Use,
    /// It was made for us, and has a process already.
    Adopt,
}

/// What was made on the way to a group, to be undone if something fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// The group itself.
    pub(super) group: bool,
    /// The topmost group above it.
    top: Option<String>,
}

impl Made {
    /// Removes what was made for the group in this directory, as far as nobody uses it.
    pub(super) fn undo(&self, directory: &str) {
        let _ = if self.group { remove(directory) } else { Ok(()) };
        let Some(top) = &self.top else { return };
        let mut above = directory;
        while let Some((parent, _)) = above.rsplit_once('/').filter(|(parent, _)| parent.len() >= top.len()) {
            if rustix::fs::rmdir(parent).is_err() {
                return;
            }
            above = parent;
        }
    }
}

/// Makes a group's directory below the root of a hierarchy, and its parents if they are missing; `prepare` is called for
/// each on the way, from the top, and told whether it is new.
pub(super) fn make(
    root: &str,
    path: &str,
    existing: Existing,
    prepare: impl Fn(&str, bool) -> rustix::io::Result<()>,
) -> Result<Made> {
    let directory = format!("{root}{path}");
    let mut made = Made::default();
    let done = match mkdir(&directory) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => {
            make_parents(root, path, &prepare, &mut made.top).and_then(|()| mkdir(&directory)).map(|()| true)
        }
        Err(Errno::EXIST) => take(&directory, existing),
        Err(errno) => Err(errno),
    };
    made.group = done == Ok(true);
    match done.and_then(|new| prepare(&directory, new)) {
        Ok(()) => Ok(made),
        Err(Errno::BUSY | Errno::EXIST) => Err(Error::conflict(format!(
            "the control group `{directory}` has processes already; is the container running?"
        ))),
        Err(errno) => {
            made.undo(&directory);
            Err(errno).with_context(|| format!("make the control group `{directory}`"))
        }
    }
}

/// The nearest group on the way down to this one that exists, the root at last.
pub(super) fn nearest(root: &str, path: &str) -> String {
    let mut path = path;
    while !path.is_empty() {
        let directory = format!("{root}{path}");
        if rustix::fs::stat(&*directory).is_ok() {
            return directory;
        }
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    root.to_owned()
}

/// The processes in a group and in all groups below it.
pub(super) fn processes(directory: &str) -> rustix::io::Result<Vec<i32>> {
    let mut found = match file::read(&format!("{directory}/cgroup.procs")) {
        // A threaded group has threads of processes that are counted above it.
        Err(Errno::OPNOTSUPP) => list(&file::read(&format!("{directory}/cgroup.threads"))?),
        text => list(&text?),
    };
    for child in host::children(directory) {
        // A group that went away meanwhile has no processes.
        found.extend(processes(&format!("{directory}/{child}")).unwrap_or_default());
    }
    Ok(found)
}

/// Removes a group and all below it, and waits a little for processes that are ending. A group that is gone is fine.
pub(super) fn remove(directory: &str) -> Result<()> {
    let mut wait = FIRST_WAIT;
    for attempt in 0..=WAITS {
        match rustix::fs::rmdir(directory) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) if attempt < WAITS => {
                remove_children(directory);
                // Without children left, it is the processes that take their time.
                match rustix::fs::rmdir(directory) {
                    Ok(()) | Err(Errno::NOENT) => return Ok(()),
                    Err(_) => sleep(wait),
                }
                wait *= 2;
            }
            Err(Errno::BUSY | Errno::NOTEMPTY) => break,
            Err(errno) => return Err(errno).with_context(|| format!("remove the control group `{directory}`")),
        }
    }
    Err(Error::new(
        failure::Kind::Busy,
        format!("the control group `{directory}` still has processes; kill them first"),
    ))
}

fn mkdir(directory: &str) -> rustix::io::Result<()> {
    rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755))
}

/// Takes a group that exists; says whether it was made anew.
fn take(directory: &str, existing: Existing) -> rustix::io::Result<bool> {
    match existing {
        Existing::Adopt => Ok(false),
        Existing::Use => match processes(directory)?.is_empty() {
            true => Ok(false),
            false => Err(Errno::BUSY),
        },
        Existing::Replace => {
            if processes(directory)?.is_empty() {
                remove_children(directory);
            }
            rustix::fs::rmdir(directory)?;
            mkdir(directory).map(|()| true)
        }
    }
}

fn make_parents(
    root: &str,
    path: &str,
    prepare: impl Fn(&str, bool) -> rustix::io::Result<()>,
    top: &mut Option<String>,
) -> rustix::io::Result<()> {
    let separators = path.match_indices('/').map(|(index, _)| index).skip(1);
    for end in separators {
        let parent = format!("{root}{}", &path[..end]);
        match mkdir(&parent) {
            Ok(()) => {
                top.get_or_insert_with(|| parent.clone());
                prepare(&parent, true)?;
            }
            Err(Errno::EXIST) => prepare(&parent, false)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Removes what can be removed below a group; by directory descriptors, so that no depth is too long for a path.
fn remove_children(directory: &str) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(opened) = rustix::fs::openat(CWD, directory, flags, Mode::empty()) {
        remove_below(opened.as_fd(), 0);
    }
}

fn remove_below(directory: BorrowedFd<'_>, depth: u32) {
    if depth >= DEEPEST {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for child in host::children_of(directory) {
        if rustix::fs::unlinkat(directory, &*child, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        if let Ok(opened) = rustix::fs::openat(directory, &*child, flags, Mode::empty()) {
            remove_below(opened.as_fd(), depth + 1);
            let _ = rustix::fs::unlinkat(directory, &*child, AtFlags::REMOVEDIR);
        }
    }
}

fn list(text: &str) -> Vec<i32> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
