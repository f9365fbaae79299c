//! Connections as `ureq` takes them: a name looked up by us, TCP, through a proxy if there is one, TLS.
//!
//! Nothing is loaded before it is needed: certificates are read for the first connection over TLS.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use crate::endpoint::Tls;
use crate::names;
use crate::proxy::Proxy;
use crate::reach::reach;
use crate::tls::{self, Prepared};

/// What a connection takes if nobody said how long it may.
const PATIENCE: Duration = Duration::from_secs(60);

/// How connections of one kind are made.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) tls: Tls,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) known: Arc<Known>,
    pub(crate) proxy: Option<Proxy>,
    /// The longest wait for the next byte of a body, and for one to be taken.
    pub(crate) stall: Duration,
}

/// Addresses that were looked up: good as long as they can be reached, for this command and its children.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<String, Vec<IpAddr>>>);

impl Known {
    /// A connection to a host. The error is a sentence.
    fn reach(&self, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, String> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(host).cloned();
        let addresses = match found {
            Some(addresses) => addresses,
            None => names::addresses(host)?,
        };
        match reach(&addresses, port, deadline) {
            Ok(stream) => {
                known().insert(host.to_owned(), addresses);
                Ok(stream)
            }
            Err(error) => {
                known().remove(host);
                Err(in_words(&error))
            }
        }
    }
}

/// Why there is no connection, as a sentence.
#[derive(Debug)]
pub(crate) struct Unmet(pub(crate) String);

impl fmt::Display for Unmet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unmet {}

impl Connections {
    /// An agent whose connections are made so.
    pub(crate) fn agent(self, config: Config) -> Agent {
        Agent::with_parts(config, self, Unresolved)
    }

    fn open(&self, uri: &Uri, secure: bool, deadline: Instant) -> Result<Wire, String> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let (near, near_port) = self.proxy.as_ref().map_or((host, port), |proxy| (proxy.host.as_str(), proxy.port));
        let far = |reason: String| match &self.proxy {
            Some(proxy) => format!("the proxy {proxy:?}: {reason}"),
            None => reason,
        };
        let mut socket = self.known.reach(near, near_port, deadline).map_err(far)?;
        let prepare = || {
            socket.set_nodelay(true)?;
            // A handshake is a few messages: each within the whole time.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left))?;
            socket.set_write_timeout(Some(left))
        };
        prepare().map_err(|error: io::Error| error.to_string())?;
        if !secure {
            return Ok(Wire::Plain(socket));
        }
        if let Some(proxy) = &self.proxy {
            proxy.tunnel(&mut socket, host, port)?;
        }
        self.secure(socket, host)
    }

    fn secure(&self, mut socket: TcpStream, host: &str) -> Result<Wire, String> {
        let client = self.prepared.client(&self.tls)?;
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` cannot be a certificate's name"))?;
        let mut session = ClientConnection::new(client, name).map_err(|error| error.to_string())?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(|error| {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                inner.map_or_else(|| in_words(&error), tls::reason)
            })?;
        }
        Ok(Wire::Secure(Box::new(StreamOwned::new(session, socket))))
    }
}

impl Connector for Connections {
    type Out = Connection;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Connection>, ureq::Error> {
        let deadline = Instant::now() + details.timeout.not_zero().map_or(PATIENCE, |left| *left);
        let wire = self.open(details.uri, details.needs_tls(), deadline);
        let wire = wire.map_err(|reason| ureq::Error::Other(Box::new(Unmet(reason))))?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let authority = details.uri.authority().map(ToString::to_string).unwrap_or_default();
        let forwarding = self.proxy.clone().filter(|_| !details.needs_tls()).map(|proxy| (proxy, authority));
        let (stall, read, write) = (self.stall, None, None);
        Ok(Some(Connection { wire, buffers, forwarding, begins: true, stall, read, write }))
    }
}

/// Why no connection came about.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no connection in time".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "the connection was cut".to_owned(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
    }
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
    /// The proxy that is told the whole address of each request, and the host that is meant.
    forwarding: Option<(Proxy, String)>,
    /// What is written next begins a request.
    begins: bool,
    stall: Duration,
    read: Option<Duration>,
    write: Option<Duration>,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.write != Some(self.stall) {
            self.wire.socket().set_write_timeout(Some(self.stall))?;
            self.write = Some(self.stall);
        }
        let output = &self.buffers.output()[..amount];
        let head = match &self.forwarding {
            Some((proxy, host)) if self.begins => proxy.forwarded(output, host),
            _ => None,
        };
        self.begins = false;
        let result = self.wire.write(head.as_deref().unwrap_or(output));
        result.map_err(|error| in_time(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.begins = true;
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
