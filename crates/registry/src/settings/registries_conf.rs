//! `registries.conf`, version 2 (containers-registries.conf(5)): what podman, skopeo, buildah and cri-o read.
//!
//! ```toml
//! unqualified-search-registries = ["docker.io"]      # what a name without a registry means
//! [aliases]
//! "fedora" = "registry.fedoraproject.org/fedora"     # and what this one means
//! [[registry]]
//! prefix = "*.example.com"                           # or host[:port][/namespace[/repository[:tag]]]; the longest wins
//! location = "inside.example.net/mirrored"           # takes the place of what the prefix covers
//! insecure = true                                    # any certificate, or no TLS
//! blocked = false
//! mirror-by-digest-only = false
//! [[registry.mirror]]                                # asked first, in this order, for pulls only
//! location = "mirror.local:5000"
//! insecure = true
//! pull-from-mirror = "digest-only"                   # all, digest-only, tag-only
//! ```
//! Drop-ins (`registries.conf.d/*.conf`) are read after it in the order of their names: a registry of theirs replaces the
//! one with the same prefix, an alias the one of the same name (an empty one deletes it), a search list the whole list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use failure::{Error, Result};
use reference::Reference;
use serde::Deserialize;
use toml::Spanned;

use super::host;
use super::place::Source;

/// More of anything than a person configures.
const MOST: usize = 10_000;

/// All files together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// By prefix.
    pub(crate) registries: Vec<Rule>,
    /// Short names and what they mean, with the file that says so.
    pub(crate) aliases: BTreeMap<String, (Reference, PathBuf)>,
    /// What names without a registry are looked for in, with the file that says so.
    pub(crate) search: Option<(Vec<String>, PathBuf)>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    prefix: String,
    location: Location,
    /// None: it is not said.
    pub(crate) insecure: Option<bool>,
    pub(crate) blocked: bool,
    pub(crate) mirrors: Vec<Mirror>,
    /// The file that says so.
    pub(crate) file: PathBuf,
}

/// One `[[registry.mirror]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    location: Location,
    pub(crate) insecure: Option<bool>,
    pub(crate) use_for: UseFor,
}

/// Which references a mirror is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UseFor {
    All,
    DigestOnly,
    TagOnly,
}

/// A host and the beginning of a path there; an empty host: unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Location {
    host: String,
    path: String,
}

/// A place a reference was rewritten to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Physical {
    pub(crate) host: String,
    pub(crate) path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    unqualified_search_registries: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    registry: Vec<Spanned<RegistryTable>>,
    #[serde(default)]
    aliases: BTreeMap<Spanned<String>, String>,
    /// Version 1 of the format.
    registries: Option<Spanned<toml::Table>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    prefix: Option<Spanned<String>>,
    location: Option<Spanned<String>>,
    insecure: Option<bool>,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: Spanned<String>,
    insecure: Option<bool>,
    pull_from_mirror: Option<Spanned<UseFor>>,
}

impl Rules {
    /// Adds what a file says to what those before it said.
    ///
    /// # Errors
    /// The file is wrong; the error names it and the line.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<()> {
        let source = Source { path, text };
        let document: Document = source.toml()?;
        if let Some(old) = document.registries {
            return Err(source.wrong_at(
                old.span().start,
                "this is version 1 of the format, `[registries.search]`; write `[[registry]]` and \
                 `unqualified-search-registries`",
            ));
        }
        if document.registry.len() + self.registries.len() > MOST || document.aliases.len() + self.aliases.len() > MOST
        {
            return Err(Error::invalid(format!("`{}`: more than {MOST} registries or aliases", path.display())));
        }
        self.add_registries(source, document.registry)?;
        self.add_aliases(source, document.aliases)?;
        if let Some(search) = document.unqualified_search_registries {
            let checked = search.into_iter().map(|host| location(source, &host).map(|_| trimmed(host.get_ref())));
            self.search = Some((checked.collect::<Result<_>>()?, path.to_owned()));
        }
        Ok(())
    }

    fn add_registries(&mut self, source: Source<'_>, tables: Vec<Spanned<RegistryTable>>) -> Result<()> {
        let mut added: Vec<Rule> = Vec::new();
        for table in tables {
            let at = table.span().start;
            let rule = rule(source, at, table.into_inner())?;
            if added.iter().any(|other| other.prefix == rule.prefix) {
                return Err(source.wrong_at(at, format!("a second registry with the prefix `{}`", rule.prefix)));
            }
            added.push(rule);
        }
        self.registries.retain(|old| !added.iter().any(|new| new.prefix == old.prefix));
        self.registries.extend(added);
        Ok(())
    }

    fn add_aliases(&mut self, source: Source<'_>, aliases: BTreeMap<Spanned<String>, String>) -> Result<()> {
        for (name, target) in aliases {
            let at = name.span().start;
            let name = name.into_inner();
            if name.is_empty() || name.contains([':', '@']) {
                return Err(source.wrong_at(at, format!("alias `{name}` must be a name without a tag or digest")));
            }
            if target.is_empty() {
                self.aliases.remove(&name);
                continue;
            }
            let has_host =
                target.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
            let reference = Reference::parse(&target).map_err(|error| source.wrong_at(at, error.message()))?;
            let repository = target.rsplit('/').next().is_some_and(|last| !last.contains([':', '@']));
            if !has_host || !repository {
                return Err(source.wrong_at(
                    at,
                    format!("alias `{name}`: `{target}` must be a repository in full, without a tag or digest"),
                ));
            }
            self.aliases.insert(name, (reference, source.path.to_owned()));
        }
        Ok(())
    }

    /// The registry with the longest prefix of this reference.
    pub(crate) fn of(&self, reference: &Reference) -> Option<&Rule> {
        let matching = self.registries.iter().filter(|rule| covered(&rule.prefix, reference).is_some());
        matching.max_by_key(|rule| rule.prefix.len())
    }
}

impl Rule {
    /// Where the registry itself keeps this reference.
    pub(crate) fn physical(&self, reference: &Reference) -> Physical {
        rewritten(&self.prefix, &self.location, reference)
    }

    /// Where a mirror keeps it.
    pub(crate) fn mirrored(&self, mirror: &Mirror, reference: &Reference) -> Physical {
        rewritten(&self.prefix, &mirror.location, reference)
    }
}

impl UseFor {
    pub(crate) fn covers(self, reference: &Reference) -> bool {
        match self {
            Self::All => true,
            Self::DigestOnly => reference.digest().is_some(),
            Self::TagOnly => reference.digest().is_none(),
        }
    }
}

fn rule(source: Source<'_>, at: usize, table: RegistryTable) -> Result<Rule> {
    let RegistryTable { prefix, location: place, insecure, blocked, mirror_by_digest_only, mirror } = table;
    let target = place.as_ref().map(|place| location(source, place)).transpose()?;
    let (prefix, target) = match (prefix, place, target) {
        (Some(prefix), _, target) => {
            let (text, at) = (trimmed(prefix.get_ref()), prefix.span().start);
            let wild = text.starts_with("*.");
            let own = split(if wild { &text[2..] } else { &text });
            let Some(own) = own.filter(|own| !own.host.is_empty()) else {
                return Err(source.wrong_at(at, format!("prefix `{text}` must be `HOST[:PORT][/PATH]` or `*.DOMAIN`")));
            };
            (text, target.unwrap_or(if wild { Location::default() } else { own }))
        }
        (None, Some(place), Some(target)) => (trimmed(place.get_ref()), target),
        _ => return Err(source.wrong_at(at, "a registry needs a `prefix` or a `location`")),
    };
    let mirrors = mirror.into_iter().map(|table| mirror_of(source, table, mirror_by_digest_only));
    let mirrors = mirrors.collect::<Result<Vec<_>>>()?;
    Ok(Rule { prefix, location: target, insecure, blocked, mirrors, file: source.path.to_owned() })
}

fn mirror_of(source: Source<'_>, table: MirrorTable, by_digest_only: bool) -> Result<Mirror> {
    let use_for = match (by_digest_only, table.pull_from_mirror) {
        (true, Some(own)) => {
            return Err(source.wrong_at(
                own.span().start,
                "`pull-from-mirror` cannot be set where `mirror-by-digest-only` is true; leave one out",
            ));
        }
        (true, None) => UseFor::DigestOnly,
        (false, own) => own.map_or(UseFor::All, Spanned::into_inner),
    };
    Ok(Mirror { location: location(source, &table.location)?, insecure: table.insecure, use_for })
}

fn trimmed(text: &str) -> String {
    text.trim_end_matches('/').to_owned()
}

/// Reads `host[:port][/path]`.
fn location(source: Source<'_>, text: &Spanned<String>) -> Result<Location> {
    let wrong = |reason: &str| {
        let shown: String = text.get_ref().chars().take(80).collect();
        Err(source.wrong_at(text.span().start, format!("`{shown}` {reason}")))
    };
    if text.get_ref().contains("://") {
        return wrong("is a URL; write HOST[:PORT][/PATH], and `insecure = true` where there is no TLS");
    }
    match split(&trimmed(text.get_ref())) {
        Some(location) => Ok(location),
        None => wrong("is not HOST[:PORT][/PATH]"),
    }
}

fn split(text: &str) -> Option<Location> {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) => (host, path),
        None => (text, ""),
    };
    let path_is_good = path.len() <= 255
        && path.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b'/' | b':' | b'@')
        })
        && !path.split('/').any(|part| part == ".." || part == "." || (part.is_empty() && !path.is_empty()));
    (host::is_valid(host) && path_is_good).then(|| Location { host: host.to_owned(), path: path.to_owned() })
}

/// How many bytes of the reference's full name the prefix covers.
///
/// A prefix ends where a part of the name ends. `example.com` does not cover `example.com:5000/app`, which is another
/// registry; `*.example.com` covers `a.example.com` and `a.b.example.com`, but not `example.com`.
fn covered(prefix: &str, reference: &Reference) -> Option<usize> {
    let full = reference.full();
    let host = reference.host().len();
    let (from, literal) = match prefix.strip_prefix('*') {
        Some(suffix) => {
            let domain = suffix.find('/').map_or(suffix.len(), |at| at);
            (host.checked_sub(domain).filter(|from| *from > 0)?, suffix)
        }
        None => (0, prefix),
    };
    let end = from + literal.len();
    let ends_a_part = match full.as_bytes().get(end) {
        None | Some(b'/' | b'@') => true,
        Some(b':') => end > host,
        Some(_) => false,
    };
    (full.get(from..end) == Some(literal) && end >= host && ends_a_part).then_some(end)
}

/// The location takes the place of what the prefix covers of the repository; tag and digest stay what they are.
fn rewritten(prefix: &str, location: &Location, reference: &Reference) -> Physical {
    if location.host.is_empty() {
        return Physical { host: reference.host().to_owned(), path: reference.path().to_owned() };
    }
    let repository = format!("{}/{}", reference.host(), reference.path());
    let rest = covered(prefix, reference).and_then(|end| repository.get(end..)).unwrap_or_default();
    let path = format!("{}{rest}", location.path);
    Physical { host: location.host.clone(), path: path.trim_start_matches('/').to_owned() }
}

#[cfg(test)]
mod tests;
