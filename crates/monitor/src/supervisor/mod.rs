//! The loop beside a container: one thread, one poll, fixed buffers.
//!
//! ```text
//!            +---------- log::Writer <---------+
//!  stdout ---|                                 |            states
//!  stderr ---+--> chunk (32 KiB) --+--> Peer (first client)   serving --- pidfd readable ---> drained --finish--> gone
//!  or master |                     +--> Peer (attach) ...     run()       reap, read what is    Exited to all,
//!            |                                                            left in the pipes     socket removed
//!  stdin <---+---- Input <------------ Peer ...
//!  or master        ^ only with keep_stdin
//! ```
//!
//! What waits for whom:
//! - **A client that does not take its output stops the reading of output**, so the container waits in its next
//!   write, as under Docker; memory stays at the rest of one chunk a client. The first client (`skep run`) may take
//!   for ever; any other is dropped after 10 s without taking a byte. A client that hangs up or dies is dropped at
//!   once.
//! - **A container that does not read its stdin stops the reading from clients that send it**, their resizes too.
//! - **The log never waits**: see `log::writer`.
//! - **After the process's end** nothing waits: its namespace is dead, so what is in the pipes is all there is. Where
//!   others may hold the pipes (`--pid=host`), what they write later belongs to nobody; only what is readable at the
//!   end is taken.
//!
//! poll(2), not epoll(7): a handful of descriptors whose interest changes all the time; the set is made anew for each
//! sleep from the state itself, so there is no second copy of the state in the kernel, and an EPOLLHUP of a peer that
//! is kept waiting cannot spin. At rest there is no timer at all; one second after the last activity the buffers are
//! given back.

mod peer;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use failure::{Context, Result};
use runtime::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::termios::{Winsize, tcsetwinsize};

use self::peer::Peer;
use crate::Exit;
use crate::input::Input;
use crate::log::{self, Stream, Writer};
use crate::protocol::{self, Event, Exited, Frame, HEADER, Wants};
use crate::{socket, state};

/// Read from the container or a client at once.
const CHUNK: usize = 32 * 1024;
/// More clients are turned away.
const MOST_PEERS: usize = 64;
/// Without activity for this long, memory is given back.
const REST: Duration = Duration::from_secs(1);
/// Reads from one client before the others have their turn: more than its socket holds.
const READS: usize = 16;
/// More is not taken out of a stream after the process's end: no pipe or terminal holds so much by itself.
const MOST_LEFT: usize = 4 * 1024 * 1024;

/// The monitor's ends of the container's stdio.
#[derive(Debug)]
pub enum Streams {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Its pipes.
    Pipes {
        /// The writing end of its stdin; `None`: it reads /dev/null.
        stdin: Option<OwnedFd>,
        /// The reading end of its stdout.
        stdout: OwnedFd,
        /// The reading end of its stderr.
        stderr: OwnedFd,
    },
}

/// The client that started the container and stays with it (or only hears that it started).
#[derive(Debug)]
pub struct FirstClient {
    /// The monitor's end of a socket pair.
    pub stream: UnixStream,
    /// What the client wants; known without a Hello.
    pub wants: Wants,
}

/// All that a monitor needs.
#[derive(Debug)]
pub struct Setup {
    /// `<run>/<id>`, which exists: the socket is made there, and the lock of [`crate::state`] held.
    pub run: PathBuf,
    /// Where output goes.
    pub log: log::Settings,
    /// Directory of the log files; made with the first output if missing.
    pub log_directory: PathBuf,
    /// The container's first process: a child of this process.
    pub identity: ProcessIdentity,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Its stdio.
    pub streams: Streams,
    /// `-i`: clients may send stdin.
    pub keep_stdin: bool,
    /// Stdin ends when a client that sends it ends it or goes (`-i` without `-d`).
    pub stdin_once: bool,
    /// Whoever started the container.
    pub first_client: Option<FirstClient>,
}

/// The process beside a container.
#[derive(Debug)]
pub struct Monitor {
    run: PathBuf,
    /// Says that this monitor lives.
    _lock: OwnedFd,
    listener: UnixListener,
    identity: ProcessIdentity,
    pidfd: OwnedFd,
    /// Stdout (or the terminal) and stderr, while open.
    sources: [Option<OwnedFd>; 2],
    /// The first source is a terminal, which has a size and no half-close.
    is_terminal: bool,
    input: Input,
    keep_stdin: bool,
    stdin_once: bool,
    peers: Vec<Peer>,
    writer: Writer,
    /// Room for a header, then a chunk. Empty at rest.
    buffer: Vec<u8>,
    /// Something happened since memory was given back.
    is_warm: bool,
}

/// What a sleep ended for.
#[derive(Debug, Default)]
struct Ready {
    process: bool,
    listener: bool,
    sources: [bool; 2],
    stdin: bool,
    /// What each peer is ready for.
    peers: Vec<PollFlags>,
}

impl Monitor {
    /// Makes the socket and takes the lock. Write "running" into the state after this, then call [`Monitor::run`].
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn new(setup: Setup) -> Result<Self> {
        let lock = state::hold(&setup.run)?;
        let listener = socket::listen(&setup.run)?;
        listener.set_nonblocking(true).context("prepare the monitor's socket")?;
        let (stdin, stdout, stderr, is_terminal) = match setup.streams {
            Streams::Pipes { stdin, stdout, stderr } => (stdin, stdout, Some(stderr), false),
            Streams::Terminal(master) => {
                let stdin =
                    setup.keep_stdin.then(|| master.try_clone()).transpose().context("duplicate the terminal")?;
                (stdin, master, None, true)
            }
        };
        let sources = [Some(stdout), stderr];
        for descriptor in sources.iter().flatten().chain(&stdin) {
            fcntl_setfl(descriptor, OFlags::NONBLOCK).context("prepare the container's streams")?;
        }
        let peers = setup.first_client.map(|first| Peer::new(first.stream, Some(first.wants)));
        Ok(Self {
            run: setup.run,
            _lock: lock,
            listener,
            identity: setup.identity,
            pidfd: setup.pidfd,
            sources,
            is_terminal,
            input: Input::new(stdin, is_terminal),
            keep_stdin: setup.keep_stdin,
            stdin_once: setup.stdin_once,
            peers: peers.into_iter().collect(),
            writer: Writer::new(&setup.log_directory, &setup.log),
            buffer: Vec::new(),
            is_warm: true,
        })
    }

    /// Tells the first client that the container runs, serves until the process has ended and all that it said is
    /// in the log, and reaps it.
    ///
    /// # Errors
    /// The system fails; the container then runs on without a monitor.
    pub fn run(&mut self) -> Result<Exit> {
        let started = protocol::started(&self.identity);
        self.peers.iter_mut().for_each(|peer| peer.send(&started));
        loop {
            self.drop_peers();
            let ready = self.sleep()?;
            self.serve(&ready);
            if ready.process {
                break;
            }
        }
        let exit = Exit::reap(self.pidfd.as_fd())?;
        self.drain();
        self.writer.finish();
        Ok(exit)
    }

    /// Tells every client of the end, waits until they have taken what they were sent, and removes the socket. Call it
    /// when the end is recorded, so that whoever hears of it finds it.
    pub fn finish(mut self, exit: &Exit, out_of_memory: bool, message: &str) {
        socket::remove(&self.run);
        self.accept();
        let message = message.to_owned();
        let exited = protocol::exited(&Exited { exit: exit.clone(), out_of_memory, message });
        self.peers.iter_mut().for_each(|peer| peer.send(&exited));
        loop {
            self.peers.retain(|peer| peer.is_waiting() && !peer.gone && peer.patience() != Some(Duration::ZERO));
            if self.peers.is_empty() {
                return;
            }
            let limit = self.peers.iter().filter_map(Peer::patience).min().and_then(|limit| limit.try_into().ok());
            let mut polled: Vec<_> = self.peers.iter().map(|peer| PollFd::new(peer, PollFlags::OUT)).collect();
            match poll(&mut polled, limit.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            self.peers.iter_mut().for_each(Peer::flush);
        }
    }

    /// Sleeps until there is something to do.
    fn sleep(&mut self) -> Result<Ready> {
        loop {
            let patience = self.peers.iter().filter_map(Peer::patience).min();
            let limit = patience.into_iter().chain(self.is_warm.then_some(REST)).min();
            let (ready, any) = self.poll(limit)?;
            if any {
                self.is_warm = true;
                return Ok(ready);
            }
            if self.is_warm && patience.is_none() {
                self.rest();
            } else {
                return Ok(ready);
            }
        }
    }

    /// One poll over all that is of interest now.
    fn poll(&self, limit: Option<Duration>) -> Result<(Ready, bool)> {
        let mut polled = vec![PollFd::new(&self.pidfd, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        let sources: [_; 2] = std::array::from_fn(|index| self.readable_source(index));
        polled.extend(sources.into_iter().flatten().map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)));
        polled.extend(self.input.waits_for().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        let first_peer = polled.len();
        polled.extend(self.peers.iter().map(|peer| PollFd::new(peer, self.interest(peer))));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let count = match poll(&mut polled, limit.as_ref()) {
            Err(Errno::INTR) => 0,
            other => other.context("wait for the container")?,
        };
        let mut results = polled.iter().map(|polled| !polled.revents().is_empty());
        let mut next = |is_polled: bool| is_polled && results.next().unwrap_or(false);
        let ready = Ready {
            process: next(true),
            listener: next(true),
            sources: sources.map(|source| next(source.is_some())),
            stdin: next(self.input.waits_for().is_some()),
            peers: polled[first_peer..].iter().map(PollFd::revents).collect(),
        };
        Ok((ready, count > 0))
    }

    /// A source that may be read now: no client has to catch up.
    fn readable_source(&self, index: usize) -> Option<BorrowedFd<'_>> {
        let source = self.sources[index].as_ref()?;
        (!self.peers.iter().any(Peer::is_waiting)).then(|| source.as_fd())
    }

    /// What to wait for from a client. Its hanging up is always seen.
    fn interest(&self, peer: &Peer) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, !(self.input.is_blocked() && peer.has(Wants::STDIN)));
        interest.set(PollFlags::OUT, peer.is_waiting());
        interest
    }

    /// Does what the sleep ended for.
    fn serve(&mut self, ready: &Ready) {
        for (peer, events) in self.peers.iter_mut().zip(&ready.peers) {
            if events.contains(PollFlags::OUT) {
                peer.flush();
            }
        }
        if ready.stdin {
            self.input.flush();
        }
        for (index, events) in ready.peers.iter().enumerate() {
            if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.hear(index);
            }
            // What it sent before it hung up was heard just now, unless the container takes no more stdin.
            self.peers[index].gone |= events.intersects(PollFlags::HUP | PollFlags::ERR);
        }
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            // A chunk of stdout may have made a client wait: then stderr waits too.
            if ready.sources[index] && self.readable_source(index).is_some() {
                self.relay(stream, CHUNK);
            }
        }
        if ready.listener {
            self.accept();
        }
    }

    /// Passes one chunk of output on; returns its length, 0 if there is none now or no more.
    fn relay(&mut self, stream: Stream, most: usize) -> usize {
        self.buffer.resize(HEADER + CHUNK, 0);
        let Some(source) = &self.sources[stream.index()] else { return 0 };
        let count = match rustix::io::read(source, &mut self.buffer[HEADER..HEADER + most.min(CHUNK)]) {
            Ok(count) if count > 0 => count,
            Err(Errno::AGAIN | Errno::INTR) => return 0,
            // The end of a pipe; EIO is that of a terminal.
            _ => {
                self.sources[stream.index()] = None;
                return 0;
            }
        };
        self.writer.write(stream, &self.buffer[HEADER..HEADER + count]);
        let (frame, wants) = match stream {
            Stream::Stdout => (Frame::Stdout, Wants::STDOUT),
            Stream::Stderr => (Frame::Stderr, Wants::STDERR),
        };
        self.buffer[..HEADER].copy_from_slice(&protocol::header(frame, count));
        for peer in self.peers.iter_mut().filter(|peer| peer.has(wants)) {
            peer.send(&self.buffer[..HEADER + count]);
        }
        count
    }

    /// Takes what is left in the streams after the process's end.
    fn drain(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let Some(source) = &self.sources[stream.index()] else { continue };
            // A terminal does not know its whole content before it is read.
            let mut left = match self.is_terminal {
                true => MOST_LEFT,
                false => rustix::io::ioctl_fionread(source).map_or(0, |left| left as usize).min(MOST_LEFT),
            };
            while left > 0 {
                match self.relay(stream, left) {
                    0 => break,
                    count => left -= count,
                }
            }
            self.sources[stream.index()] = None;
        }
    }

    /// Lets in who knocks.
    fn accept(&mut self) {
        while let Ok(stream) = accept_with(&self.listener, SocketFlags::CLOEXEC) {
            if self.peers.len() < MOST_PEERS {
                self.peers.push(Peer::new(stream.into(), None));
            }
        }
    }

    /// Reads from a client and does what it says.
    fn hear(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(HEADER + CHUNK, 0);
        for _ in 0..READS {
            if self.input.is_blocked() && self.peers[index].has(Wants::STDIN) {
                break;
            }
            let Some(count) = self.peers[index].receive(&mut buffer) else { break };
            let mut input = &buffer[..count];
            loop {
                // Taken apart from the peer, since what it says may change the rest of the monitor.
                let event = self.peers[index].decoder.next(&mut input);
                match event {
                    Ok(Some(event)) if self.obey(index, &event) => {}
                    Ok(None) => break,
                    _ => {
                        self.peers[index].gone = true;
                        break;
                    }
                }
            }
            if self.peers[index].gone {
                break;
            }
        }
        self.buffer = buffer;
    }

    /// Does what a client says; false if it may not say that.
    fn obey(&mut self, index: usize, event: &Event<'_>) -> bool {
        let peer = &mut self.peers[index];
        match event {
            Event::Hello(wants) if peer.wants.is_none() => {
                peer.wants = Some(*wants);
                peer.send(&protocol::started(&self.identity));
            }
            Event::Stdin(bytes) if peer.has(Wants::STDIN) => {
                if self.keep_stdin {
                    self.input.write(bytes);
                }
            }
            Event::StdinEnd if peer.has(Wants::STDIN) => {
                if self.stdin_once {
                    self.input.end();
                }
            }
            Event::Resize { rows, columns } if peer.wants.is_some() => self.resize(*rows, *columns),
            _ => return false,
        }
        true
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some(master)) = (self.is_terminal, &self.sources[0]) {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal whose last user is gone has no size; nobody would see it.
            let _ = tcsetwinsize(master, size);
        }
    }

    /// Forgets clients that are gone, have all they wanted, or take nothing.
    fn drop_peers(&mut self) {
        let mut sender_gone = false;
        self.peers.retain(|peer| {
            let satisfied = peer.wants.is_some_and(Wants::is_empty) && !peer.is_waiting();
            let leaves = peer.gone || satisfied || peer.patience() == Some(Duration::ZERO);
            sender_gone |= leaves && peer.has(Wants::STDIN);
            !leaves
        });
        if sender_gone && self.stdin_once {
            self.input.end();
        }
    }

    /// Gives memory back.
    fn rest(&mut self) {
        self.buffer = Vec::new();
        self.writer.rest();
        crate::process::trim_memory();
        self.is_warm = false;
    }
}
