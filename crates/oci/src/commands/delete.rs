//! `delete`: all that is held for a container that has ended, or that is ended by force.
//!
//! It waits for the container's lock: what is being created is deleted once that has come to an end.

use failure::{Error, Kind, Result};

use crate::command::Command;
use crate::container::{Container, Status};
use crate::destroy;
use crate::flags::{Flag, Order, Words};
use crate::global::Global;

pub(crate) static COMMAND: Command = Command {
    name: "delete",
    about: "delete any resources held by the container often used with detached container",
    usage: "<container-id>",
    description: "Deletes a container that has stopped, or that was never started.",
    flags: &[Flag::plain(&["force", "f"], "forcibly deletes the container if it is still running (uses SIGKILL)")],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    let force = words.has("force");
    let container = match Container::find_and_lock(global, &words.rest[0]) {
        Err(gone) if force && gone.kind() == Kind::NotFound => return Ok(0),
        found => found?,
    };
    match container.status() {
        Status::Stopped | Status::Creating => {}
        Status::Created => destroy::kill(&container)?,
        _ if force => destroy::kill(&container)?,
        other => {
            let line = format!("cannot delete container {} that is not stopped: {}", container.id(), other.name());
            return Err(Error::conflict(line));
        }
    }
    destroy::destroy(global, container)?;
    Ok(0)
}
