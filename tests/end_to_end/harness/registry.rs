//! A registry that is a directory: it answers pulls from an OCI layout, with ranges, one thread a connection. For tests that
//! are about the store; tests about registries have a real one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// One that answers until the test's process ends.
pub(crate) struct Registry {
    address: SocketAddr,
}

impl Registry {
    /// Serves the layout in `directory`: whatever tag is asked for, it is its first image.
    pub(crate) fn of_layout(directory: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let directory = directory.to_owned();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let directory = directory.clone();
                std::thread::spawn(move || serve(&directory, &connection));
            }
        });
        Self { address }
    }

    /// A name of its image.
    pub(crate) fn name(&self, repository: &str) -> String {
        format!("{}/{repository}:1", self.address)
    }
}

/// Answers requests until the other side goes, which it may do at any moment.
fn serve(directory: &Path, connection: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    loop {
        let mut request = String::new();
        reader.read_line(&mut request).ok().filter(|length| *length > 0)?;
        let mut from = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(range) = line.strip_prefix("range: bytes=") {
                from = range.split('-').next()?.parse().ok()?;
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let Some((body, kind)) = find(directory, path) else {
            writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok()?;
            continue;
        };
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let digest = super::sha256(&body);
        let (rest, whole) = (&body[from.min(body.len())..], body.len());
        let range = match from {
            0 => String::new(),
            from => format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: sha256:{digest}\r\n{range}\r\n",
            rest.len()
        );
        writer.write_all(head.as_bytes()).ok()?;
        if method != "HEAD" {
            writer.write_all(rest).ok()?;
        }
    }
}

/// What a path names, and its type.
fn find(directory: &Path, path: &str) -> Option<(Vec<u8>, String)> {
    let blob = |digest: &str| -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:").filter(|hex| !hex.contains('/'))?;
        Some(directory.join("blobs/sha256").join(hex))
    };
    let (kind, name) = path.rsplit_once('/')?;
    if kind.ends_with("/blobs") {
        return Some((fs::read(blob(name)?).ok()?, "application/octet-stream".into()));
    }
    if !kind.ends_with("/manifests") {
        return (path == "/v2/").then(|| (Vec::new(), "text/plain".into()));
    }
    let index: serde_json::Value = serde_json::from_slice(&fs::read(directory.join("index.json")).ok()?).ok()?;
    let first = index["manifests"][0]["digest"].as_str()?;
    let digest = if name.starts_with("sha256:") { name } else { first };
    let body = fs::read(blob(digest)?).ok()?;
    let document: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let kind = document["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json").to_owned();
    Some((body, kind))
}
