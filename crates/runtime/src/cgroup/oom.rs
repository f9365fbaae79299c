//! Who watches a group for want of memory: a descriptor to wait on, and what it says.
//!
//! ```text
//!   v1   an eventfd, registered in cgroup.event_control for memory.oom_control; the kernel counts into it, also at the
//!        end of the group
//!   v2   inotify on memory.events, whose `oom_kill` counts, and on cgroup.events, which changes when the last process goes
//! ```

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use failure::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::file;

/// What happened in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryEvent {
    /// A process was killed, or waits, for want of memory.
    OutOfMemory,
    /// Nothing that matters.
    Nothing,
    /// The group has no processes any more, or is gone.
    Ended,
}

/// A watch over a group. Its descriptor is readable when [`OomWatch::take_event`] has something to say.
#[derive(Debug)]
pub struct OomWatch {
    events: OwnedFd,
    source: Source,
}

#[derive(Debug)]
enum Source {
    V1 { control: String },
    V2 { directory: String, kills: u64 },
}

impl OomWatch {
    /// Watches v1's memory group.
    pub(super) fn v1(directory: &str) -> Result<Self> {
        let events = eventfd(0, EventfdFlags::CLOEXEC).context("make an event descriptor")?;
        let control = format!("{directory}/cgroup.event_control");
        let path = format!("{directory}/memory.oom_control");
        let watched = rustix::fs::openat(CWD, &*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("open `{path}`"))?;
        let line = format!("{} {}", events.as_raw_fd(), watched.as_raw_fd());
        file::write(&control, &line).with_context(|| format!("write `{control}`"))?;
        Ok(Self { events, source: Source::V1 { control } })
    }

    /// Watches a v2 group.
    pub(super) fn v2(directory: &str) -> Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("make a watch")?;
        for name in ["memory.events", "cgroup.events"] {
            let path = format!("{directory}/{name}");
            inotify::add_watch(&events, &*path, WatchFlags::MODIFY).with_context(|| format!("watch `{path}`"))?;
        }
        let source = Source::V2 { directory: directory.to_owned(), kills: kills(directory) };
        Ok(Self { events, source })
    }

    /// What has happened, once the descriptor is readable.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn take_event(&mut self) -> Result<MemoryEvent> {
        match &mut self.source {
            Source::V1 { control } => {
                let mut count = [0; 8];
                rustix::io::retry_on_intr(|| rustix::io::read(&self.events, &mut count)).context("read the events")?;
                // The end of a group is told in the same way as want of memory.
                let there = rustix::fs::stat(&**control).is_ok();
                Ok(if there { MemoryEvent::OutOfMemory } else { MemoryEvent::Ended })
            }
            Source::V2 { directory, kills: known } => {
                drain(self.events.as_fd())?;
                let now = kills(directory);
                if now > *known {
                    *known = now;
                    return Ok(MemoryEvent::OutOfMemory);
                }
                let populated = file::read(&format!("{directory}/cgroup.events"))
                    .is_ok_and(|text| file::keyed(&text, "populated") == Some(1));
                Ok(if populated { MemoryEvent::Nothing } else { MemoryEvent::Ended })
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

fn kills(directory: &str) -> u64 {
    let text = file::read(&format!("{directory}/memory.events")).unwrap_or_default();
    file::keyed(&text, "oom_kill").unwrap_or(0)
}

fn drain(events: BorrowedFd<'_>) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(events, &mut buffer) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("read the events"),
        }
    }
}
