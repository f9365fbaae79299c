//! A D-Bus client, as small as systemd's manager needs it: one call at a time, and the signals that come between.
//!
//! ```text
//!   here                                       there: systemd itself, or a bus daemon before it
//!   \0 AUTH EXTERNAL, DATA, BEGIN         ->
//!                                         <-   DATA, OK      who we are, the kernel says
//!   Hello (to a daemon)                   ->
//!   call, serial n                        ->
//!                                         <-   signals, kept for who waits for them
//!                                         <-   return or error for n
//! ```
//! Blocking, with one time limit: a manager that hangs is an error, not a command that hangs. There are libraries for this;
//! those that are kept well bring an asynchronous run-time, or libdbus.

mod message;
mod wire;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use failure::{Context, Error, Kind, Result};

use message::{Call, FIXED, Message};
use wire::Writer;
pub(super) use wire::{Reader, Value};

/// How long an answer, or the end of a job, is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// A busy manager's queue of connections may be full for a moment: the first pause, which doubles, and how many.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 7;

/// The daemon's own name, path and interface.
const DAEMON: &str = "org.freedesktop.DBus";
const DAEMON_PATH: &str = "/org/freedesktop/DBus";

/// A connection to one peer, or to one name behind a daemon.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Whose methods are called, if a daemon is between; a peer has no names.
    destination: Option<String>,
    /// Who answered to that name: signals of anybody else are not for us. A peer has no name.
    answerer: String,
    signals: VecDeque<Message>,
}

/// What was called answered with an error of this name.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) name: String,
    pub(super) message: String,
}

/// What comes of a call.
pub(super) type Answer<T> = Result<std::result::Result<T, Refusal>>;

/// A method by where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
}

/// Writes a body.
#[derive(Debug, Default)]
pub(super) struct Body(Writer);

impl Body {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.text(text);
        self
    }

    pub(super) fn flag(mut self, flag: bool) -> Self {
        self.0.flag(flag);
        self
    }

    pub(super) fn properties(mut self, properties: &[(String, Value)]) -> Self {
        self.0.properties(properties);
        self
    }

    /// An array of structures without any.
    pub(super) fn nothing(mut self) -> Self {
        self.0.array(8, |_| {});
        self
    }
}

impl Connection {
    /// Connects to a socket. With a `name`, there is a daemon behind it, and the name is who is called.
    pub(super) fn open(socket: &Path, name: Option<&str>) -> Result<Self> {
        let stream = connect(socket)?;
        let mut connection = Self {
            stream,
            serial: 0,
            destination: name.map(str::to_owned),
            answerer: String::new(),
            signals: VecDeque::new(),
        };
        connection.authenticate().with_context(|| format!("introduce ourselves at `{}`", socket.display()))?;
        if name.is_some() {
            connection.daemon("Hello", "", Body::default())?;
        }
        Ok(connection)
    }

    /// Has a daemon send us signals that match a rule.
    pub(super) fn listen_to(&mut self, rule: &str) -> Result<()> {
        match self.destination {
            Some(_) => self.daemon("AddMatch", "s", Body::default().text(rule)),
            // A peer sends all that it has.
            None => Ok(()),
        }
    }

    /// Calls a method; `read` takes what it wants from the answer.
    pub(super) fn call<T>(
        &mut self,
        method: Method<'_>,
        body: Body,
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Answer<T> {
        let destination = self.destination.clone();
        let answer = self.exchange(destination.as_deref(), method, body)?;
        self.answerer.clone_from(&answer.sender);
        if answer.kind == message::Kind::Error {
            let message = answer.body().text().unwrap_or_default().to_owned();
            return Ok(Err(Refusal { name: answer.error, message }));
        }
        read(&mut answer.body())
            .map(Ok)
            .ok_or_else(|| Error::internal(format!("`{}` answered with `{}`", method.member, answer.signature)))
    }

    /// Waits for a signal of this name for which `read` says something.
    pub(super) fn await_signal<T>(&mut self, member: &str, read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.receive(end)?,
            };
            if signal.kind == message::Kind::Signal
                && signal.member == member
                && signal.sender == self.answerer
                && let Some(found) = read(&mut signal.body())
            {
                return Ok(found);
            }
        }
    }

    fn daemon(&mut self, member: &str, signature: &str, body: Body) -> Result<()> {
        let method = Method { path: DAEMON_PATH, interface: DAEMON, member, signature };
        let answer = self.exchange(Some(DAEMON), method, body)?;
        match answer.kind {
            message::Kind::Error => {
                let reason = answer.body().text().unwrap_or_default().to_owned();
                Err(Error::internal(format!("the bus refuses `{member}`: {reason}")))
            }
            _ => Ok(()),
        }
    }

    /// Sends a call and waits for its answer; signals that come before are kept.
    fn exchange(&mut self, destination: Option<&str>, method: Method<'_>, body: Body) -> Result<Message> {
        self.serial += 1;
        let Method { path, interface, member, signature } = method;
        let call = Call { destination, path, interface, member, signature };
        let bytes = call.bytes(self.serial, &body.0.finish());
        self.stream.write_all(&bytes).with_context(|| format!("call `{member}` on the bus"))?;
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(end)?;
            match message.kind {
                message::Kind::Signal => self.signals.push_back(message),
                message::Kind::Return | message::Kind::Error if message.reply_to == Some(self.serial) => {
                    return Ok(message);
                }
                // An answer to somebody who gave up, or a call of us, who offer nothing.
                _ => {}
            }
        }
    }

    fn receive(&mut self, end: Instant) -> Result<Message> {
        let mut fixed = [0; FIXED];
        self.read_exact(&mut fixed, end)?;
        let strange = || Error::internal("what came over the bus is no message");
        let length = Message::length(&fixed).ok_or_else(strange)?;
        let mut bytes = vec![0; length];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.read_exact(&mut bytes[FIXED..], end)?;
        Message::parse(bytes).ok_or_else(strange)
    }

    fn read_exact(&mut self, bytes: &mut [u8], end: Instant) -> Result<()> {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).context("set a time limit")?;
        match self.stream.read_exact(bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let seconds = PATIENCE.as_secs();
                Err(Error::new(
                    Kind::Busy,
                    format!("the bus does not answer within {seconds} seconds; try again later"),
                ))
            }
            result => result.context("read from the bus"),
        }
    }

    /// Without a name of ours: the other side asks the kernel, which knows better, also across user namespaces. All in one
    /// go: systemd reads no further than the end of this until more comes, and would leave a first call behind it lying.
    fn authenticate(&mut self) -> std::io::Result<()> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut words = Vec::new();
        while !words.starts_with(b"OK ") {
            words.clear();
            while !words.ends_with(b"\r\n") {
                let mut byte = [0];
                self.stream.read_exact(&mut byte)?;
                words.push(byte[0]);
                if words.len() > 1024 || words.starts_with(b"REJECTED") || words.starts_with(b"ERROR") {
                    return Err(std::io::Error::new(ErrorKind::PermissionDenied, "we are not let in"));
                }
            }
        }
        Ok(())
    }
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match UnixStream::connect(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && attempt < ATTEMPTS => {
                sleep(pause);
                pause *= 2;
            }
            result => return result.with_context(|| format!("connect to `{}`", socket.display())),
        }
    }
    Err(Error::internal("no attempt to connect was made"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    fn directory(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("skep-bus-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A peer that answers the first call with an error and the second with a text, with a signal before each.
    fn serve(listener: &UnixListener) -> Vec<String> {
        let (stream, _) = listener.accept().unwrap();
        let mut peer =
            Connection { stream, serial: 0, destination: None, answerer: String::new(), signals: VecDeque::new() };
        let mut words = [0; 29];
        peer.stream.read_exact(&mut words).unwrap();
        assert_eq!(&words, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        peer.stream.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
        let body = |text: &str| {
            let mut writer = Writer::default();
            writer.text(text);
            writer.finish()
        };
        let mut called = Vec::new();
        for (kind, text) in [(message::Kind::Error, "no"), (message::Kind::Return, "yes")] {
            let call = peer.receive(Instant::now() + PATIENCE).unwrap();
            called.push(format!("{} {}", call.member, call.body().text().unwrap()));
            let signal = message::answer(message::Kind::Signal, 0, "Done", "s", &body(text));
            peer.stream.write_all(&signal).unwrap();
            peer.stream.write_all(&message::answer(kind, call.serial, "the.Error", "s", &body(text))).unwrap();
        }
        called
    }

    #[test]
    fn calls_and_signals_with_a_peer() {
        let directory = directory("peer");
        let socket = directory.join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let peer = std::thread::spawn(move || serve(&listener));
        let mut connection = Connection::open(&socket, None).unwrap();
        let method = Method { path: "/a", interface: "b.c", member: "Ask", signature: "s" };
        let text = |reader: &mut Reader<'_>| reader.text().map(str::to_owned);
        let refusal = connection.call(method, Body::default().text("one"), text).unwrap().unwrap_err();
        assert_eq!((&*refusal.name, &*refusal.message), ("the.Error", "no"));
        assert_eq!(connection.call(method, Body::default().text("two"), text).unwrap().unwrap(), "yes");
        let wanted = |reader: &mut Reader<'_>| text(reader).filter(|text| text == "yes");
        assert_eq!(connection.await_signal("Done", wanted).unwrap(), "yes");
        assert_eq!(peer.join().unwrap(), ["Ask one", "Ask two"]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    /// The reference implementation as the other side, where it is installed.
    #[test]
    fn a_daemon_understands_us() {
        let directory = directory("daemon");
        let socket = directory.join("socket");
        let address = format!("--address=unix:path={}", socket.display());
        let daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--nosyslog", &address])
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut daemon) = daemon else { return };
        while !socket.exists() {
            sleep(Duration::from_millis(5));
        }
        let outcome = std::panic::catch_unwind(|| {
            let mut connection = Connection::open(&socket, Some(DAEMON)).unwrap();
            connection.listen_to("type='signal',member='NameAcquired'").unwrap();
            let method = |member, signature| Method { path: DAEMON_PATH, interface: DAEMON, member, signature };
            let has = Body::default().text(DAEMON);
            let owner = connection.call(method("GetNameOwner", "s"), has, |reader| reader.text().map(str::to_owned));
            assert_eq!(owner.unwrap().unwrap(), DAEMON);
            let refusal = connection.call(method("GetNameOwner", "s"), Body::default().text("a.b"), |_| Some(()));
            assert_eq!(refusal.unwrap().unwrap_err().name, "org.freedesktop.DBus.Error.NameHasNoOwner");
            let name = connection.await_signal("NameAcquired", |reader| reader.text().map(str::to_owned)).unwrap();
            assert!(name.starts_with(':'), "{name}");
        });
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        outcome.unwrap();
    }
}
