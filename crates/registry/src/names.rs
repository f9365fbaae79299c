//! Host names to addresses, without the C library: `getaddrinfo` of a static binary would load the host's modules.
//!
//! As a stub resolver does it: `/etc/hosts` first, then the servers of `/etc/resolv.conf` in order, both kinds of address at
//! once, over UDP and, for what does not fit, over TCP.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

use crate::dns::{self, Record, Reply};

/// Servers beyond these are not asked, as in the C library.
const MOST_SERVERS: usize = 3;
/// Addresses of one host that are tried.
const MOST_ADDRESSES: usize = 16;

/// Where names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    /// A name with fewer dots is tried below `search` first.
    dots: usize,
    timeout: Duration,
    attempts: u32,
}

/// The addresses of a host, in the order in which they are tried. The error is a sentence.
pub(crate) fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let listed = fs::read_to_string("/etc/hosts").map(|text| listed(&text, host)).unwrap_or_default();
    if !listed.is_empty() {
        return Ok(listed);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    Names::configured(&text).look_up(host).map(in_order)
}

/// What a hosts file says about a name.
fn listed(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let named = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
    });
    named.collect()
}

/// Both kinds in turn, those first that this machine has a route to: to ask the kernel sends nothing.
fn in_order(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let reachable = |address: &IpAddr| {
        let any: IpAddr = if address.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((*address, 9))).is_ok()
    };
    let (near, far): (Vec<_>, Vec<_>) = found.into_iter().partition(reachable);
    let (six, four): (Vec<_>, Vec<_>) = near.into_iter().partition(IpAddr::is_ipv6);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut ordered = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(six.next());
        ordered.extend(four.next());
        if ordered.len() == before {
            break;
        }
    }
    ordered.extend(far);
    ordered.truncate(MOST_ADDRESSES);
    ordered
}

impl Names {
    /// What a `resolv.conf` says. Lines that cannot be read are left out, as everywhere.
    pub(crate) fn configured(text: &str) -> Self {
        let mut names =
            Self { servers: Vec::new(), search: Vec::new(), dots: 1, timeout: Duration::from_secs(5), attempts: 2 };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            match words.next() {
                // `fe80::1%eth0` has a zone, which an address cannot hold here: it is left out.
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    names.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => names.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|option| names.option(option)),
                _ => {}
            }
        }
        names.servers.truncate(MOST_SERVERS);
        if names.servers.is_empty() {
            names.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        names
    }

    fn option(&mut self, option: &str) {
        let Some((name, Ok(value))) = option.split_once(':').map(|(name, value)| (name, value.parse::<u32>())) else {
            return;
        };
        match name {
            "ndots" => self.dots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// Asks for a name's addresses. The error is a sentence.
    fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        for name in self.candidates(host) {
            match self.ask_all(&name) {
                Some(found) if !found.is_empty() => return Ok(found),
                Some(_) => {}
                None => return Err(format!("no name server answers for `{host}` (asked {})", self.shown())),
            }
        }
        Err(format!("no address is known for `{host}`"))
    }

    fn shown(&self) -> String {
        self.servers.iter().map(|server| server.ip().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// The names that `host` may stand for, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if host.ends_with('.') {
            return vec![host.to_owned()];
        }
        let mut names: Vec<_> = self.search.iter().map(|domain| format!("{host}.{domain}")).collect();
        let first = host.matches('.').count() >= self.dots;
        names.insert(if first { 0 } else { names.len() }, host.to_owned());
        names
    }

    /// The addresses of exactly this name; none if there are none; None if no server can say.
    fn ask_all(&self, name: &str) -> Option<Vec<IpAddr>> {
        for _ in 0..self.attempts {
            for server in &self.servers {
                if let Some(found) = self.ask(*server, name) {
                    return Some(found);
                }
            }
        }
        None
    }

    fn ask(&self, server: SocketAddr, name: &str) -> Option<Vec<IpAddr>> {
        let deadline = Instant::now() + self.timeout;
        let mut found = Vec::new();
        for (question, record, reply) in self.ask_datagrams(server, name, deadline).ok()? {
            let reply = match reply? {
                Reply::Truncated => ask_stream(server, &question, record, deadline)?,
                reply => reply,
            };
            match reply {
                Reply::Addresses(addresses) => found.extend(addresses),
                // A server that knows one kind may be wrong about the other.
                Reply::NoSuchName => {}
                Reply::Failed | Reply::Truncated => return None,
            }
        }
        Some(found)
    }

    /// Both questions at once, and what came back in time.
    fn ask_datagrams(&self, server: SocketAddr, name: &str, deadline: Instant) -> io::Result<Vec<Asked>> {
        let mut asked: Vec<Asked> = Vec::new();
        for record in [Record::Aaaa, Record::A] {
            // What cannot be a name has no address.
            let Some(question) = dns::question(identifier()?, name, record) else { return Ok(Vec::new()) };
            asked.push((question, record, None));
        }
        let any: IpAddr = if server.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        // Only this server's datagrams arrive, at a port that the kernel chose at random.
        socket.connect(server)?;
        for (question, ..) in &asked {
            socket.send(question)?;
        }
        let mut buffer = [0; 4096];
        while asked.iter().any(|(.., reply)| reply.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for (question, record, reply) in &mut asked {
                if reply.is_none() {
                    *reply = dns::reply(&buffer[..length], question, *record);
                }
            }
        }
        Ok(asked)
    }
}

/// A question with its reply, once there is one.
type Asked = (Vec<u8>, Record, Option<Reply>);

/// Asks over TCP, where each message has its length in front.
fn ask_stream(server: SocketAddr, question: &[u8], record: Record, deadline: Instant) -> Option<Reply> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&server, left).ok()?;
    stream.set_read_timeout(Some(left)).ok()?;
    let mut message = u16::try_from(question.len()).ok()?.to_be_bytes().to_vec();
    message.extend_from_slice(question);
    stream.write_all(&message).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    dns::reply(&message, question, record)
}

/// A number that nobody can guess.
fn identifier() -> io::Result<u16> {
    let mut bytes = [0; 2];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
