//! This process's side of a relay ([`Local`], [`Signals`]), and the relay to a program whose descriptors are ours
//! ([`pump`], for `exec`). The relay to a monitor is in [`crate::client`].
//!
//! ```text
//!  our stdin ---> Typed (detach keys) ---> Input  ---> its stdin   \
//!  our stdout <--- Sink <------------------------------ its stdout  > or the master of its terminal
//!  our stderr <--- Sink <------------------------------ its stderr /
//!  signals ---> size of our terminal, or the caller's callback          one thread, one poll(2), nothing blocks
//! ```
//!
//! Raw mode is the caller's: it belongs to whoever must put it back on every way out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use failure::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::termios::{tcgetwinsize, tcsetwinsize};
use sys::signal::Set;

use crate::input::Input;
use crate::keys::{DetachKeys, Detector};
use crate::sink::Sink;

/// Read at once.
pub(crate) const CHUNK: usize = 32 * 1024;
/// Of a terminal's content at the end no more is taken than any terminal holds.
const MOST_LEFT: usize = 4 * 1024 * 1024;
const WINDOW_CHANGED: i32 = 28;

/// This side of a relay: the descriptors of the command line and what it does with them.
#[derive(Default)]
pub struct Local<'a> {
    /// Read and passed on; `None`: no stdin is sent.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Where stdout goes; `None`: nowhere.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Where stderr goes; `None`: nowhere.
    pub stderr: Option<BorrowedFd<'a>>,
    /// The terminal whose size the container's terminal takes: now and at each SIGWINCH.
    pub terminal: Option<BorrowedFd<'a>>,
    /// Looked for in stdin; only for terminals.
    pub detach_keys: Option<DetachKeys>,
    /// Signals that were blocked before the start, and what is done with each that arrives.
    pub signals: Option<(&'a Signals, &'a mut dyn FnMut(i32))>,
}

/// The program's side, when its descriptors are ours.
#[derive(Debug)]
pub enum Remote {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Our ends of its pipes; all `None` if it has our own descriptors: then only signals are served.
    Pipes {
        /// Its stdin, if it has one of ours.
        stdin: Option<OwnedFd>,
        /// Its stdout.
        stdout: Option<OwnedFd>,
        /// Its stderr.
        stderr: Option<OwnedFd>,
    },
}

/// How a pump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// The process has ended and all that it said was passed on. It is not reaped yet.
    Ended,
    /// The user typed the detach keys.
    Detached,
    /// Nobody reads our stdout or stderr any more.
    OutputClosed,
}

/// Pumps between a program and this process until the program (given by its pidfd) ends. What its own children say
/// after that is not waited for.
///
/// # Errors
/// The system fails.
pub fn pump(process: BorrowedFd<'_>, remote: Remote, mut local: Local<'_>) -> Result<Pumped> {
    let own_signals = local.own_signals()?;
    let mut pump = Pump::new(remote, &local)?;
    let mut typed = Typed::new(&mut local);
    pump.resize(&local);
    loop {
        let ready = pump.poll(process, &typed, &local, own_signals.as_ref())?;
        if ready.signals {
            serve_signals(&mut local, own_signals.as_ref(), |local| pump.resize(local));
        }
        pump.input.flush();
        pump.sinks.iter_mut().for_each(Sink::flush);
        if ready.stdin {
            match typed.read() {
                Read::Bytes(bytes) => pump.input.write(bytes),
                Read::Detach(_) => return Ok(Pumped::Detached),
                Read::End => pump.input.end(),
                Read::Nothing => {}
            }
        }
        for index in 0..2 {
            if ready.sources[index] {
                pump.pass(index);
            }
        }
        if ready.process {
            pump.note_end();
        }
        if pump.sinks.iter().any(Sink::is_broken) {
            return Ok(Pumped::OutputClosed);
        }
        if pump.is_done() {
            return Ok(Pumped::Ended);
        }
    }
}

/// Signals that arrive as data: blocked, and read from a descriptor. Made before the container starts, so that
/// none is lost. The mask is inherited by children; dropping this puts the old mask back.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
    before: Set,
}

impl Signals {
    /// Blocks what `--sig-proxy` passes on, or only WINCH if `proxy` is false. Not passed on: KILL and STOP; CHLD,
    /// PIPE and URG, which are about this process; faults; and job control (TSTP, TTIN, TTOU, CONT), which is the
    /// shell's.
    ///
    /// # Errors
    /// The system fails.
    pub fn block(proxy: bool) -> Result<Self> {
        const OWN: [i32; 15] = [4, 5, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 31];
        // 32 and 33 are the C library's own.
        let passed = (1..=31).chain(34..=sys::signal::LAST).filter(|signal| !OWN.contains(signal));
        let wanted = passed.filter(|signal| proxy || *signal == WINDOW_CHANGED);
        let set = wanted.fold(Set::EMPTY, Set::with);
        let descriptor = sys::descriptors::of_signals(set).context("receive signals")?;
        let before = sys::signal::add_to_mask(set).context("block signals")?;
        Ok(Self { descriptor, before })
    }

    /// The next signal that arrived.
    fn next(&self) -> Option<i32> {
        let mut information = [0_u8; 128];
        match rustix::io::read(&self.descriptor, &mut information) {
            Ok(128) => Some(i32::from_ne_bytes([information[0], information[1], information[2], information[3]])),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = sys::signal::set_mask(self.before);
    }
}

impl<'a> Local<'a> {
    /// Signals for the window's size, if the caller brought none.
    pub(crate) fn own_signals(&self) -> Result<Option<Signals>> {
        (self.terminal.is_some() && self.signals.is_none()).then(|| Signals::block(false)).transpose()
    }

    /// The size of our terminal: rows and columns.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        let size = tcgetwinsize(self.terminal?).ok()?;
        Some((size.ws_row, size.ws_col))
    }

    /// What to wait for signals on.
    pub(crate) fn signal_source<'b>(&'b self, own: Option<&'b Signals>) -> Option<BorrowedFd<'b>> {
        self.signals.as_ref().map(|(signals, _)| *signals).or(own).map(Signals::as_fd)
    }
}

/// Does what arrived signals ask for; true if one of them asks a program to end.
pub(crate) fn serve_signals(local: &mut Local<'_>, own: Option<&Signals>, mut resized: impl FnMut(&Local<'_>)) -> bool {
    let mut asks_to_end = false;
    loop {
        let signals = local.signals.as_ref().map(|(signals, _)| *signals).or(own);
        match signals.and_then(Signals::next) {
            None => return asks_to_end,
            Some(WINDOW_CHANGED) => resized(local),
            Some(signal) => {
                asks_to_end |= matches!(signal, 1 | 2 | 3 | 15);
                if let Some((_, callback)) = &mut local.signals {
                    callback(signal);
                }
            }
        }
    }
}

/// Our stdin: what is typed, or comes out of a pipe or file.
pub(crate) struct Typed<'a> {
    descriptor: Option<BorrowedFd<'a>>,
    detector: Option<Detector>,
    buffer: Vec<u8>,
    filtered: Vec<u8>,
}

/// What a read of stdin gave.
pub(crate) enum Read<'b> {
    Bytes(&'b [u8]),
    /// The detach keys, after these bytes.
    Detach(&'b [u8]),
    End,
    Nothing,
}

impl<'a> Typed<'a> {
    pub(crate) fn new(local: &mut Local<'a>) -> Self {
        let detector = local.detach_keys.take().map(Detector::new);
        Self { descriptor: local.stdin, detector, buffer: Vec::new(), filtered: Vec::new() }
    }

    /// The descriptor to wait for, until its end.
    pub(crate) fn source(&self) -> Option<BorrowedFd<'a>> {
        self.descriptor
    }

    /// Reads what is there. Called when poll says that something is: the descriptor is shared and blocks.
    pub(crate) fn read(&mut self) -> Read<'_> {
        let Some(descriptor) = self.descriptor else { return Read::Nothing };
        self.buffer.resize(CHUNK, 0);
        let count = match rustix::io::read(descriptor, &mut self.buffer) {
            Ok(count) if count > 0 => count,
            Err(Errno::INTR | Errno::AGAIN) => return Read::Nothing,
            _ => {
                self.descriptor = None;
                return Read::End;
            }
        };
        let Some(detector) = &mut self.detector else { return Read::Bytes(&self.buffer[..count]) };
        self.filtered.clear();
        if detector.filter(&self.buffer[..count], &mut self.filtered) {
            return Read::Detach(&self.filtered);
        }
        Read::Bytes(&self.filtered)
    }
}

/// The state of [`pump`].
struct Pump<'a> {
    input: Input,
    sources: [Option<OwnedFd>; 2],
    sinks: [Sink<'a>; 2],
    is_terminal: bool,
    /// After the process's end: how much of each source is still to be passed on.
    left: Option<[usize; 2]>,
    buffer: Vec<u8>,
}

#[derive(Default)]
struct Ready {
    process: bool,
    signals: bool,
    stdin: bool,
    sources: [bool; 2],
}

impl<'a> Pump<'a> {
    fn new(remote: Remote, local: &Local<'a>) -> Result<Self> {
        let (stdin, sources, is_terminal) = match remote {
            Remote::Pipes { stdin, stdout, stderr } => (stdin, [stdout, stderr], false),
            Remote::Terminal(master) => {
                let stdin = master.try_clone().context("duplicate the terminal")?;
                (Some(stdin), [Some(master), None], true)
            }
        };
        for descriptor in sources.iter().flatten().chain(&stdin) {
            fcntl_setfl(descriptor, OFlags::NONBLOCK).context("prepare the program's streams")?;
        }
        let mut input = Input::new(stdin, is_terminal);
        if local.stdin.is_none() {
            input.end();
        }
        let sinks = [Sink::new(local.stdout), Sink::new(local.stderr)];
        Ok(Self { input, sources, sinks, is_terminal, left: None, buffer: vec![0; CHUNK] })
    }

    fn poll(
        &self,
        process: BorrowedFd<'_>,
        typed: &Typed<'_>,
        local: &Local<'_>,
        own: Option<&Signals>,
    ) -> Result<Ready> {
        let process = self.left.is_none().then_some(process);
        let signals = local.signal_source(own);
        let stdin = typed.source().filter(|_| !self.input.is_blocked() && self.left.is_none());
        let source =
            |index: usize| self.sources[index].as_ref().map(OwnedFd::as_fd).filter(|_| !self.sinks[index].is_blocked());
        let sources = [source(0), source(1)];
        let mut polled: Vec<PollFd<'_>> = [process, signals, stdin, sources[0], sources[1]]
            .into_iter()
            .flatten()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        polled.extend(self.input.waits_for().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        polled.extend(
            self.sinks.iter().filter_map(Sink::waits_for).map(|sink| PollFd::from_borrowed_fd(sink, PollFlags::OUT)),
        );
        match poll(&mut polled, None) {
            Err(Errno::INTR) => return Ok(Ready::default()),
            other => other.context("wait for the program")?,
        };
        let mut results = polled.iter().map(|polled| !polled.revents().is_empty());
        let mut next = |is_polled: bool| is_polled && results.next().unwrap_or(false);
        Ok(Ready {
            process: next(process.is_some()),
            signals: next(signals.is_some()),
            stdin: next(stdin.is_some()),
            sources: [next(sources[0].is_some()), next(sources[1].is_some())],
        })
    }

    /// Passes one chunk of output on.
    fn pass(&mut self, index: usize) {
        let Some(source) = &self.sources[index] else { return };
        let most = self.left.map_or(CHUNK, |left| left[index].min(CHUNK));
        let count = match rustix::io::read(source, &mut self.buffer[..most]) {
            Ok(count) if count > 0 => count,
            // After the end, nothing there means that nothing is left.
            Err(Errno::AGAIN) if self.left.is_none() => return,
            Err(Errno::INTR) => return,
            _ => {
                self.sources[index] = None;
                return;
            }
        };
        self.sinks[index].write(&self.buffer[..count]);
        if let Some(left) = &mut self.left {
            left[index] -= count;
            if left[index] == 0 {
                self.sources[index] = None;
            }
        }
    }

    /// The process has ended: what is in its streams now is what is still to be passed on.
    fn note_end(&mut self) {
        let left = [0, 1].map(|index| match &self.sources[index] {
            None => 0,
            Some(_) if self.is_terminal => MOST_LEFT,
            Some(source) => rustix::io::ioctl_fionread(source).map_or(0, |left| left as usize),
        });
        for (source, left) in self.sources.iter_mut().zip(left) {
            if left == 0 {
                *source = None;
            }
        }
        self.left = Some(left);
    }

    /// Whether all was passed on. Sources that others keep open, but that are empty, do not count.
    fn is_done(&mut self) -> bool {
        if self.left.is_none() || self.sinks.iter().any(Sink::is_blocked) {
            return false;
        }
        for index in 0..2 {
            while self.sources[index].is_some() && !self.sinks[index].is_blocked() {
                self.pass(index);
            }
        }
        self.sources.iter().all(Option::is_none) && !self.sinks.iter().any(Sink::is_blocked)
    }

    /// Gives the program's terminal the size of ours.
    fn resize(&self, local: &Local<'_>) {
        if let (true, Some(master), Some((rows, columns))) = (self.is_terminal, &self.sources[0], local.size()) {
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(master, size);
        }
    }
}
