//! Through a proxy: to a host with TLS by `CONNECT host:port`, and then the connection is to that host; to one without by asking
//! the proxy for the whole address, `GET http://host/path`, since many tunnel to port 443 alone.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The longest head of a proxy's answer.
const LONGEST_HEAD: usize = 16 * 1024;

/// A proxy, as its address gives it: `http://[user:password@]host[:port][/]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The `Proxy-Authorization` header.
    authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Proxy {
    /// Reads a proxy's address. The error is a sentence, without the password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!("a proxy with `{scheme}://` is not supported; give one with http://"));
        }
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (who, place) = match rest.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, rest),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            // Go's and curl's default would be 80 and 1080; 80 is what engines take.
            _ => (place, Some(80)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (Some(port), false) = (port, host.is_empty()) else {
            return Err(format!("`{place}` is not a proxy's address"));
        };
        let authorization = who.map(|who| format!("Basic {}", BASE64_STANDARD.encode(unescaped(who))));
        Ok(Self { host: host.to_owned(), port, authorization })
    }

    /// A request's head for a host without TLS, as the proxy takes it.
    pub(crate) fn forwarded(&self, head: &[u8], host: &str) -> Option<Vec<u8>> {
        let path = head.iter().position(|byte| *byte == b' ')? + 1;
        let line = head.windows(2).position(|two| two == b"\r\n")? + 2;
        let mut whole = [&head[..path], b"http://", host.as_bytes(), &head[path..line]].concat();
        if let Some(authorization) = &self.authorization {
            whole.extend_from_slice(format!("Proxy-Authorization: {authorization}\r\n").as_bytes());
        }
        whole.extend_from_slice(&head[line..]);
        Some(whole)
    }

    /// Asks the proxy at the other end of `stream` for a way to `host:port`. The error is a sentence.
    pub(crate) fn tunnel(&self, stream: &mut TcpStream, host: &str, port: u16) -> Result<(), String> {
        let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        head.push_str("\r\n");
        let wrong = |reason: &str| format!("the proxy {}:{} {reason}", self.host, self.port);
        stream.write_all(head.as_bytes()).map_err(|_| wrong("cuts the connection"))?;
        // Byte by byte: what follows the head belongs to the host.
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).map_err(|_| wrong("does not answer"))?;
            answer.push(byte[0]);
            if answer.len() > LONGEST_HEAD {
                return Err(wrong("does not answer as a proxy does"));
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        let mut words = answer.lines().next().unwrap_or_default().splitn(3, ' ');
        match (words.next(), words.next()) {
            (Some(version), Some("200")) if version.starts_with("HTTP/1.") => Ok(()),
            (Some(version), Some(status)) if version.starts_with("HTTP/1.") => {
                Err(wrong(&format!("refuses the way to {to} with {status}")))
            }
            _ => Err(wrong("does not answer as a proxy does")),
        }
    }
}

/// A name and password without `%` escapes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten();
        let value = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_address_is_read_in_all_its_forms() {
        let read = |text| Proxy::parse(text).map(|proxy| (proxy.host, proxy.port, proxy.authorization));
        let plain = |host: &str, port| Ok((host.to_owned(), port, None));
        assert_eq!(read("http://proxy.example:3128/"), plain("proxy.example", 3128));
        assert_eq!(read("proxy.example:3128"), plain("proxy.example", 3128));
        assert_eq!(read("http://proxy"), plain("proxy", 80));
        assert_eq!(read("HTTP://[::1]:8080"), plain("::1", 8080));
        let (_, _, authorization) = read("http://me:a%40b@proxy:1").unwrap();
        assert_eq!(authorization, Some(format!("Basic {}", BASE64_STANDARD.encode("me:a@b"))));
        for wrong in ["https://proxy", "socks5://proxy", "http://", "http://proxy:x", "http://me:secret@"] {
            assert!(!read(wrong).unwrap_err().contains("secret"), "{wrong}");
        }
    }
}
