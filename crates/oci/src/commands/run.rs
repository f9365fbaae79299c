//! `run`: create and start, and stay until the end unless detached.
//!
//! In the foreground this process is the container's parent: it learns the end from the kernel, and deletes the container.

use failure::Result;
use runtime::Running;

use super::{create, start};
use crate::command::Command;
use crate::container::Container;
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::make::{self, Made, Way};
use crate::signals::Signals;
use crate::{destroy, foreground};

pub(crate) static COMMAND: Command = Command {
    name: "run",
    about: "create and run a container",
    usage: "<container-id>",
    description: "Creates a container from a bundle, starts it, and deletes it at its end. The exit code is the program's,\n\
                  or 128 and the number of the signal that ended it.",
    flags: &[
        create::BUNDLE,
        create::CONSOLE_SOCKET,
        Flag::plain(&["detach", "d"], "detach from the container's process"),
        Flag::plain(&["keep"], "do not delete the container after it exits"),
        create::PID_FILE,
        Flag::plain(&["no-subreaper"], "accepted for compatibility: this program is never a subreaper"),
        create::NO_PIVOT,
        create::NO_NEW_KEYRING,
        create::PRESERVE_FDS,
    ],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    if words.has("detach") {
        let (container, _) = make::make(global, words, Way::Detached)?.into_parts();
        after(global, container)?;
        return Ok(0);
    }
    let signals = Signals::block()?;
    let made = make::make(global, words, Way::Foreground)?;
    follow(global, made, &signals, words.has("keep"))
}

/// The hooks after the start; a container that was to be deleted at its end is deleted if one fails.
fn after(global: &Global, container: Container) -> Result<Container> {
    match start::after(&container) {
        Ok(()) => Ok(container),
        Err(failed) => {
            destroy::destroy(global, container)?;
            Err(failed)
        }
    }
}

fn follow(global: &Global, made: Made, signals: &Signals, keep: bool) -> Result<u8> {
    let (container, running) = made.into_parts();
    let container = after(global, container)?;
    stay(global, container, &running, signals, keep)
}

/// Waits for the end of a container, and deletes it.
pub(crate) fn stay(
    global: &Global,
    container: Container,
    running: &Running,
    signals: &Signals,
    keep: bool,
) -> Result<u8> {
    // While it runs, others may pause, update or delete it.
    container.directory.unlock()?;
    let code = foreground::follow(running, signals)?;
    if !keep && let Some(container) = container.lock_again()? {
        destroy::destroy(global, container)?;
    }
    Ok(code)
}
