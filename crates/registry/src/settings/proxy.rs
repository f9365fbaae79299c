//! Proxies, as Go's programs (docker, podman, containerd) read them from the environment:
//!
//! ```text
//! HTTPS_PROXY, HTTP_PROXY   [http[s]://][user:password@]host:port, by the scheme of the request
//! NO_PROXY                  comma-separated: `*`, example.com (and all below), .example.com (only below), 10.0.0.0/8,
//!                           192.168.1.1, each also with a port
//! ```
//! The lower-case names count where the upper-case ones are not set. This machine itself is never asked for by a proxy.

use std::net::IpAddr;

use failure::{Error, Result};

use super::host;
use crate::Secret;

/// Which requests go through which proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Secret>,
    https: Option<Secret>,
    exceptions: Vec<Exception>,
}

/// One word of NO_PROXY.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    All,
    Network(IpAddr, u8),
    /// The domain; whether it is one itself; its port.
    Domain(String, bool, Option<String>),
}

impl Proxies {
    /// Reads the variables that `environment` knows.
    ///
    /// # Errors
    /// A proxy's address is none. It is not shown, because a password may be in it.
    pub fn parse(environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let value = |name: &'static str| {
            let set = |name: &str| environment(name).filter(|value| !value.is_empty());
            set(name).or_else(|| set(&name.to_ascii_lowercase()))
        };
        let proxy = |name| value(name).map(|value| address(name, value.trim())).transpose();
        let exceptions = value("NO_PROXY").unwrap_or_default();
        Ok(Self {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            exceptions: exceptions.split(',').filter_map(|word| exception(word.trim())).collect(),
        })
    }

    /// The proxy for a host with its port: `http://[user:password@]host:port`.
    pub fn of(&self, host: &str, tls: bool) -> Option<&Secret> {
        let proxy = if tls { self.https.as_ref()? } else { self.http.as_ref()? };
        let direct = host::is_loopback(host) || self.exceptions.iter().any(|exception| exception.covers(host));
        (!direct).then_some(proxy)
    }
}

impl Exception {
    fn covers(&self, host: &str) -> bool {
        let (name, port) = host::split(host);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        match self {
            Self::All => true,
            Self::Network(network, bits) => name.parse().is_ok_and(|address| inside(address, *network, *bits)),
            Self::Domain(domain, itself, own_port) => {
                let below = || name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
                let same_port = own_port.is_none() || own_port.as_deref() == port;
                ((*itself && name == *domain) || below()) && same_port
            }
        }
    }
}

fn address(variable: &str, text: &str) -> Result<Secret> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let place = rest.trim_end_matches('/').rsplit('@').next().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(Error::unsupported(format!("{variable}: only http and https proxies are supported")));
    }
    if !host::is_valid(place) || rest.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err(Error::invalid(format!("{variable} is not a proxy's address: [http://][USER:PASSWORD@]HOST:PORT")));
    }
    Ok(Secret::new(format!("{scheme}://{}", rest.trim_end_matches('/'))))
}

fn exception(word: &str) -> Option<Exception> {
    let word = word.to_ascii_lowercase();
    if word.is_empty() {
        return None;
    }
    if word == "*" {
        return Some(Exception::All);
    }
    if let Some((network, bits)) = word.split_once('/') {
        return Some(Exception::Network(network.parse().ok()?, bits.parse().ok()?));
    }
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(Exception::Network(address, if address.is_ipv4() { 32 } else { 128 }));
    }
    let (name, port) = host::split(&word);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.strip_prefix('*').unwrap_or(name);
    let domain = name.strip_prefix('.').unwrap_or(name);
    Some(Exception::Domain(domain.to_owned(), domain.len() == name.len(), port.map(str::to_owned)))
}

fn inside(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: &[u8], b: &[u8]| {
        let (whole, rest) = (usize::from(bits / 8), bits % 8);
        let mask = !(0xff_u8.checked_shr(rest.into()).unwrap_or(0));
        let part = |bytes: &[u8]| bytes.get(whole).map_or(0, |byte| byte & mask);
        usize::from(bits) <= a.len() * 8 && a.get(..whole) == b.get(..whole) && part(a) == part(b)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(&a.octets(), &b.octets()),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(&a.octets(), &b.octets()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(values: &[(&str, &str)]) -> Result<Proxies> {
        Proxies::parse(|name| values.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        let proxies =
            proxies(&[("http_proxy", "proxy:3128"), ("HTTPS_PROXY", "http://me:hunter2@secure:3129/")]).unwrap();
        let of = |host, tls| proxies.of(host, tls).map(Secret::reveal);
        assert_eq!(of("docker.io", true), Some("http://me:hunter2@secure:3129"));
        assert_eq!(of("docker.io", false), Some("http://proxy:3128"));
        assert_eq!(of("localhost", true), None);
        assert_eq!(of("127.0.0.1:5000", true), None);
        assert_eq!(of("::1", true), None);
        assert!(!format!("{proxies:?}").contains("hunter2"));
    }

    #[test]
    fn exceptions() {
        let list = "example.com, .sub.net,10.0.0.0/8,192.168.1.1,fd00::/12,*.wild.org,ported.net:5000,::2,bad/x,";
        let proxies = proxies(&[("HTTPS_PROXY", "p:1"), ("no_proxy", list)]).unwrap();
        for direct in [
            "example.com",
            "EXAMPLE.com",
            "a.b.example.com:443",
            "x.sub.net",
            "10.1.2.3",
            "192.168.1.1:5000",
            "[fd0f::1]:80",
            "a.wild.org",
            "ported.net:5000",
            "::2",
        ] {
            assert_eq!(proxies.of(direct, true), None, "{direct}");
        }
        for through in
            ["badexample.com", "sub.net", "11.0.0.1", "192.168.1.2", "[fd10::1]", "wild.org", "ported.net:1", "::3"]
        {
            assert!(proxies.of(through, true).is_some(), "{through}");
        }
    }

    #[test]
    fn everything_can_be_excepted() {
        assert_eq!(proxies(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")]).unwrap().of("a", true), None);
    }

    #[test]
    fn a_wrong_address_is_not_shown() {
        for wrong in ["socks5://me:hunter2@p:1", "http://me:hunter2@p p", "http://me:hunter2@", "http://me:hunter2@x:y"]
        {
            let error = proxies(&[("HTTPS_PROXY", wrong)]).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY") && !error.contains("hunter2"), "{error}");
        }
    }
}
