//! One HTTP message and its answer.
//!
//! A connection is kept and used again within a process, never across a fork: both sides would read from one stream.
//! Redirects, errors of the registry and retries are not decided here: every answer comes back as it is.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use failure::{Error, Kind};
use ureq::config::Config;
use ureq::{Agent, AsSendBody, Body, SendBody};

use crate::address::Address;
use crate::connection::{Connections, Known, Unmet};
use crate::endpoint::{Lookup, Patience, Tls};
use crate::proxy::Proxy;
use crate::tls::Prepared;
use crate::trouble::{Next, Trouble};

/// What is read from and written to a connection at once.
const BUFFER: usize = 256 * 1024;
/// What is read of a body for the sake of its connection.
const SHORT: u64 = 16 * 1024;
/// The longest head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;

/// What is sent with a request.
pub(crate) enum Content<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Stream(&'a mut dyn Read, u64),
}

/// A request, not yet bound to a connection.
pub(crate) struct Message<'a> {
    pub(crate) method: &'static str,
    pub(crate) to: Address,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Content<'a>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where it came from, after redirects.
    pub(crate) from: Address,
    headers: ureq::http::HeaderMap,
    body: Body,
}

impl Answer {
    /// A header as text; one that is not text is as good as none.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All headers of one name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// The media type without its parameters, lower case.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The length that was announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length").and_then(|length| length.trim().parse().ok())
    }

    pub(crate) fn body(&mut self) -> impl Read + '_ {
        self.body.as_reader()
    }

    /// Reads an answer of no more interest, if it is short, so that its connection can be used again.
    pub(crate) fn discard(mut self) {
        let _ = self.bytes(SHORT);
    }

    /// The whole body, if it is not longer than `limit`.
    pub(crate) fn bytes(&mut self, limit: u64) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        let reader = self.body.as_reader();
        reader.take(limit + 1).read_to_end(&mut bytes).map_err(|error| cut(&self.from, &error))?;
        if bytes.len() as u64 > limit {
            let message = format!("{} sends more than {limit} bytes where a small document belongs", self.from.host);
            return Err(Error::invalid(message).into());
        }
        Ok(bytes)
    }
}

/// Connections of this process, by how they are made.
pub(crate) struct Http {
    lookup: Rc<dyn Lookup>,
    patience: Patience,
    prepared: Arc<Prepared>,
    known: Arc<Known>,
    agents: RefCell<Agents>,
    /// Hosts that answered before: if they are away now, it may be for a moment.
    met: RefCell<HashSet<String>>,
}

/// Agents and the process they belong to.
struct Agents {
    process: u32,
    by_way: HashMap<(Tls, Option<Proxy>), Agent>,
}

impl Http {
    pub(crate) fn new(lookup: Rc<dyn Lookup>) -> Self {
        let agents = Agents { process: std::process::id(), by_way: HashMap::new() };
        Self {
            patience: lookup.patience(),
            lookup,
            prepared: Arc::default(),
            known: Arc::default(),
            agents: RefCell::new(agents),
            met: RefCell::default(),
        }
    }

    /// Reads the files that a connection over TLS needs. The error is a sentence.
    pub(crate) fn prepare(&self, tls: &Tls) -> Result<(), String> {
        self.prepared.client(tls).map(drop)
    }

    /// Sends a message and waits for the head of its answer.
    pub(crate) fn send(&self, message: Message<'_>, tls: &Tls) -> Result<Answer, Trouble> {
        let Message { method, to, headers, content } = message;
        let mut request = ureq::http::Request::builder().method(method).uri(to.to_string());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Content::Stream(_, length) = &content {
            request = request.header("content-length", *length);
        }
        let wrong = |error: ureq::http::Error| Error::invalid(format!("ask {}: {error}", to.host));
        let agent = self.agent(&to, tls)?;
        let answer = match content {
            // A request that could have a body and has none says so: some servers wait for it else.
            Content::Nothing if matches!(method, "POST" | "PUT" | "PATCH") => {
                agent.run(self.taking(&agent, request.body(&[][..]).map_err(wrong)?))
            }
            Content::Nothing => agent.run(request.body(()).map_err(wrong)?),
            Content::Bytes(bytes) => agent.run(self.taking(&agent, request.body(bytes).map_err(wrong)?)),
            Content::Stream(reader, _) => {
                let body = SendBody::from_reader(reader);
                agent.run(self.taking(&agent, request.body(body).map_err(wrong)?))
            }
        };
        let (head, body) = answer.map_err(|error| self.unanswered(&to, error))?.into_parts();
        if !self.met.borrow().contains(&to.host) {
            self.met.borrow_mut().insert(to.host.clone());
        }
        Ok(Answer { status: head.status.as_u16(), from: to, headers: head.headers, body })
    }

    /// The same request, waiting as long as what it sends may take.
    fn taking<S: AsSendBody>(&self, agent: &Agent, request: ureq::http::Request<S>) -> ureq::http::Request<S> {
        agent.configure_request(request).timeout_recv_response(Some(self.patience.taking)).build()
    }

    fn agent(&self, to: &Address, tls: &Tls) -> Result<Agent, Trouble> {
        let host =
            if to.host_name().contains(':') { format!("[{}]", to.host_name()) } else { to.host_name().to_owned() };
        let proxy = self.lookup.proxy(&format!("{host}:{}", to.port()), to.tls);
        let proxy = proxy.map(|text| Proxy::parse(&text)).transpose();
        let proxy = proxy.map_err(|reason| Trouble::ours(Error::invalid(reason)))?;
        let mut agents = self.agents.borrow_mut();
        let process = std::process::id();
        if agents.process != process {
            // Connections of the process that forked this one: not ours to use, nor to close in words.
            std::mem::forget(std::mem::take(&mut agents.by_way));
            agents.process = process;
        }
        let made = agents.by_way.entry((tls.clone(), proxy.clone()));
        let make = || {
            let (tls, stall) = (tls.clone(), self.patience.stall);
            let (prepared, known) = (Arc::clone(&self.prepared), Arc::clone(&self.known));
            Connections { tls, prepared, known, proxy, stall }.agent(configuration(&self.patience))
        };
        Ok(made.or_insert_with(make).clone())
    }

    /// No answer came. It may come later from a host that answered before; one that never did is not waited for.
    fn unanswered(&self, to: &Address, error: ureq::Error) -> Trouble {
        let met = self.met.borrow().contains(&to.host);
        let (unmet, again, reason) = match error {
            ureq::Error::Other(inner) => (inner.is::<Unmet>(), met, inner.to_string()),
            ureq::Error::Io(error) => (false, true, plain(&error)),
            // It was waited for already.
            ureq::Error::Timeout(_) => (false, false, "no answer in time".to_owned()),
            other => (false, true, format!("not an answer: {other}")),
        };
        let error = Error::new(Kind::Unavailable, format!("{}://{}: {reason}", to.scheme(), to.host));
        Trouble { unmet, ..Trouble::new(error, if again { Next::Again(None) } else { Next::Elsewhere }) }
    }
}

fn configuration(patience: &Patience) -> Config {
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .accept("")
        .accept_encoding("")
        .user_agent(concat!("skep/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .max_response_header_size(LONGEST_HEAD)
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.answer))
        .build()
}

/// A body ended early: it may be whole the next time.
pub(crate) fn cut(from: &Address, error: &io::Error) -> Trouble {
    let reason = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(ureq::Error::Timeout(_)) => "nothing more arrives".to_owned(),
        _ => plain(error),
    };
    Trouble::passing(format!("{}://{}: {reason}", from.scheme(), from.host))
}

/// An I/O error in lower case and without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was cut".to_owned()
        }
        _ => text.to_lowercase(),
    }
}
