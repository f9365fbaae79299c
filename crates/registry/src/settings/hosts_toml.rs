//! `hosts.toml`: what containerd reads in `certs.d/<host>/`, or in `certs.d/_default/` for every other host.
//!
//! ```toml
//! server = "https://registry.example.com"            # asked last; none: the registry's own host
//! ca = "corp.crt"                                    # for the server: everything that a host can have
//! [host."https://mirror.local:5000"]                 # asked first, in the order of the file
//!   capabilities = ["pull", "resolve", "push"]       # these three, if it is not said
//!   ca = "mirror.crt"                                # or ["a.crt", "b.crt"]; relative to the file
//!   client = [["client.cert", "client.key"]]         # or "both.pem", or ["both.pem"]
//!   skip_verify = false
//!   override_path = true                             # the URL's path is the whole of it, without `/v2`
//!   [host."https://mirror.local:5000".header]
//!     x-team = "blue"                                # or ["a", "b"]
//! ```
//! A host without a scheme has TLS; `http://` is the way to go without.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use failure::{Error, Result};
use serde::Deserialize;
use toml::Spanned;

use super::host;
use super::place::Source;
use crate::Secret;
use crate::endpoint::{Offers, Scheme, Tls};

/// More hosts, headers or files than a person configures.
const MOST: usize = 100;

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// In the order of the file.
    pub(crate) hosts: Vec<Host>,
    /// Asked last; without an address it is the host that the directory is for.
    pub(crate) server: Option<Host>,
    /// What the top of the file says about it.
    pub(crate) own: Told,
}

/// One host to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) scheme: Scheme,
    /// With its port.
    pub(crate) host: String,
    /// `/v2`, or the URL's own path.
    pub(crate) prefix: String,
    pub(crate) told: Told,
}

/// What a table says about its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) offers: Offers,
    pub(crate) tls: Tls,
    pub(crate) headers: Vec<(String, Secret)>,
}

impl Default for Told {
    fn default() -> Self {
        Self { offers: Offers::ALL, tls: Tls::default(), headers: Vec::new() }
    }
}

#[derive(Deserialize)]
struct Document {
    server: Option<Spanned<String>>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Table>,
    capabilities: Option<Spanned<Vec<String>>>,
    ca: Option<Words>,
    client: Option<Spanned<Client>>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<Spanned<String>, Words>,
}

#[derive(Deserialize)]
struct Table {
    capabilities: Option<Spanned<Vec<String>>>,
    ca: Option<Words>,
    client: Option<Spanned<Client>>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: BTreeMap<Spanned<String>, Words>,
}

/// One or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Several(Vec<String>),
}

/// `"both.pem"`, `["both.pem", ...]`, `[["certificate", "key"], ...]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Several(Vec<Words>),
}

impl Words {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::Several(words) => words,
        }
    }
}

impl Hosts {
    /// Reads the file at `path`, which relative names in it start from.
    ///
    /// # Errors
    /// The file is wrong; the error names it and the line.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self> {
        let source = Source { path, text };
        let Document { server, host, capabilities, ca, client, skip_verify, override_path, header } = source.toml()?;
        if host.len() > MOST {
            return Err(Error::invalid(format!("`{}`: more than {MOST} hosts", path.display())));
        }
        let own_path = override_path;
        let own = told(source, Table { capabilities, ca, client, skip_verify, override_path, header })?;
        let server = server.map(|url| address(source, &url, own_path, own.clone())).transpose()?;
        let mut tables: Vec<_> = host.into_iter().collect();
        tables.sort_by_key(|(url, _)| url.span().start);
        let hosts = tables.into_iter().map(|(url, table)| {
            let own_path = table.override_path;
            address(source, &url, own_path, told(source, table)?)
        });
        Ok(Self { hosts: hosts.collect::<Result<_>>()?, server, own })
    }
}

/// Reads `[http[s]://]host[:port][/path]`.
fn address(source: Source<'_>, url: &Spanned<String>, own_path: bool, told: Told) -> Result<Host> {
    let text = url.get_ref().as_str();
    let (scheme, rest) = match text.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(_) => return Err(source.wrong_at(url.span().start, "an address begins with `https://` or `http://`")),
        None => (Scheme::Https, text),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path_is_good = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'));
    if !host::is_valid(host) || !path_is_good || text.len() > 1000 {
        let shown: String = text.chars().take(80).collect();
        // What comes before an `@` may be a password: it is not shown.
        let shown = shown.rsplit('@').next().unwrap_or_default();
        return Err(source.wrong_at(url.span().start, format!("`{shown}` is not [http[s]://]HOST[:PORT][/PATH]")));
    }
    let path = path.trim_matches('/');
    let prefix = match (path, own_path) {
        ("", true) => String::new(),
        ("", false) => "/v2".to_owned(),
        (path, true) => format!("/{path}"),
        (path, false) if path == "v2" || path.ends_with("/v2") => format!("/{path}"),
        (path, false) => format!("/{path}/v2"),
    };
    Ok(Host { scheme, host: host.to_owned(), prefix, told })
}

fn told(source: Source<'_>, table: Table) -> Result<Told> {
    let beside = |name: &String| source.path.parent().unwrap_or(Path::new("/")).join(name);
    let authorities = table.ca.map_or_else(Vec::new, Words::list).iter().map(beside).collect();
    let identity = table.client.map(|client| identity(source, client, beside)).transpose()?.flatten();
    let mut headers = Vec::new();
    for (name, values) in table.header {
        let at = name.span().start;
        let name = name.into_inner();
        for value in values.list() {
            let name_is_good =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            let value_is_good = value.bytes().all(|b| (0x20..0x7f).contains(&b));
            if !name_is_good || !value_is_good || headers.len() == MOST {
                return Err(source.wrong_at(at, "this header cannot be sent: letters, digits and `-` make its name"));
            }
            headers.push((name.clone(), Secret::new(value)));
        }
    }
    Ok(Told {
        offers: offers(source, table.capabilities)?,
        tls: Tls { authorities, identity, unverified: table.skip_verify },
        headers,
    })
}

fn offers(source: Source<'_>, words: Option<Spanned<Vec<String>>>) -> Result<Offers> {
    let Some(words) = words.filter(|words| !words.get_ref().is_empty()) else { return Ok(Offers::ALL) };
    let mut offers = Offers { tags: false, content: false, push: false };
    for word in words.get_ref() {
        match word.to_ascii_lowercase().as_str() {
            "pull" => offers.content = true,
            "resolve" => offers.tags = true,
            "push" => offers.push = true,
            // containerd has further ones for itself.
            "referrers" => {}
            _ => return Err(source.wrong_at(words.span().start, "a capability is `pull`, `resolve` or `push`")),
        }
    }
    Ok(offers)
}

/// The first pair of certificate and key.
fn identity(
    source: Source<'_>,
    client: Spanned<Client>,
    beside: impl Fn(&String) -> PathBuf,
) -> Result<Option<(PathBuf, PathBuf)>> {
    let at = client.span().start;
    let first = match client.into_inner() {
        Client::One(both) => Some(Words::One(both)),
        Client::Several(words) => words.into_iter().next(),
    };
    match first.map(Words::list).unwrap_or_default().as_slice() {
        [] => Ok(None),
        [both] => Ok(Some((beside(both), beside(both)))),
        [both, key] if key.is_empty() => Ok(Some((beside(both), beside(both)))),
        [certificate, key] => Ok(Some((beside(certificate), beside(key)))),
        _ => Err(source.wrong_at(at, "`client` is a file, or pairs of a certificate and its key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Hosts> {
        Hosts::parse(Path::new("/etc/containerd/certs.d/docker.io/hosts.toml"), text)
    }

    fn line(hosts: &Hosts) -> Vec<(Scheme, &str, &str)> {
        let all = hosts.hosts.iter().chain(&hosts.server);
        all.map(|host| (host.scheme, host.host.as_str(), host.prefix.as_str())).collect()
    }

    #[test]
    fn a_mirror_comes_before_the_server() {
        // The example of containerd's own documentation, and a second mirror whose name sorts before the first.
        let hosts = parse(
            r#"
            server = "https://registry-1.docker.io"    # Exclude this to not use upstream

            [host."https://public-mirror.example.com"]
              capabilities = ["pull"]                  # Requires less trust, won't resolve tag to digest from this host
            [host."https://docker-mirror.internal"]
              capabilities = ["pull", "resolve"]
              ca = "docker-mirror.crt"                 # Or absolute path /etc/containerd/certs.d/docker.io/docker-mirror.crt
            "#,
        );
        let hosts = hosts.unwrap();
        let all = line(&hosts);
        assert_eq!(
            all,
            [
                (Scheme::Https, "public-mirror.example.com", "/v2"),
                (Scheme::Https, "docker-mirror.internal", "/v2"),
                (Scheme::Https, "registry-1.docker.io", "/v2")
            ]
        );
        assert_eq!(hosts.hosts[0].told.offers, Offers::BY_DIGEST);
        assert_eq!(hosts.hosts[1].told.offers, Offers::READ);
        let authorities = &hosts.hosts[1].told.tls.authorities;
        assert_eq!(authorities, &[PathBuf::from("/etc/containerd/certs.d/docker.io/docker-mirror.crt")]);
    }

    #[test]
    fn everything_that_a_host_can_have() {
        let hosts = parse(
            r#"
            server = "http://192.168.1.1:5000/"
            skip_verify = true
            ca = ["/a.pem", "b.pem"]
            [host."mirror.local:8443/proxy/api/docker/v2/hub"]
            override_path = true
            client = [["client.cert", "client.key"], ["x.pem", ""]]
            [host."mirror.local:8443/proxy/api/docker/v2/hub".header]
            authorization = "Bearer hunter2"
            x-team = ["a", "b"]
            [host."https://plain.example/proxy"]
            client = "/both.pem"
            "#,
        );
        let hosts = hosts.unwrap();
        assert_eq!(
            line(&hosts),
            [
                (Scheme::Https, "mirror.local:8443", "/proxy/api/docker/v2/hub"),
                (Scheme::Https, "plain.example", "/proxy/v2"),
                (Scheme::Http, "192.168.1.1:5000", "/v2")
            ]
        );
        let [first, second] = hosts.hosts.as_slice() else { panic!() };
        let beside = |name| PathBuf::from("/etc/containerd/certs.d/docker.io").join(name);
        assert_eq!(first.told.tls.identity, Some((beside("client.cert"), beside("client.key"))));
        assert_eq!(first.told.headers.len(), 3);
        assert!(!format!("{first:?}").contains("hunter2"));
        assert_eq!(second.told.tls.identity, Some(("/both.pem".into(), "/both.pem".into())));
        let server = hosts.server.unwrap().told;
        assert!(server.tls.unverified && server.tls.authorities.len() == 2);
    }

    #[test]
    fn a_file_without_a_server_is_about_the_host_itself() {
        let hosts = parse("ca = '/etc/ca.pem'\n").unwrap();
        assert!(hosts.hosts.is_empty() && hosts.server.is_none());
        assert_eq!(hosts.own.tls.authorities, [PathBuf::from("/etc/ca.pem")]);
        assert_eq!(parse("").unwrap(), Hosts::default());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, reason) in [
            ("server = [", "line 1"),
            ("\n\nskip_verify = 'yes'", "line 3: invalid type: a string, expected a boolean"),
            ("[host.x]\nheader = 'Bearer pw'", "line 2: invalid type: a string, expected a map"),
            ("\n[host.'ftp://x']", "line 2: an address begins with `https://` or `http://`"),
            ("[host.'https://a b']", "line 1: `https://a b` is not [http[s]://]HOST"),
            ("[host.'https://user:pw@x']", "line 1: `x` is not [http[s]://]HOST"),
            ("[host.x]\ncapabilities = ['pul']", "line 2: a capability is"),
            ("[host.x.header]\n'a b' = 'c'", "line 2: this header cannot be sent"),
            ("[host.x.header]\na = \"c\\r\\nd: e\"", "line 2: this header cannot be sent"),
            ("client = [['a', 'b', 'c']]", "line 1: `client` is a file"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            let expected = format!("`/etc/containerd/certs.d/docker.io/hosts.toml`, {reason}");
            assert!(error.starts_with(&expected), "{text}: {error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
