//! The command line's end of a monitor's socket: attach, relay, wait.
//!
//! ```text
//!  connect / from_stream --> started --> relay --> Exited | Detached | Lost | OutputClosed
//!                                 \----> wait  --> Exited | Lost
//! ```
//!
//! Nothing blocks but the one poll(2): a stopped reader of our stdout leaves signals and detach keys alive, and stops
//! the reading of the socket, so that the container waits in the end, not memory grows.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use failure::{Context, Error, Result};
use runtime::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::protocol::{self, Decoder, Event, Frame, Side};
pub use crate::protocol::{Exited, Wants};
use crate::sink::Sink;
use crate::socket;
use crate::stdio::{Local, Read, Signals, Typed, serve_signals};

/// Read from the socket at once.
const CHUNK: usize = 64 * 1024;
/// So much stdin waits for the socket; the detach keys are seen as long as there is room.
const MOST_OUTGOING: usize = 64 * 1024;

/// A connection to a monitor.
#[derive(Debug)]
pub struct Attachment {
    stream: UnixStream,
    decoder: Decoder,
    /// What was received and not yet looked at.
    received: Vec<u8>,
}

/// How a relay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended.
    Exited(Exited),
    /// The user typed the detach keys; the container runs on.
    Detached,
    /// The monitor is gone without a word: it was killed, or it dropped us because we did not take the output.
    Lost,
    /// Nobody reads our stdout or stderr any more; the container runs on.
    OutputClosed,
}

/// What [`wait`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The container ended.
    Exited(Exited),
    /// It has no monitor: read its state.
    NotRunning,
}

/// Waits for the end of the container whose run directory this is. If its monitor is killed meanwhile, that is
/// [`Waited::NotRunning`] too.
///
/// # Errors
/// The system fails.
pub fn wait(run: &Path) -> Result<Waited> {
    let Some(attachment) = Attachment::try_connect(run, Wants::EXIT)? else { return Ok(Waited::NotRunning) };
    Ok(match attachment.wait()? {
        Outcome::Exited(exited) => Waited::Exited(exited),
        _ => Waited::NotRunning,
    })
}

/// A descriptor that is hung up once the container has ended and its log is whole, for [`crate::log::Query::follow`].
///
/// # Errors
/// No monitor is there.
pub fn end_of(run: &Path) -> Result<OwnedFd> {
    // Without a Hello the monitor says nothing before the end.
    Ok(required(socket::connect(run)?, run)?.into())
}

impl Attachment {
    /// Connects to the monitor whose run directory this is.
    ///
    /// # Errors
    /// No monitor is there.
    pub fn connect(run: &Path, wants: Wants) -> Result<Self> {
        required(Self::try_connect(run, wants)?, run)
    }

    /// The client's end of the socket pair that was made for the first client.
    pub fn from_stream(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::new(Side::Monitor), received: Vec::new() }
    }

    /// Waits until the container runs.
    ///
    /// # Errors
    /// It could not be started: the failure as the monitor's process saw it.
    pub fn started(&mut self) -> Result<ProcessIdentity> {
        let mut started = None;
        while started.is_none() {
            if !self.receive(RecvFlags::empty())? {
                return Err(Error::internal("the monitor ended before the container started"));
            }
            let received = std::mem::take(&mut self.received);
            let mut rest = &received[..];
            while started.is_none()
                && let Some(event) = self.decoder.next(&mut rest)?
            {
                match event {
                    Event::Started(identity) => started = Some(identity),
                    Event::Failed(error) => return Err(error),
                    _ => return Err(Error::internal("the monitor spoke before the container started")),
                }
            }
            self.received = rest.to_vec();
        }
        started.ok_or_else(|| Error::internal("the monitor said nothing"))
    }

    /// Gives the container's terminal a size.
    ///
    /// # Errors
    /// The monitor is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        send(&self.stream, &protocol::resize(rows, columns), SendFlags::NOSIGNAL).context("resize the terminal")?;
        Ok(())
    }

    /// Pumps between this process's descriptors and the container until one of them ends. One thread.
    ///
    /// # Errors
    /// The system fails.
    pub fn relay(mut self, mut local: Local<'_>) -> Result<Outcome> {
        let own_signals = local.own_signals()?;
        let mut relay = Relay::new(&local);
        let mut typed = Typed::new(&mut local);
        relay.resize(&local);
        relay.take(&mut self)?;
        loop {
            if let Some(outcome) = relay.outcome() {
                return Ok(outcome);
            }
            relay.send(&self.stream);
            let ready = relay.poll(&self.stream, &typed, &local, own_signals.as_ref())?;
            if ready.signals {
                let asks_to_end = serve_signals(&mut local, own_signals.as_ref(), |local| relay.resize(local));
                if asks_to_end && relay.end.is_some() {
                    relay.sinks = [Sink::new(None), Sink::new(None)];
                }
            }
            relay.sinks.iter_mut().for_each(Sink::flush);
            if ready.stdin {
                match typed.read() {
                    Read::Bytes(bytes) => relay.queue_stdin(bytes),
                    Read::Detach(bytes) => {
                        relay.queue_stdin(bytes);
                        relay.send(&self.stream);
                        return Ok(Outcome::Detached);
                    }
                    Read::End => relay.outgoing.extend_from_slice(&protocol::header(Frame::StdinEnd, 0)),
                    Read::Nothing => {}
                }
            }
            if ready.socket {
                if self.receive(RecvFlags::DONTWAIT)? {
                    relay.take(&mut self)?;
                } else {
                    relay.end.get_or_insert(Outcome::Lost);
                }
            }
        }
    }

    /// Waits for the end of the container, passing nothing.
    ///
    /// # Errors
    /// The system fails.
    pub fn wait(self) -> Result<Outcome> {
        self.relay(Local::default())
    }

    fn try_connect(run: &Path, wants: Wants) -> Result<Option<Self>> {
        let Some(stream) = socket::connect(run)? else { return Ok(None) };
        // A monitor that has just gone shows in the first read.
        let _ = send(&stream, &protocol::hello(wants), SendFlags::NOSIGNAL);
        Ok(Some(Self::from_stream(stream)))
    }

    /// Reads more; false at the end of the connection.
    fn receive(&mut self, flags: RecvFlags) -> Result<bool> {
        let filled = self.received.len();
        self.received.resize(filled + CHUNK, 0);
        let result = loop {
            match recv(&self.stream, &mut self.received[filled..], flags) {
                Err(Errno::INTR) => {}
                other => break other.map(|(count, _)| count),
            }
        };
        self.received.truncate(filled + result.unwrap_or(0));
        match result {
            // The reset is what a monitor leaves that ends while we send.
            Ok(0) | Err(Errno::CONNRESET) => Ok(false),
            Ok(_) | Err(Errno::AGAIN) => Ok(true),
            Err(errno) => Err(errno).context("read from the monitor"),
        }
    }
}

/// The state of [`Attachment::relay`].
struct Relay<'a> {
    sinks: [Sink<'a>; 2],
    /// Frames that the socket has not taken.
    outgoing: Vec<u8>,
    /// How it ends, once all output is out.
    end: Option<Outcome>,
    /// The monitor takes nothing more.
    is_deaf: bool,
}

#[derive(Default)]
struct Ready {
    socket: bool,
    signals: bool,
    stdin: bool,
}

impl<'a> Relay<'a> {
    fn new(local: &Local<'a>) -> Self {
        let sinks = [Sink::new(local.stdout), Sink::new(local.stderr)];
        Self { sinks, outgoing: Vec::new(), end: None, is_deaf: false }
    }

    /// Takes apart what was received.
    fn take(&mut self, attachment: &mut Attachment) -> Result<()> {
        let mut received = std::mem::take(&mut attachment.received);
        let mut rest = &received[..];
        while let Some(event) = attachment.decoder.next(&mut rest)? {
            match event {
                Event::Stdout(bytes) => self.sinks[0].write(bytes),
                Event::Stderr(bytes) => self.sinks[1].write(bytes),
                Event::Exited(exited) => self.end = Some(Outcome::Exited(exited)),
                Event::Failed(error) => return Err(error),
                _ => {}
            }
        }
        received.clear();
        attachment.received = received;
        Ok(())
    }

    /// How the relay ended, if it did.
    fn outcome(&mut self) -> Option<Outcome> {
        if self.sinks.iter().any(Sink::is_broken) && !matches!(self.end, Some(Outcome::Exited(_))) {
            return Some(Outcome::OutputClosed);
        }
        if self.sinks.iter().any(Sink::is_blocked) { None } else { self.end.take() }
    }

    /// Sends what the socket takes.
    fn send(&mut self, stream: &UnixStream) {
        let mut sent = 0;
        while sent < self.outgoing.len() && !self.is_deaf {
            match send(stream, &self.outgoing[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Its last words are still to be read.
                Err(_) => self.is_deaf = true,
            }
        }
        if self.is_deaf {
            self.outgoing.clear();
        } else {
            self.outgoing.drain(..sent);
        }
    }

    fn poll(&self, stream: &UnixStream, typed: &Typed<'_>, local: &Local<'_>, own: Option<&Signals>) -> Result<Ready> {
        let may_read = self.end.is_none() && !self.sinks.iter().any(Sink::is_blocked);
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, may_read);
        interest.set(PollFlags::OUT, !self.outgoing.is_empty());
        let socket = Some(stream.as_fd()).filter(|_| !interest.is_empty());
        let signals = local.signal_source(own);
        let stdin = typed.source().filter(|_| self.end.is_none() && self.outgoing.len() < MOST_OUTGOING);
        let mut polled: Vec<PollFd<'_>> =
            socket.map(|socket| PollFd::from_borrowed_fd(socket, interest)).into_iter().collect();
        polled.extend(
            [signals, stdin].into_iter().flatten().map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)),
        );
        polled.extend(
            self.sinks.iter().filter_map(Sink::waits_for).map(|sink| PollFd::from_borrowed_fd(sink, PollFlags::OUT)),
        );
        match poll(&mut polled, None) {
            Err(Errno::INTR) => return Ok(Ready::default()),
            other => other.context("wait for the container")?,
        };
        let mut results = polled.iter().map(PollFd::revents);
        let mut next =
            |is_polled: bool| if is_polled { results.next().unwrap_or(PollFlags::empty()) } else { PollFlags::empty() };
        let socket = next(socket.is_some());
        Ok(Ready {
            socket: may_read && socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            signals: !next(signals.is_some()).is_empty(),
            stdin: !next(stdin.is_some()).is_empty(),
        })
    }

    fn queue_stdin(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && !self.is_deaf {
            self.outgoing.extend_from_slice(&protocol::header(Frame::Stdin, bytes.len()));
            self.outgoing.extend_from_slice(bytes);
        }
    }

    /// Sends the size of our terminal.
    fn resize(&mut self, local: &Local<'_>) {
        if let Some((rows, columns)) = local.size() {
            self.outgoing.extend_from_slice(&protocol::resize(rows, columns));
        }
    }
}

fn required<T>(found: Option<T>, run: &Path) -> Result<T> {
    found.ok_or_else(|| {
        Error::not_found(format!("no monitor answers in `{}`: the container does not run", run.display()))
    })
}
