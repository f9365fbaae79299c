//! The tiny PID 1 of `--init`: forwards signals to the program, reaps whatever dies, ends as the program ended.
//!
//! It runs no file: it is this process, with all its descriptors closed and its capabilities those of the container. The program is
//! the leader of a process group of its own, in the foreground of the terminal if there is one. When it ends, PID 1 ends,
//! and the kernel ends the rest.

use core::ffi::CStr;

use rustix::io::{Errno, Result};
use rustix::process::{Pid, WaitOptions};
use sys::process::Clone;
use sys::signal::{self, Set};

use crate::credentials;
use crate::step::Credentials;

/// What `ps` shows.
const NAME: &CStr = c"init";
const SIGNAL_OF_CHILD: i32 = 17;
/// What the terminal sends to processes in the background; forwarding it would stop the program.
const SIGNAL_TTY_IN: i32 = 21;
const SIGNAL_TTY_OUT: i32 = 22;

/// Splits this process. Returns in the child, which is to become the program.
pub(crate) fn supervise(credentials: &Credentials<'_>) -> Result<()> {
    signal::set_mask(Set::ALL)?;
    match sys::process::clone(0, None)? {
        Clone::Parent { pid, pidfd } => {
            drop(pidfd);
            // Not the command line of whoever launched it.
            sys::title::set(NAME.to_bytes());
            let named = rustix::thread::set_name(NAME);
            let settled =
                named.and_then(|()| credentials::settle(credentials)).and_then(|()| sys::process::close_from(0));
            if settled.is_err() {
                sys::process::exit(125);
            }
            watch(pid)
        }
        Clone::Child => {
            rustix::process::setpgid(None, None)?;
            // Without a terminal there is no foreground to go to. SIGTTOU is still blocked.
            match sys::terminal::take_foreground() {
                Err(Errno::NOTTY | Errno::BADF | Errno::NXIO) | Ok(()) => {}
                Err(errno) => return Err(errno),
            }
            signal::set_mask(Set::EMPTY).map(drop)
        }
    }
}

fn watch(program: Pid) -> ! {
    loop {
        match signal::wait(Set::ALL) {
            Ok(SIGNAL_OF_CHILD) => reap(program),
            Ok(SIGNAL_TTY_IN | SIGNAL_TTY_OUT) | Err(_) => {}
            // A program that is gone already is reaped next.
            Ok(number) => drop(signal::kill(program.as_raw_nonzero().get(), number)),
        }
    }
}

/// Waits for all that have died, and ends with the program.
fn reap(program: Pid) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == program {
            let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
            if let Some(code) = code {
                sys::process::exit(code);
            }
        }
    }
}
