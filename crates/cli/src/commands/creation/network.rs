//! Its network, names and name servers.

use crate::exit::{Outcome, Stop};
use crate::values::{Parsed, host, network};
use clap::Args;
use engine::Request;
use engine::request::NetworkMode;

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// none, host or container:NAME; the default is a network of its own with loopback only
    #[arg(long, alias = "net", value_name = "NETWORK", value_parser = network::network)]
    network: Vec<NetworkMode>,
    /// Host name [default: the first twelve digits of the id]
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:IP", value_parser = host::extra)]
    add_host: Vec<String>,
    /// Set a name server
    #[arg(long, value_name = "ADDRESS", value_parser = host::server)]
    dns: Vec<String>,
    /// Set a search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Set an option of resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Note a port that the program listens on: 80/tcp
    #[arg(long, value_name = "PORT", value_parser = port)]
    expose: Vec<Vec<String>>,
}

impl Network {
    pub(super) fn apply(self, request: &mut Request) -> Outcome<()> {
        let mut networks = self.network.into_iter();
        request.network = networks.next().unwrap_or_default();
        if networks.next().is_some() {
            return Err(Stop::Usage("more than one --network is not supported yet".into()));
        }
        request.hostname = self.hostname.filter(|name| !name.is_empty());
        request.domainname = self.domainname;
        request.extra_hosts = self.add_host;
        request.dns = self.dns;
        request.dns_search = self.dns_search;
        request.dns_options = self.dns_option;
        request.exposed_ports = self.expose.concat();
        Ok(())
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`: every port as `80/tcp`.
fn port(text: &str) -> Parsed<Vec<String>> {
    let wrong = || format!("invalid range format for --expose: {text}");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = first.parse().ok().zip(last.parse().ok()).ok_or_else(wrong)?;
    if first == 0 || first > last {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}
