//! Connections as `ureq` takes them: a name of our own looking up, TCP, through a proxy if there is one, TLS.
//!
//! Nothing is loaded before it is needed: certificates are read for the first connection over TLS.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use crate::endpoint::{Lookup, Tls};
use crate::names;

/// Makes connections of one kind.
#[derive(Debug)]
pub(crate) struct Connections {
    stall: Duration,
}

impl Connections {
    /// An agent whose connections are ours.
    pub(crate) fn agent(config: Config, lookup: &Rc<dyn Lookup>, _tls: &Tls) -> Agent {
        Agent::with_parts(config, Self { stall: lookup.patience().stall }, Unresolved)
    }
}

impl Connector for Connections {
    type Out = Connection;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Connection>, ureq::Error> {
        let deadline = details.timeout.not_zero().map(|left| Instant::now() + *left);
        let tls = details.needs_tls();
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = details.uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = reach(host, port, deadline)?;
        stream.set_nodelay(true)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Connection { wire: Wire::Plain(stream), buffers, stall: self.stall, read: None, write: None }))
    }
}

/// A TCP connection to the first address that answers.
fn reach(host: &str, port: u16, deadline: Option<Instant>) -> io::Result<TcpStream> {
    let addresses = names::addresses(host)?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.map_or(Duration::from_secs(60), |end| end.saturating_duration_since(Instant::now()));
        let remaining = u32::try_from(addresses.len() - index).unwrap_or(1);
        let share = (left / remaining).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&(*address, port).into(), share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Names are looked up where connections are made, since a proxy may have to do it instead.
#[derive(Debug)]
struct Unresolved;

impl Resolver for Unresolved {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

enum Wire {
    Plain(TcpStream),
    #[expect(dead_code, reason = "made once certificates are read")]
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(stream) => stream.get_ref(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Self::Plain(socket) => socket.read(buffer),
                Self::Secure(stream) => stream.read(buffer),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Secure(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

/// A connection with its buffers, and with the timeouts that its socket has now.
pub(crate) struct Connection {
    wire: Wire,
    buffers: LazyBuffers,
    stall: Duration,
    read: Option<Duration>,
    write: Option<Duration>,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let limit = timeout.not_zero().map_or(self.stall, |left| (*left).min(self.stall));
        if self.write != Some(limit) {
            self.wire.socket().set_write_timeout(Some(limit))?;
            self.write = Some(limit);
        }
        let result = self.wire.write(&self.buffers.output()[..amount]);
        result.map_err(|error| in_time(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        // The wait for an answer's head has its own limit; within a body, each wait has the same one.
        let limit = timeout.not_zero().map_or(self.stall, |left| *left);
        if self.read != Some(limit) {
            self.wire.socket().set_read_timeout(Some(limit))?;
            self.read = Some(limit);
        }
        let amount = self.wire.read(self.buffers.input_append_buf()).map_err(|error| in_time(error, &timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Bytes that nobody asked for, or the end: either way this connection is of no more use.
        let socket = self.wire.socket();
        let quiet = || {
            socket.set_nonblocking(true)?;
            let quiet = matches!(socket.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            socket.set_nonblocking(false)?;
            Ok::<_, io::Error>(quiet)
        };
        quiet().unwrap_or(false)
    }

    fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Secure(_))
    }
}

/// A socket's timeout in `ureq`'s terms.
fn in_time(error: io::Error, timeout: &NextTimeout) -> ureq::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
        _ => ureq::Error::Io(error),
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connection({:?})", self.wire.socket().peer_addr().ok())
    }
}
