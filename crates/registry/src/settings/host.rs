//! What a host looks like in a file: `registry.example.com`, `localhost:5000`, `[::1]:5000`.

use std::net::IpAddr;

/// Whether the text can be a host with or without a port. It is also safe as the name of a directory.
pub(crate) fn is_valid(text: &str) -> bool {
    let (name, port) = split(text);
    let name_is_good = match name.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !name.is_empty()
                && !name.starts_with('.')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    text.len() <= 255 && name_is_good && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// The name and the port; an IPv6 address without brackets has none.
pub(crate) fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && (!name.contains(':') || name.ends_with(']')) => (name, Some(port)),
        _ => (host, None),
    }
}

/// Whether it is this machine itself, as Docker decides it: 127.0.0.0/8, ::1, localhost.
pub(crate) fn is_loopback(host: &str) -> bool {
    let (name, _) = split(host);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["a", "a.b-c_d:5000", "127.0.0.1:1", "[::1]:5000", "[fe80::1]"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "..", ".a", "a/b", "a b", "a:b", "a:99999", "[x]", "user@a", "::1"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn loopback() {
        for own in ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:80", "[::1]:5000"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["localhost.evil.net", "128.0.0.1", "127.0.0.1.evil.net", "[::2]", "docker.io"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
