//! A registry that does as it is told: it answers each request with what the test's function says, true or not, and keeps
//! what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

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
        Self::listen(answer, |stream| stream)
    }

    /// The same over TLS, with the certificate of `certificates/server.crt`. `known` clients only have one of their own.
    pub(crate) fn start_tls(known: bool, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let config = Arc::new(tls(known));
        Self::listen(answer, move |stream| {
            StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
        })
    }

    fn listen<S: Read + Write>(
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer, wrap) = (Arc::clone(&asked), Arc::new(answer), Arc::new(wrap));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer, wrap) = (Arc::clone(&log), Arc::clone(&answer), Arc::clone(&wrap));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_nodelay(true).unwrap();
                    serve(wrap(stream), &log, answer.as_ref());
                });
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

fn tls(known: bool) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.unwrap();
    let builder = if known {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate("authority.crt")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(certificate("server.crt")).unwrap()];
    builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(certificate("server.key")).unwrap()).unwrap()
}

/// Certificates for `localhost` and 127.0.0.1, and for a client, from an authority of their own, for a hundred years.
pub(crate) fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol/certificates").join(name)
}

fn serve(stream: impl Read + Write, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Reply) {
    let mut stream = BufReader::new(stream);
    // A TLS client says hello with the byte 22; a server that knows HTTP alone answers in HTTP.
    if stream.fill_buf().is_ok_and(|start| start.first() == Some(&22)) {
        let _ = stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        return;
    }
    while let Some(asked) = read(&mut stream) {
        log.lock().unwrap().push(asked.clone());
        if send(stream.get_mut(), &asked, &answer(&asked)).is_none() {
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
fn send(stream: &mut impl Write, asked: &Asked, reply: &Reply) -> Option<()> {
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
        stream.flush().ok()?;
        return Some(());
    }
    stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())]).ok()?;
    if reply.endless {
        while stream.write_all(&[0; 65536]).is_ok() {}
        return None;
    }
    if reply.stalls {
        stream.flush().ok()?;
        thread::sleep(Duration::from_secs(60));
    }
    stream.flush().ok()?;
    if reply.cut.is_some() || reply.length.is_some() {
        return None;
    }
    Some(())
}
