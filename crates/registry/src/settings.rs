//! What this machine's files say about registries, put together: which endpoints a repository has, and who we are there.
//!
//! ```text
//! reference --registries.conf--> blocked? or places: mirrors, location     pushes go to the reference's own place
//!      each place --hosts.toml of its host--> endpoints: hosts, server
//!           each endpoint --certs.d of its host--> authorities, our certificate
//!                         --credentials--> who we are there
//! ```
//! Each format has a file of its own here that parses text; reading is done here alone. `registries.conf` is read once;
//! files of a host when that host is asked for, so that a mistake in one hurts only there.
//!
//! **Insecure** is what a file calls so, and this machine itself (`localhost`, 127.0.0.0/8, `::1`, as in Docker) as long as
//! no file has a certificate or a decision for it.

mod certificates;
pub(crate) mod file;
mod host;
mod hosts_toml;
mod place;
mod proxy;
mod registries_conf;

use std::path::{Path, PathBuf};

use failure::{Error, Kind, Result};
use reference::Reference;

use crate::Accounts;
use crate::endpoint::{Access, Credentials, Endpoint, Lookup, Offers, Scheme};
use hosts_toml::{Host, Hosts, Told};
pub(crate) use place::Source;
pub use proxy::Proxies;
pub use registries_conf::Rules;
use registries_conf::{Physical, Rule};

/// The longest `registries.conf`.
const LONGEST: u64 = 1 << 20;
/// More drop-ins than a machine has.
const MOST: usize = 1000;

/// Where the files are.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `registries.conf`: the first of these that is there, or has a directory with drop-ins (`….d`), counts.
    pub registries: Vec<PathBuf>,
    /// Roots of `certs.d` with `hosts.toml`; the first that knows a host counts.
    pub hosts: Vec<PathBuf>,
    /// Roots of `certs.d` with certificates only; all count.
    pub certificates: Vec<PathBuf>,
}

/// All that this machine says about registries.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    rules: Rules,
    places: Places,
    proxies: Proxies,
    accounts: Accounts,
}

impl Settings {
    /// Reads what holds for all hosts.
    ///
    /// # Errors
    /// A file that cannot be read or is wrong; the error names it and the line.
    pub fn read(places: Places, proxies: Proxies, accounts: Accounts) -> Result<Self> {
        let mut rules = Rules::default();
        for path in &places.registries {
            let mut found = false;
            if let Some(text) = file::read(path, LONGEST)? {
                rules.add(path, &text)?;
                found = true;
            }
            for path in drop_ins(path)? {
                rules.add(&path, &file::read(&path, LONGEST)?.unwrap_or_default())?;
                found = true;
            }
            if found {
                break;
            }
        }
        Ok(Self { rules, places, proxies, accounts })
    }

    /// The image that a person means by a name to pull: in full, an alias, or found by the rule for short names.
    ///
    /// Without files it is what Docker means: `busybox` is docker.io/library/busybox.
    ///
    /// # Errors
    /// No name, or a short one that files leave open.
    pub fn named(&self, text: &str) -> Result<Reference> {
        let docker = Reference::parse(text)?;
        let end = text.find('@').unwrap_or(text.len());
        let name = &text[..end];
        let name = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => name,
        };
        let first = name.split('/').next().unwrap_or_default();
        if name.contains('/') && (first.contains(['.', ':']) || first == "localhost") {
            return Ok(docker);
        }
        let rest = &text[name.len()..];
        if let Some((target, _)) = self.rules.aliases.get(name) {
            return Reference::parse(&format!("{}/{}{rest}", target.host(), target.path()));
        }
        match &self.rules.search {
            None => Ok(docker),
            Some((registries, _)) if registries.len() == 1 => Reference::parse(&format!("{}/{text}", registries[0])),
            Some((registries, file)) => Err(open_name(name, registries, file)),
        }
    }

    fn of_place(&self, place: Place<'_>) -> Result<Vec<Endpoint>> {
        let Place { physical, insecure, mirror, access } = place;
        let hosts = certificates::hosts(&self.places.hosts, &physical.host)?;
        let Hosts { hosts, server, own } = hosts.unwrap_or_default();
        let mut endpoints = Vec::new();
        for host in hosts {
            endpoints.push(self.named_host(host, &physical)?);
        }
        endpoints.retain(|endpoint| serves(endpoint, access));
        let last = match server {
            Some(host) => self.named_host(host, &physical)?,
            None => self.own_host(own, &physical, insecure)?,
        };
        let listed = endpoints.iter().any(|other| (&other.host, &other.prefix) == (&last.host, &last.prefix));
        if !listed && serves(&last, access) {
            endpoints.push(last);
        }
        if mirror {
            endpoints.iter_mut().for_each(|endpoint| endpoint.offers.push = false);
        }
        Ok(endpoints)
    }

    /// A host that `hosts.toml` names.
    fn named_host(&self, host: Host, physical: &Physical) -> Result<Endpoint> {
        let Host { scheme, host, prefix, told } = host;
        let mut endpoint = Endpoint::of(&host, &physical.path);
        let stands_for_another = endpoint.host != Endpoint::of(&physical.host, &physical.path).host;
        endpoint.namespace = stands_for_another.then(|| physical.host.clone());
        endpoint.scheme = scheme;
        endpoint.prefix = prefix;
        self.tell(&mut endpoint, told, &host)?;
        Ok(endpoint)
    }

    /// The place's own host.
    fn own_host(&self, told: Told, physical: &Physical, insecure: Option<bool>) -> Result<Endpoint> {
        let mut endpoint = Endpoint::of(&physical.host, &physical.path);
        self.tell(&mut endpoint, told, &physical.host)?;
        let with_certificates = !endpoint.tls.authorities.is_empty() || endpoint.tls.identity.is_some();
        let by_itself = insecure.is_none() && !with_certificates && host::is_loopback(&physical.host);
        if insecure == Some(true) || by_itself {
            endpoint.scheme = Scheme::HttpsOrHttp;
            endpoint.tls.unverified = true;
        }
        Ok(endpoint)
    }

    fn tell(&self, endpoint: &mut Endpoint, told: Told, host: &str) -> Result<()> {
        let Told { offers, tls, headers } = told;
        endpoint.offers = offers;
        endpoint.tls = tls;
        endpoint.headers = headers;
        certificates::add(&mut endpoint.tls, &self.places.certificates, host)
    }
}

/// Reads the text of a `hosts.toml` at `path` for its mistakes alone.
///
/// # Errors
/// The first mistake, with its line.
pub fn check_hosts_toml(path: &Path, text: &str) -> Result<()> {
    Hosts::parse(path, text).map(|_| ())
}

/// A place where a reference may be, before the files of its host were read.
struct Place<'a> {
    physical: Physical,
    insecure: Option<bool>,
    mirror: bool,
    access: &'a Access,
}

impl Lookup for Settings {
    fn endpoints(&self, reference: &Reference, access: Access) -> Result<Vec<Endpoint>> {
        let rule = self.rules.of(reference);
        if let Some(rule) = rule.filter(|rule| rule.blocked) {
            let message = format!("`{reference}`: its registry is blocked in `{}`", rule.file.display());
            return Err(Error::new(Kind::Denied, message));
        }
        let mut endpoints = Vec::new();
        for place in places(rule, reference, &access) {
            endpoints.extend(self.of_place(place)?);
        }
        if endpoints.is_empty() {
            let verb = if access == Access::Push { "pushes" } else { "pulls" };
            let message = format!("`{}` has no endpoint for {verb}; see its hosts.toml", reference.host());
            return Err(Error::invalid(message));
        }
        Ok(endpoints)
    }

    fn credentials(&self, endpoint: &Endpoint, _reference: &Reference) -> Result<Option<Credentials>> {
        self.accounts.find(&endpoint.host, &endpoint.repository)
    }

    fn proxy(&self, host: &str, tls: bool) -> Option<String> {
        self.proxies.of(host, tls).map(|proxy| proxy.reveal().to_owned())
    }
}

fn places<'a>(rule: Option<&Rule>, reference: &Reference, access: &'a Access) -> Vec<Place<'a>> {
    let own = || Physical { host: reference.host().to_owned(), path: reference.path().to_owned() };
    let Some(rule) = rule else {
        return vec![Place { physical: own(), insecure: None, mirror: false, access }];
    };
    if *access == Access::Push {
        return vec![Place { physical: own(), insecure: rule.insecure, mirror: false, access }];
    }
    let mirrors = rule.mirrors.iter().filter(|mirror| mirror.use_for.covers(reference)).map(|mirror| Place {
        physical: rule.mirrored(mirror, reference),
        insecure: mirror.insecure,
        mirror: true,
        access,
    });
    let itself = Place { physical: rule.physical(reference), insecure: rule.insecure, mirror: false, access };
    mirrors.chain([itself]).collect()
}

fn serves(endpoint: &Endpoint, access: &Access) -> bool {
    let Offers { tags, content, push } = endpoint.offers;
    match access {
        Access::Pull => tags || content,
        Access::Push => push,
    }
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>> {
    let mut directory = main.as_os_str().to_owned();
    directory.push(".d");
    let mut paths = file::list(Path::new(&directory), MOST)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    Ok(paths)
}

fn open_name(name: &str, registries: &[String], file: &Path) -> Error {
    let file = file.display();
    if registries.is_empty() {
        return Error::invalid(format!(
            "`{name}` names no registry, and `{file}` turns short names off; write it in full, or add it to [aliases]"
        ));
    }
    let choices: Vec<String> = registries.iter().take(5).map(|registry| format!("{registry}/{name}")).collect();
    Error::invalid(format!(
        "`{name}` can be {}: `{file}` searches {} registries; write it in full, or add it to [aliases]",
        choices.join(" or "),
        registries.len()
    ))
}

#[cfg(test)]
mod tests;
