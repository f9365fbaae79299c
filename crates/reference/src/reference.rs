//! What people call images: `busybox`, `ghcr.io/team/app:1.2`, `app@sha256:…`.
//!
//! Names are kept in full and shown short, as Docker does:
//!
//! ```text
//! busybox                 <-> docker.io/library/busybox:latest
//! team/app:1              <-> docker.io/team/app:1
//! localhost:5000/app      <-> localhost:5000/app:latest        (a dot, a colon or `localhost` makes it a host)
//! app@sha256:…            <-> docker.io/library/app@sha256:…   (no tag is added when there is a digest)
//! ```

use std::fmt;
use std::str::FromStr;

use failure::{Error, Result};

use crate::Digest;

/// The longest name without tag and digest that registries take.
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;
const DEFAULT_HOST: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

/// A normalised image name: host, path, and a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a name as a person writes it.
    ///
    /// # Errors
    /// It is not a name, or it can only be an image id (64 hex digits).
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            let shown: String = text.chars().take(80).collect();
            Err(Error::invalid(format!("`{}` is not an image name: {reason}", shown.escape_debug())))
        };
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return wrong("64 hex digits are an image id");
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        let (host, path) = split_host(name);
        if host.len() + 1 + path.len() > LONGEST_NAME {
            return wrong("it is longer than 255 characters");
        }
        if !valid_host(&host) {
            return wrong("the registry's host is not valid");
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return wrong("it must be lower case");
        }
        if !path.split('/').all(valid_component) {
            return wrong("write [HOST[:PORT]/]NAME[:TAG][@DIGEST]");
        }
        if tag.is_some_and(|tag| !valid_tag(tag)) {
            return wrong("a tag has letters, digits, `_`, `.`, `-`, and at most 128 of them");
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { host, path, tag, digest })
    }

    /// The registry's host, with its port: `docker.io`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository at that host: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; a name without a digest always has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that pins the image.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The name in full, as the store keeps it: `docker.io/library/busybox:latest`.
    pub fn full(&self) -> String {
        self.with_suffix(format!("{}/{}", self.host, self.path))
    }

    /// The repository as people know it: `busybox`, `ghcr.io/team/app`.
    pub fn familiar_repository(&self) -> String {
        if self.host != DEFAULT_HOST {
            return format!("{}/{}", self.host, self.path);
        }
        self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned()
    }

    /// The same repository pinned to `digest`, without a tag.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same name without its digest (and the tag `latest` when it had none).
    #[must_use]
    pub fn without_digest(&self) -> Self {
        let tag = self.tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned());
        Self { tag: Some(tag), digest: None, ..self.clone() }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

impl fmt::Display for Reference {
    /// The familiar form: `busybox:latest`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.with_suffix(self.familiar_repository()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// The tag is what follows the last colon, unless that colon belongs to the host's port.
fn split_tag(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    }
}

fn split_host(name: &str) -> (String, String) {
    if let Some((first, path)) = name.split_once('/')
        && (first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()))
    {
        let host = if first == "index.docker.io" { DEFAULT_HOST } else { first };
        let official = host == DEFAULT_HOST && !path.contains('/');
        return (host.to_owned(), if official { format!("library/{path}") } else { path.to_owned() });
    }
    let path = if name.contains('/') { name.to_owned() } else { format!("library/{name}") };
    (DEFAULT_HOST.to_owned(), path)
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()));
    let label_is_good = |label: &str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name_is_good = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(label_is_good),
    };
    port_is_good && name_is_good
}

/// Lower-case letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn valid_component(component: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    plain(*first)
        && plain(*last)
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

fn valid_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    bytes.len() <= LONGEST_TAG
        && bytes.first().is_some_and(word)
        && bytes.iter().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, full: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap();
        assert_eq!((reference.full().as_str(), reference.to_string().as_str()), (full, familiar));
        assert_eq!(Reference::parse(full).unwrap(), reference);
        assert_eq!(Reference::parse(familiar).unwrap(), reference);
    }

    #[test]
    fn short_names_are_completed_as_docker_does() {
        check("busybox", "docker.io/library/busybox:latest", "busybox:latest");
        check("team/app:1", "docker.io/team/app:1", "team/app:1");
        check("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest");
        check("index.docker.io/a", "docker.io/library/a:latest", "a:latest");
        check("ghcr.io/Team/app".to_lowercase().as_str(), "ghcr.io/team/app:latest", "ghcr.io/team/app:latest");
        check("[::1]:5000/a-b/c__d:V1.0", "[::1]:5000/a-b/c__d:V1.0", "[::1]:5000/a-b/c__d:V1.0");
        let digest = Digest::of(b"x").to_string();
        check(&format!("app@{digest}"), &format!("docker.io/library/app@{digest}"), &format!("app@{digest}"));
        check(&format!("app:1@{digest}"), &format!("docker.io/library/app:1@{digest}"), &format!("app:1@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let id = "a".repeat(64);
        let long = format!("{}/x", "a".repeat(260));
        for wrong in [
            "",
            "Busybox",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:b:c",
            "-a",
            "a..b",
            "a___b",
            "../../etc",
            "a:.x",
            "a@sha256:1",
            "a b",
            "a\n",
            &id,
            &long,
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }
}
