//! Host names to addresses, without the C library: `getaddrinfo` of a static binary would load the host's modules.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of a host, in the order in which they are tried.
pub(crate) fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
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
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no address is known for `{host}`")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read_line_by_line() {
        let text = "127.0.0.1 localhost me # registry\n::1 localhost\nnonsense registry\n10.0.0.1\tRegistry other\n";
        let read = |host| listed(text, host).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(read("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(read("registry"), ["10.0.0.1"]);
        assert!(read("unknown").is_empty());
    }
}
