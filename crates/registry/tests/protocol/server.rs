//! A registry that does as it is told: it answers each request with what the test's function says, true or not, and keeps
//! what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `GET /v2/a/manifests/b`
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Where a request with `Range: bytes=N-` begins.
    pub(crate) fn offset(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The length that is announced; the body's own without.
    pub(crate) length: Option<u64>,
    /// No answer at all: the connection ends.
    pub(crate) silent: bool,
    /// Bytes of the body after which the connection is cut.
    pub(crate) cut: Option<usize>,
    /// The body is followed by zeros until the other side has enough.
    pub(crate) endless: bool,
    /// Nothing more is sent once the body was, and the connection stays open.
    pub(crate) stalls: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            length: None,
            silent: false,
            cut: None,
            endless: false,
            stalls: false,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A document as registries send it.
    pub(crate) fn document(body: impl Into<Vec<u8>>, media_type: &str) -> Self {
        let body = body.into();
        let digest = reference::Digest::of(&body).to_string();
        Self::new(200, body).with("content-type", media_type).with("docker-content-digest", digest)
    }

    /// The part of a blob that was asked for.
    pub(crate) fn blob(asked: &Asked, content: &[u8]) -> Self {
        match asked.offset() {
            Some(offset) => {
                let range = format!("bytes {offset}-{}/{}", content.len() - 1, content.len());
                Self::new(206, &content[offset..]).with("content-range", range)
            }
            None => Self::new(200, content),
        }
    }
}

/// The server; it ends with the test's process.
pub(crate) struct Server {
    /// `127.0.0.1:<port>`
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || serve(stream.unwrap(), &log, answer.as_ref()));
            }
        });
        Self { host, asked }
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Their first lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(asked) = read(&mut reader) {
        log.lock().unwrap().push(asked.clone());
        if send(&stream, &asked, &answer(&asked)).is_none() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut asked = Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

/// None if the connection must end.
fn send(mut stream: &TcpStream, asked: &Asked, reply: &Reply) -> Option<()> {
    if reply.silent {
        return None;
    }
    let mut head = format!("HTTP/1.1 {} x\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.endless {
        head.push_str(&format!("content-length: {}\r\n", reply.length.unwrap_or(reply.body.len() as u64)));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if asked.method == "HEAD" {
        return Some(());
    }
    stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]).ok()?;
    if reply.endless {
        while stream.write_all(&[0; 65536]).is_ok() {}
        return None;
    }
    if reply.stalls {
        thread::sleep(Duration::from_secs(60));
    }
    if reply.cut.is_some() || reply.length.is_some() {
        stream.shutdown(Shutdown::Both).ok()?;
        return None;
    }
    Some(())
}
