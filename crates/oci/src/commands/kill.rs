//! `kill`: a signal to a container's first process, or to all of them.
//!
//! The first is signaled through a handle that was checked against its start time: never a later process of its number.

use failure::{Context as _, Result};
use rustix::io::Errno;

use crate::command::Command;
use crate::container::{Container, Status};
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::{signals, words};

pub(crate) static COMMAND: Command = Command {
    name: "kill",
    about: "kill sends the specified signal (default: SIGTERM) to the container's init process",
    usage: "<container-id> [signal]",
    description: "Sends a signal, by its name or number, to the container's first process.",
    flags: &[Flag::plain(&["all", "a"], "send the specified signal to all processes inside the container")],
    order: Order::Mixed,
    words: (1, 2),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    let signal = signals::parse(words.rest.get(1).map_or("SIGTERM", String::as_str))?;
    let container = Container::find(global, &words.rest[0])?;
    if words.has("all") {
        all(&container, signal)?;
        return Ok(0);
    }
    if container.status() == Status::Stopped {
        return Err(words::not_running());
    }
    first(&container, signal)?;
    if signal == signals::KILL && !container.record()?.own_processes {
        // Nothing else ends the others: their first process is not the kernel's first of a namespace.
        all(&container, signal)?;
    }
    Ok(0)
}

fn first(container: &Container, signal: i32) -> Result<()> {
    let pidfd = container.record()?.process.open().map_err(|_| words::not_running())?;
    match sys::signal::send(&pidfd, signal) {
        Err(Errno::SRCH) => return Err(words::not_running()),
        other => other.context("cannot signal the container")?,
    }
    // A frozen process of v1 takes nothing, not even this.
    match container.cgroup() {
        Ok(group) if signal == signals::KILL && group.is_frozen().unwrap_or(false) => group.thaw(),
        _ => Ok(()),
    }
}

/// Whoever is in the group while we look; of one that has stopped that may be nobody.
fn all(container: &Container, signal: i32) -> Result<()> {
    let Ok(group) = container.cgroup() else { return Ok(()) };
    if signal == signals::KILL {
        return group.kill_all();
    }
    for pid in group.processes()? {
        match sys::signal::kill(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno).with_context(|| format!("cannot signal process {pid}")),
        }
    }
    Ok(())
}
