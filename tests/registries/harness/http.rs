//! HTTP/1.1 in its smallest form, for servers that must also misbehave: a thread per connection, one request each.
//!
//! A handler gets the [`Request`] and the socket, and writes whatever it wants, well formed or not. Every connection is
//! closed after its answer: what a client then asks comes by a new one, and is counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// No peer of a test is silent for so long; a thread that waits for one ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The parameters of the query, decoded.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        parameters(self.target.split_once('?').map_or("", |(_, query)| query))
    }

    /// The digest at the end of a path to a blob.
    pub(crate) fn blob(&self) -> Option<&str> {
        self.path().split_once("/blobs/").map(|(_, digest)| digest).filter(|digest| digest.starts_with("sha256:"))
    }
}

/// A server on a free port of the loopback, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Answers every request by `handler`.
    pub(crate) fn start(handler: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let (handler, flag) = (Arc::new(handler), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(mut connection), handler) = (connection, Arc::clone(&handler)) else { continue };
                std::thread::spawn(move || {
                    if let Some(request) = read_request(&mut connection) {
                        handler(&request, &mut connection);
                    }
                    close(&connection);
                });
            }
        });
        Self { address, stopped }
    }

    /// The address, as it stands in names of images.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        TcpStream::connect(self.address).ok();
    }
}

/// A port on which nobody listens: every connection is refused. It is bound until the test process ends, so that no
/// other server gets it.
pub(crate) fn dead_host() -> String {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
    std::mem::forget(socket);
    address.to_string()
}

/// Writes a whole answer with its length; the body is left away for HEAD.
pub(crate) fn answer(request: &Request, socket: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let body = if request.method == "HEAD" { (body.len(), &[][..]) } else { (body.len(), body) };
    head(socket, status, headers, Some(body.0 as u64));
    // A client may stop early, which is its right.
    socket.write_all(body.1).ok();
}

/// Writes the head of an answer; without a length, the body ends with the connection.
pub(crate) fn head(socket: &mut TcpStream, status: &str, headers: &[(&str, &str)], length: Option<u64>) {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length {
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    text.push_str("\r\n");
    socket.write_all(text.as_bytes()).ok();
}

/// Sends the end, and reads what still comes: closing over unread bytes would reset the connection, and the peer would
/// lose what is on its way to it.
pub(crate) fn close(socket: &TcpStream) {
    if socket.shutdown(Shutdown::Write).is_ok() {
        socket.set_read_timeout(Some(Duration::from_secs(5))).ok();
        std::io::copy(&mut { socket }, &mut std::io::sink()).ok();
    }
}

/// Sends a request to another server over a connection of its own; the answer's bytes follow on the socket.
pub(crate) fn forward(request: &Request, to: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.target);
    let own = ["connection", "content-length", "transfer-encoding", "expect"];
    for (name, value) in request.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        text.push_str(&format!("content-length: {}\r\n", request.body.len()));
    }
    socket.write_all(format!("{text}\r\n").as_bytes())?;
    socket.write_all(&request.body)?;
    Ok(BufReader::new(socket))
}

/// The first line and the headers of a message, names in lower case; nothing if the peer closed.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let first = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Some((first, headers));
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// The parameters of a query or of a form, decoded.
pub(crate) fn parameters(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decoded = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    pairs.map(decoded).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

fn read_request(socket: &mut TcpStream) -> Option<Request> {
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    // A client that tries TLS first is told at once that there is none.
    if reader.fill_buf().ok()?.first() == Some(&0x16) {
        return None;
    }
    let (first, headers) = read_head(&mut reader)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, target, headers, body: Vec::new() };
    if request.header("expect").is_some() {
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    request.body = read_body(&request, &mut reader)?;
    Some(request)
}

fn read_body(request: &Request, reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = read_line(reader)?;
            let length = u64::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            reader.take(length).read_to_end(&mut body).ok()?;
            read_line(reader)?;
            if length == 0 {
                return Some(body);
            }
        }
    }
    let length = request.header("content-length").map_or(Some(0), |text| text.parse().ok())?;
    reader.take(length).read_to_end(&mut body).ok()?;
    Some(body)
}

/// A line without its end.
fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.take(64 << 10).read_until(b'\n', &mut line).ok()?;
    line.pop().filter(|last| *last == b'\n')?;
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).ok()
}
