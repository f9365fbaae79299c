//! Directories of certificates, one for each host:
//!
//! ```text
//! <root>/<host[:port]>/   hosts.toml    containerd's roots only; `host_port_` and `_default` are tried there as well
//!                         *.crt         authorities that count for this host, beside the system's
//!                         NAME.cert     a certificate to come with
//!                         NAME.key      and its key
//! ```
//! containerd reads the certificates only where there is no `hosts.toml`; Docker and podman read nothing else.

use std::path::{Path, PathBuf};

use failure::{Error, Result};

use super::file;
use super::host;
use super::hosts_toml::Hosts;
use crate::endpoint::Tls;

/// The longest `hosts.toml`.
const LONGEST: u64 = 1 << 20;
/// More files than belong into such a directory.
const MOST: usize = 1000;

/// What the first of `roots` that knows the host says: its `hosts.toml`, or its certificates.
///
/// # Errors
/// A file that cannot be read, or is wrong.
pub(crate) fn hosts(roots: &[PathBuf], host: &str) -> Result<Option<Hosts>> {
    for root in roots {
        let Some(directory) = directories(root, host).into_iter().find(|directory| directory.is_dir()) else {
            continue;
        };
        let path = directory.join("hosts.toml");
        if let Some(text) = file::read(&path, LONGEST)? {
            return Hosts::parse(&path, &text).map(Some);
        }
        let tls = certificates(&directory)?;
        if tls != Tls::default() {
            let mut hosts = Hosts::default();
            hosts.own.tls = tls;
            return Ok(Some(hosts));
        }
    }
    Ok(None)
}

/// Adds the certificates that `roots` have for a host, as Docker lays them.
///
/// # Errors
/// A directory that cannot be read, a certificate without its key.
pub(crate) fn add(tls: &mut Tls, roots: &[PathBuf], host: &str) -> Result<()> {
    for root in roots {
        let found = certificates(&root.join(host))?;
        tls.authorities.extend(found.authorities);
        tls.identity = tls.identity.take().or(found.identity);
    }
    Ok(())
}

/// Where containerd looks, in this order.
fn directories(root: &Path, host: &str) -> Vec<PathBuf> {
    let with_port = match host::split(host) {
        (name, Some(port)) => Some(root.join(format!("{name}_{port}_"))),
        (_, None) => None,
    };
    with_port.into_iter().chain([root.join(host), root.join("_default")]).collect()
}

fn certificates(directory: &Path) -> Result<Tls> {
    of_files(file::list(directory, MOST)?)
}

/// What the files of one directory are for, by their names; sorted.
fn of_files(files: Vec<PathBuf>) -> Result<Tls> {
    let mut tls = Tls::default();
    let partner = |path: &Path, extension: &str| {
        let partner = path.with_extension(extension);
        files.contains(&partner).then_some(partner)
    };
    for path in &files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(path.clone()),
            Some("cert") => {
                let key = partner(path, "key").ok_or_else(|| lonely("key", "certificate", path))?;
                tls.identity.get_or_insert((path.clone(), key));
            }
            Some("key") if partner(path, "cert").is_none() => return Err(lonely("certificate", "key", path)),
            _ => {}
        }
    }
    Ok(tls)
}

fn lonely(missing: &str, present: &str, path: &Path) -> Error {
    let extension = if missing == "key" { "key" } else { "cert" };
    let wanted = path.with_extension(extension);
    Error::invalid(format!("{present} `{}` has no {missing}; put it at `{}`", path.display(), wanted.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(names: &[&str]) -> Result<Tls> {
        of_files(names.iter().map(|name| Path::new("/d").join(name)).collect())
    }

    #[test]
    fn files_are_known_by_their_extensions() {
        let found = tls(&["a.cert", "a.key", "b.cert", "b.key", "ca.crt", "notes.txt", "other.crt"]).unwrap();
        assert_eq!(found.authorities, [PathBuf::from("/d/ca.crt"), PathBuf::from("/d/other.crt")]);
        assert_eq!(found.identity, Some(("/d/a.cert".into(), "/d/a.key".into())));
        assert_eq!(tls(&[]).unwrap(), Tls::default());
        let error = tls(&["client.cert"]).unwrap_err().to_string();
        assert_eq!(error, "certificate `/d/client.cert` has no key; put it at `/d/client.key`");
        let error = tls(&["client.key"]).unwrap_err().to_string();
        assert_eq!(error, "key `/d/client.key` has no certificate; put it at `/d/client.cert`");
    }

    #[test]
    fn containerd_knows_three_directories() {
        let names = |host| {
            let names = directories(Path::new("/r"), host);
            names.into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("docker.io"), ["/r/docker.io", "/r/_default"]);
        assert_eq!(names("[::1]:5000"), ["/r/[::1]_5000_", "/r/[::1]:5000", "/r/_default"]);
    }
}
