//! Stays with a process in the foreground: passes signals on, relays its terminal, waits for its end.
//!
//! ```text
//!   our stdin  (raw) ---> master of its terminal ---> our stdout
//!   SIGWINCH -----------> size of its terminal           one thread, one poll(2)
//!   other signals ------> the process
//!   its pidfd ----------> the end: the exit code, or 128 + the signal
//! ```
//! Signals are blocked before the process is made, so that none is lost in between.

use std::os::fd::{AsFd as _, OwnedFd};

use failure::{Context as _, Result};
use runtime::Running;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::signals::{Arrived, Signals};

/// What is shown after the end is what was written before it; more than a terminal holds cannot be left.
const MOST_LEFT: usize = 4 << 20;

/// Waits for the end of a process; the code to exit with.
pub(crate) fn follow(running: &Running, signals: &Signals) -> Result<u8> {
    let raw = running.terminal.as_ref().and_then(|_| Raw::enter());
    let mut relay = running.terminal.as_ref().map(Relay::new);
    if let Some(relay) = &relay {
        relay.resize();
    }
    loop {
        let ready = wait(running, signals, relay.as_ref())?;
        if ready.signals {
            serve(running, signals, relay.as_ref());
        }
        if let Some(relay) = &mut relay {
            relay.pass(&ready);
        }
        if ready.ended {
            if let Some(relay) = &mut relay {
                relay.drain();
            }
            drop(raw);
            return reap(&running.pidfd);
        }
    }
}

/// The exit code of a process that has ended, or 128 and its signal.
pub(crate) fn reap(pidfd: &OwnedFd) -> Result<u8> {
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            other => break other.context("cannot wait for the process")?,
        }
    };
    let code = status
        .and_then(|status| status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)));
    Ok(u8::try_from(code.unwrap_or(255) & 0xff).unwrap_or(u8::MAX))
}

#[derive(Default)]
struct Ready {
    signals: bool,
    ended: bool,
    stdin: bool,
    master: bool,
}

fn wait(running: &Running, signals: &Signals, relay: Option<&Relay<'_>>) -> Result<Ready> {
    let stdin = std::io::stdin();
    let mut polled = vec![PollFd::new(&running.pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    if let Some(relay) = relay {
        polled.push(PollFd::new(relay.master, if relay.open { PollFlags::IN } else { PollFlags::empty() }));
        if relay.typing {
            polled.push(PollFd::new(&stdin, PollFlags::IN));
        }
    }
    match poll(&mut polled, None) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Ready::default()),
        Err(errno) => return Err(errno).context("cannot wait for the process"),
    }
    let ready = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
    Ok(Ready { ended: ready(0), signals: ready(1), master: ready(2), stdin: ready(3) })
}

fn serve(running: &Running, signals: &Signals, relay: Option<&Relay<'_>>) {
    while let Some(arrived) = signals.next() {
        match (arrived, relay) {
            (Arrived::WindowChanged, Some(relay)) => relay.resize(),
            (Arrived::WindowChanged, None) => {}
            // One that has just ended needs no signal any more.
            (Arrived::Other(signal), _) => {
                let _ = sys::signal::kill(running.identity.pid, signal);
            }
        }
    }
}

/// Between our terminal and its.
struct Relay<'a> {
    master: &'a OwnedFd,
    /// Whether something may still come from the master.
    open: bool,
    /// Whether something may still come from our stdin.
    typing: bool,
}

impl<'a> Relay<'a> {
    fn new(master: &'a OwnedFd) -> Self {
        Self { master, open: true, typing: true }
    }

    /// Gives its terminal the size of ours, if ours has one.
    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(std::io::stdin())
            && (size.ws_row, size.ws_col) != (0, 0)
        {
            let _ = tcsetwinsize(self.master, size);
        }
    }

    fn pass(&mut self, ready: &Ready) {
        let mut buffer = [0_u8; 4096];
        if ready.stdin {
            match rustix::io::read(std::io::stdin(), &mut buffer) {
                Ok(0) => {
                    // What a terminal in canonical mode takes for the end.
                    let _ = rustix::io::write(self.master, &[4]);
                    self.typing = false;
                }
                Ok(length) => write_all(self.master, buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.typing = false,
            }
        }
        if ready.master {
            self.show(&mut buffer);
        }
    }

    /// Shows what is there; how much.
    fn show(&mut self, buffer: &mut [u8]) -> usize {
        match rustix::io::read(self.master, &mut *buffer) {
            // Its last slave was closed.
            Ok(0) | Err(Errno::IO) => self.open = false,
            Ok(length) => {
                write_all(std::io::stdout(), buffer.get(..length).unwrap_or_default());
                return length;
            }
            Err(Errno::INTR) => return 1,
            Err(_) => self.open = false,
        }
        0
    }

    /// Shows what was written before the end. What descendants write later is nobody's.
    fn drain(&mut self) {
        let Ok(flags) = rustix::fs::fcntl_getfl(self.master) else { return };
        let _ = rustix::fs::fcntl_setfl(self.master, flags | OFlags::NONBLOCK);
        let (mut buffer, mut shown) = ([0_u8; 4096], 0);
        while self.open && shown < MOST_LEFT {
            match self.show(&mut buffer) {
                0 => break,
                length => shown += length,
            }
        }
    }
}

fn write_all(to: impl std::os::fd::AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Our terminal, raw until this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}
