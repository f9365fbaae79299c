//! `pause` and `resume`: a container's processes stand still, and go on.

use failure::{Error, Result};

use crate::command::Command;
use crate::container::{Container, Status};
use crate::flags::{Order, Words};
use crate::global::Global;
use crate::words;

pub(crate) static PAUSE: Command = Command {
    name: "pause",
    about: "pause suspends all processes inside the container",
    usage: "<container-id>",
    description: "Stops all processes of a container where they stand, until `resume`.",
    flags: &[],
    order: Order::Mixed,
    words: (1, 1),
    run: pause,
};

pub(crate) static RESUME: Command = Command {
    name: "resume",
    about: "resumes all processes that have been previously paused",
    usage: "<container-id>",
    description: "Lets all processes of a paused container go on.",
    flags: &[],
    order: Order::Mixed,
    words: (1, 1),
    run: resume,
};

fn pause(global: &Global, words: &Words) -> Result<u8> {
    let container = Container::find(global, &words.rest[0])?;
    match container.status() {
        Status::Running | Status::Created => container.cgroup()?.freeze()?,
        Status::Paused => {}
        Status::Stopped | Status::Creating => return Err(words::not_running()),
    }
    Ok(0)
}

fn resume(global: &Global, words: &Words) -> Result<u8> {
    let container = Container::find(global, &words.rest[0])?;
    // A created one can be frozen too, but is still called created.
    let group = container.cgroup();
    match container.status() {
        Status::Stopped | Status::Creating => Err(words::not_running()),
        _ if group.as_ref().is_ok_and(|group| group.is_frozen().unwrap_or(false)) => group?.thaw().map(|()| 0),
        _ => Err(Error::conflict("container not paused")),
    }
}
