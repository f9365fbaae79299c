//! Where a request goes: scheme, host, path. Absolute addresses, and those that an answer's `Location` gives relative
//! to the request's own.

use std::fmt;

use failure::{Error, Result};

/// An `http://` or `https://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    /// With the port if one was written.
    pub(crate) host: String,
    /// From the first slash on, with the query, without a fragment.
    pub(crate) path: String,
}

impl Address {
    /// Reads an absolute address. Names and passwords inside it are refused: they would end up in messages.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("`{}` is not an http or https address", shown(text)));
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        if !valid_host(host) {
            return Err(wrong());
        }
        Ok(Self { tls, host: host.to_ascii_lowercase(), path: valid_path(path).ok_or_else(wrong)? })
    }

    /// The address that `location` means in an answer to a request for this one.
    pub(crate) fn join(&self, location: &str) -> Result<Self> {
        if location.split_once(':').is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphabetic())) {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        let own = self.path.split('?').next().unwrap_or_default();
        let path = match location.bytes().next() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{own}{location}"),
            _ => format!("{}/{location}", own.rsplit_once('/').map_or("", |(directory, _)| directory)),
        };
        let path = valid_path(&path)
            .ok_or_else(|| Error::invalid(format!("`{}` is not an address to go on to", shown(location))))?;
        Ok(Self { path, ..self.clone() })
    }

    /// The same address with one more parameter in its query.
    pub(crate) fn with_parameter(&self, name: &str, value: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        Self { path: format!("{}{separator}{name}={}", self.path, escaped(value)), ..self.clone() }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The host without its port and without an IPv6 address's brackets.
    pub(crate) fn host_name(&self) -> &str {
        let (name, _) = split_port(&self.host);
        name.trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, port) = split_port(&self.host);
        port.unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// Whether both are served by one host at one port.
    pub(crate) fn same_host(&self, other: &Self) -> bool {
        self.host_name() == other.host_name() && self.port() == other.port()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme(), self.host, self.path)
    }
}

/// A value as it is written in a query or in a form.
pub(crate) fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The start of a stranger's text, for a message.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, None),
    }
}

fn valid_host(host: &str) -> bool {
    let (name, _) = split_port(host);
    let good_port = name.len() == host.len() || host[name.len() + 1..].parse::<u16>().is_ok();
    let good_name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    good_port && good_name
}

/// A path that can stand in a request line.
fn valid_path(path: &str) -> Option<String> {
    let path = path.split('#').next().unwrap_or_default();
    if !path.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return None;
    }
    Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_as_the_answer_means_them() {
        let base = Address::parse("https://Registry.example:5000/v2/a/blobs/uploads/?x=1").unwrap();
        assert_eq!(base.host, "registry.example:5000");
        for (location, expected) in [
            ("https://cdn.example/a?b#c", "https://cdn.example/a?b"),
            ("HTTP://cdn.example", "http://cdn.example/"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/v2/a/blobs/uploads/1?state=y", "https://registry.example:5000/v2/a/blobs/uploads/1?state=y"),
            ("1", "https://registry.example:5000/v2/a/blobs/uploads/1"),
            ("?state=z", "https://registry.example:5000/v2/a/blobs/uploads/?state=z"),
            ("https://[::1]:7/x", "https://[::1]:7/x"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected, "{location}");
        }
        for wrong in [
            "ftp://x/",
            "https://user:secret@x/",
            "https:///x",
            "/a b",
            "/a\r\nb",
            "file:/etc/passwd",
            "https://x:99999/",
        ] {
            assert!(base.join(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parameters_are_escaped() {
        let address = Address::parse("https://x/t?a=1").unwrap().with_parameter("scope", "repository:a/b:pull");
        assert_eq!(address.to_string(), "https://x/t?a=1&scope=repository%3Aa%2Fb%3Apull");
    }

    #[test]
    fn hosts_are_compared_with_their_ports() {
        let host = |text: &str| Address::parse(text).unwrap();
        assert!(host("https://a/").same_host(&host("https://a:443/x")));
        assert!(!host("https://a/").same_host(&host("http://a/")));
        assert_eq!(host("http://[::1]:5/").host_name(), "::1");
    }
}
