//! A caller's terminal or pipes connected to a running container, until one of them has enough: `run`, `start -a`, `attach`.

use super::creation::Streams;
use crate::exit::{self, Outcome};
use crate::output;
use crate::terminal::{self, Raw};
use engine::client::{Attachment, Exited, Outcome as Relayed};
use engine::keys::DetachKeys;
use engine::stdio::{Local, Signals};
use engine::{Attach, ContainerId, Home};
use failure::{Error, Result};
use std::io::{stderr, stdin, stdout};
use std::os::fd::AsFd as _;

/// Signals that end this process when a terminal is relayed: `--sig-proxy` is for pipes only, as in Docker.
const FATAL: &[i32] = &[1, 2, 3, 15];

/// What a caller wants of a session. Made before the container starts, so that no signal is lost.
#[derive(Debug)]
pub(super) struct Session {
    streams: Streams,
    terminal: bool,
    keys: DetachKeys,
    proxy: bool,
    signals: Signals,
}

impl Session {
    /// A session with these streams; `terminal`: the container has one.
    ///
    /// # Errors
    /// Detach keys that are none.
    pub(super) fn new(streams: Streams, terminal: bool, keys: Option<&str>, proxy: bool) -> Result<Self> {
        let keys = keys.map_or_else(|| Ok(DetachKeys::default()), DetachKeys::parse)?;
        let signals = Signals::block(proxy || terminal)?;
        Ok(Self { streams, terminal, keys, proxy: proxy && !terminal, signals })
    }

    /// What to ask of the engine.
    pub(super) fn attach(&self) -> Attach {
        Attach {
            stdin: self.streams.stdin,
            stdout: self.streams.stdout,
            stderr: self.streams.stderr,
            size: if self.terminal { terminal::size() } else { None },
        }
    }

    /// Relays until the end; the exit code is the container's.
    pub(super) fn relay(self, home: &Home, id: &ContainerId, attachment: Attachment) -> Outcome {
        let (input, output, errors) = (stdin(), stdout(), stderr());
        // Not before the start: the engine may execute this program afresh, and that must find the terminal as it was.
        let shown = self.terminal && self.streams.stdin && terminal::on_stdin();
        let raw = if shown { Some(Raw::enter()?) } else { None };
        let proxy = self.proxy;
        let mut on_signal = |number: i32| {
            if proxy {
                // A container that has just ended needs no signal.
                let _ = engine::kill(home, id, &number.to_string());
            } else {
                end_on_signal(number);
            }
        };
        let local = Local {
            stdin: self.streams.stdin.then(|| input.as_fd()),
            stdout: self.streams.stdout.then(|| output.as_fd()),
            stderr: self.streams.stderr.then(|| errors.as_fd()),
            terminal: (self.terminal && output::to_terminal()).then(|| output.as_fd()),
            detach_keys: shown.then_some(self.keys),
            signals: Some((&self.signals, &mut on_signal)),
        };
        let relayed = attachment.relay(local);
        drop(raw);
        end(relayed?, id)
    }
}

/// The exit code of an end, and the words it deserves.
fn end(relayed: Relayed, id: &ContainerId) -> Outcome {
    match relayed {
        Relayed::Exited(exited) => {
            if let Some(words) = last_words(&exited) {
                output::complain(&words);
            }
            Ok(exit::of_container(exited.exit.code))
        }
        Relayed::Detached | Relayed::OutputClosed => Ok(0),
        Relayed::Lost => {
            let short = id.short();
            let line = format!("lost container `{short}`: its monitor was killed; see `skep ps -a`");
            Err(Error::internal(line).into())
        }
    }
}

fn last_words(exited: &Exited) -> Option<String> {
    match (exited.message.is_empty(), exited.out_of_memory) {
        (false, _) => Some(exited.message.clone()),
        (true, true) => Some("the container was killed: it ran out of memory".into()),
        (true, false) => None,
    }
}

/// What a signal does to a process that shows a container's terminal: it ends, and its own terminal is put back first.
pub(super) fn end_on_signal(number: i32) {
    if FATAL.contains(&number) {
        terminal::restore();
        std::process::exit(128 + number);
    }
}

/// Docker's check before a terminal is relayed.
pub(super) fn needs_terminal(terminal: bool, stdin: bool) -> Outcome<()> {
    if terminal && stdin && !terminal::on_stdin() {
        return Err(exit::Stop::Arguments(
            "the input device is not a TTY: leave out -t, or call it from a terminal".into(),
        ));
    }
    Ok(())
}
