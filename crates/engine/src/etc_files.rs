//! /etc/hosts, /etc/hostname and /etc/resolv.conf: files of the container, written once by `create`, bound in.
//!
//! They lie in `containers/<id>/`. The container may change them; the image's own are hidden, never changed. A
//! container in another's network uses that one's files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use failure::{Error, Result};

use crate::Home;
use crate::config::ContainerConfig;
use crate::files;
use crate::request::NetworkMode;

/// The three files by their names, in the container's directory and in /etc.
pub(crate) const NAMES: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
     ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// Writes the three into the directory of a new container.
///
/// # Errors
/// A bad `--add-host` or `--dns`.
pub(crate) fn write(directory: &Path, config: &ContainerConfig, warnings: &mut Vec<String>) -> Result<()> {
    if matches!(config.namespaces.network, NetworkMode::Container(_)) {
        let host = &config.host;
        if !(host.extra_hosts.is_empty() && host.dns.is_empty() && host.dns_search.is_empty()) {
            return Err(Error::invalid(
                "`--add-host` and `--dns` belong to the container whose network is used; give them there",
            ));
        }
        return files::write_public(&directory.join("hostname"), format!("{}\n", host.hostname).as_bytes());
    }
    let hosts_network = config.namespaces.network == NetworkMode::Host;
    let host_hosts = if hosts_network { std::fs::read_to_string("/etc/hosts").ok() } else { None };
    let hosts = hosts(config, host_hosts, warnings)?;
    let given = !config.host.dns.is_empty();
    let host_resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let resolver = resolver(config, &host_resolver, hosts_network || given)?;
    files::write_public(&directory.join("resolv.conf"), resolver.as_bytes())?;
    files::write_public(&directory.join("hostname"), format!("{}\n", config.host.hostname).as_bytes())?;
    files::write_public(&directory.join("hosts"), hosts.as_bytes())
}

/// Where the file of this name is for the container.
pub(crate) fn path(home: &Home, config: &ContainerConfig, name: &str) -> PathBuf {
    if name != "hostname"
        && let NetworkMode::Container(other) = &config.namespaces.network
    {
        return home.containers().join(other).join(name);
    }
    home.container(&config.id).join(name)
}

fn hosts(config: &ContainerConfig, host_hosts: Option<String>, warnings: &mut Vec<String>) -> Result<String> {
    let of_host = host_hosts.is_some();
    let mut text = host_hosts.unwrap_or_else(|| LOCAL_HOSTS.to_owned());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in &config.host.extra_hosts {
        let (name, address) = split_host(entry)?;
        let address = match address {
            "host-gateway" if of_host => "127.0.0.1",
            "host-gateway" => {
                warnings.push(format!(
                    "`{name}` is left out of /etc/hosts: the container's network has no gateway to the host"
                ));
                continue;
            }
            address if address.parse::<IpAddr>().is_ok() => address,
            _ => {
                return Err(Error::invalid(format!("`{address}` in `--add-host {entry}` is no IP address")));
            }
        };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    if !of_host {
        let host = &config.host;
        let full =
            if host.domainname.is_empty() { String::new() } else { format!("{}.{} ", host.hostname, host.domainname) };
        text.push_str(&format!("127.0.1.1\t{full}{}\n", host.hostname));
    }
    Ok(text)
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may be in brackets.
fn split_host(entry: &str) -> Result<(&str, &str)> {
    let split = entry.split_once('=').or_else(|| entry.split_once(':'));
    match split {
        Some((name, address)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
            let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
            Ok((name, address))
        }
        _ => Err(Error::invalid(format!("`--add-host {entry}` is not NAME:ADDRESS"))),
    }
}

/// The host's resolver configuration with what was asked for in its place. Name servers on the host's loopback are
/// out of reach of a container with a network of its own.
fn resolver(config: &ContainerConfig, of_host: &str, keep_loopback: bool) -> Result<String> {
    let host = &config.host;
    let mut text = String::new();
    for address in &host.dns {
        address.parse::<IpAddr>().map_err(|_| Error::invalid(format!("`{address}` in `--dns` is no IP address")))?;
        text.push_str(&format!("nameserver {address}\n"));
    }
    let search: Vec<&str> = host.dns_search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !host.dns_options.is_empty() {
        text.push_str(&format!("options {}\n", host.dns_options.join(" ")));
    }
    for line in of_host.lines() {
        let mut words = line.split_whitespace();
        let keep = match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
                host.dns.is_empty() && address.is_some_and(|address| keep_loopback || !address.is_loopback())
            }
            Some("search" | "domain") => host.dns_search.is_empty(),
            Some("options") => host.dns_options.is_empty(),
            Some(word) => !word.starts_with('#') && !word.starts_with(';'),
            None => false,
        };
        if keep {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigBase, ImageSource, merge};
    use crate::request::Request;

    fn config(request: Request) -> ContainerConfig {
        let source = ImageSource { reference: "host:".into(), id: None, manifest: None, base: ConfigBase::Host };
        let request = Request { command: vec!["x".into()], ..request };
        merge(request, runtime::ContainerId::random(), source, None).unwrap()
    }

    #[test]
    fn extra_hosts_follow_the_local_ones() {
        let config = config(Request {
            extra_hosts: vec!["db:10.0.0.1".into(), "six:[2001:db8::1]".into(), "gw:host-gateway".into()],
            hostname: Some("me".into()),
            ..Request::default()
        });
        let mut warnings = Vec::new();
        let text = hosts(&config, None, &mut warnings).unwrap();
        assert!(text.ends_with("10.0.0.1\tdb\n2001:db8::1\tsix\n127.0.1.1\tme\n"), "{text}");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn the_hosts_loopback_resolver_is_left_out() {
        let of_host = "# hm\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch a.example\noptions edns0\n";
        let plain = config(Request::default());
        assert_eq!(resolver(&plain, of_host, false).unwrap(), "nameserver 10.0.0.2\nsearch a.example\noptions edns0\n");
        let given = config(Request { dns: vec!["1.1.1.1".into()], dns_search: vec![".".into()], ..Request::default() });
        assert_eq!(resolver(&given, of_host, true).unwrap(), "nameserver 1.1.1.1\noptions edns0\n");
        let bad = config(Request { dns: vec!["one".into()], ..Request::default() });
        assert!(resolver(&bad, of_host, true).is_err());
    }
}
