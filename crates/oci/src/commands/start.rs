//! `start`: lets the process of a created container execute its program.
//!
//! The lock of its directory makes that happen once; the name of its socket goes last, so that a start that is killed can
//! be repeated.

use std::time::Duration;

use failure::{Error, Result};
use runtime::hooks;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::command::Command;
use crate::container::{Container, Status};
use crate::flags::{Order, Words};
use crate::global::Global;
use crate::{destroy, directory, words};

pub(crate) static COMMAND: Command = Command {
    name: "start",
    about: "executes the user defined process in a created container",
    usage: "<container-id>",
    description: "Starts the program of a container that was made by `create`.",
    flags: &[],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    let container = Container::find_and_lock(global, &words.rest[0])?;
    match container.status() {
        Status::Created => {}
        Status::Stopped | Status::Creating => {
            return Err(Error::conflict("cannot start a container that has stopped"));
        }
        Status::Running | Status::Paused => {
            return Err(Error::conflict("cannot start an already running container"));
        }
    }
    let record = container.record()?;
    let socket = directory::start_socket()?;
    if !container.directory.connect(&socket)? {
        return Err(Error::conflict("cannot start a container that has stopped"));
    }
    if let Err(failed) = runtime::start(&socket, &record.after_start) {
        await_reaper(record.process.pid);
        return Err(words::not_started("start", &record.program, failed));
    }
    container.directory.forget_start();
    after(&container)?;
    Ok(0)
}

/// The process of a failed start has ended. Whoever made the container learns so from the kernel, but tries to delete it
/// as soon as it hears of the failure: that comes second. Who never reaps is not waited for.
fn await_reaper(pid: i32) {
    const PAUSE: Duration = Duration::from_millis(5);
    let Some(pid) = Pid::from_raw(pid) else { return };
    for _ in 0..60 {
        if rustix::process::test_kill_process(pid) == Err(Errno::SRCH) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The hooks after the start. If one fails, so does the start: the container is ended, and stays to be deleted.
pub(crate) fn after(container: &Container) -> Result<()> {
    let hooks = container.record()?.hooks.as_ref().and_then(|hooks| hooks.poststart().clone());
    let Some(hooks) = hooks.filter(|hooks| !hooks.is_empty()) else { return Ok(()) };
    let state = container.hook_state("running", container.record()?.process.pid)?;
    let outcome = hooks::run(&hooks, &state);
    if outcome.is_err() {
        destroy::kill(container)?;
    }
    outcome
}
