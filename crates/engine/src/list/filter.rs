//! Docker's filters of `ps`. Values of one name are alternatives, except labels; different names must all hold.

use failure::{Error, Result};
use jiff::Timestamp;

use super::{Status, Summary};
use crate::config::ContainerConfig;
use crate::{Home, find};

const KNOWN: &str =
    "ancestor, before, exited, expose, health, id, is-task, label, name, network, publish, since, status, volume";

/// A parsed set of filters.
pub(super) struct Filters {
    groups: Vec<(String, Vec<Filter>)>,
}

enum Filter {
    Ancestor { name: String, id: String },
    Before(Timestamp),
    Since(Timestamp),
    Exited(i32),
    Port(String),
    Health(String),
    Id(String),
    Label(String, Option<String>),
    Name(String),
    Network(String),
    Status(String),
    Volume(String),
    Never,
    Always,
}

impl Filters {
    pub(super) fn parse(home: &Home, given: &[(String, String)]) -> Result<Self> {
        let mut groups: Vec<(String, Vec<Filter>)> = Vec::new();
        for (name, value) in given {
            let filter = Filter::parse(home, name, value)?;
            match groups.iter_mut().find(|(known, _)| known == name) {
                Some((_, filters)) => filters.push(filter),
                None => groups.push((name.clone(), vec![filter])),
            }
        }
        Ok(Self { groups })
    }

    /// Whether containers that do not run are wanted although nobody said `--all`.
    pub(super) fn want_every_status(&self) -> bool {
        self.groups.iter().any(|(name, _)| name == "status" || name == "exited")
    }

    pub(super) fn match_all(&self, config: &ContainerConfig, summary: &Summary) -> bool {
        self.groups.iter().all(|(name, filters)| {
            let mut held = filters.iter().map(|filter| filter.holds(config, summary));
            if name == "label" { held.all(|holds| holds) } else { held.any(|holds| holds) }
        })
    }
}

impl Filter {
    fn parse(home: &Home, name: &str, value: &str) -> Result<Self> {
        let text = value.to_owned();
        Ok(match name {
            "ancestor" => ancestor(home, value),
            "before" => Self::Before(created(home, value)?),
            "since" => Self::Since(created(home, value)?),
            "exited" => Self::Exited(value.parse().map_err(|_| wrong(name, value, "an exit code"))?),
            "expose" | "publish" => Self::Port(port(value)),
            "health" => match value {
                "none" | "starting" | "healthy" | "unhealthy" => Self::Health(text),
                _ => return Err(wrong(name, value, "starting, healthy, unhealthy or none")),
            },
            "id" => Self::Id(text),
            "isolation" => Self::Always,
            "is-task" => {
                if matches!(value, "true" | "1") {
                    Self::Never
                } else {
                    Self::Always
                }
            }
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(text, None),
            },
            "name" => Self::Name(value.trim_start_matches('/').to_owned()),
            "network" => Self::Network(text),
            "status" => match value {
                "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead" => Self::Status(text),
                _ => {
                    return Err(wrong(name, value, "created, running, paused, restarting, removing, exited or dead"));
                }
            },
            "volume" => Self::Volume(text),
            _ => return Err(Error::invalid(format!("no filter is called `{name}`; use one of {KNOWN}"))),
        })
    }

    fn holds(&self, config: &ContainerConfig, summary: &Summary) -> bool {
        match self {
            Self::Ancestor { name, id } => {
                let same_id = !id.is_empty() && config.image.id.as_deref() == Some(id);
                same_id || summary.image == *name
            }
            Self::Before(time) => summary.created < *time,
            Self::Since(time) => summary.created > *time,
            Self::Exited(code) => summary.status == Status::Exited && summary.exit_code == Some(*code),
            Self::Port(wanted) => config.exposed_ports.iter().any(|known| port(known) == *wanted),
            Self::Health(state) => state == "none",
            Self::Id(prefix) => summary.id.as_ref().starts_with(prefix.as_str()),
            Self::Label(key, value) => {
                config.labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
            Self::Name(part) => matches_name(&summary.name, part),
            Self::Network(name) => summary.networks.iter().any(|known| known == name),
            Self::Status(word) => summary.status.as_str() == word,
            Self::Volume(text) => {
                let at = |entry: &crate::config::ConfigMount| entry.mount.target == *text;
                summary.mounts.iter().any(|known| known == text) || config.mounts.iter().any(at)
            }
            Self::Never => false,
            Self::Always => true,
        }
    }
}

/// An image by whatever it is called: what is no image (any more) is compared as text.
fn ancestor(home: &Home, text: &str) -> Filter {
    let id = home.store().and_then(|store| store.resolve(text)).map(|image| image.id.to_string());
    Filter::Ancestor { name: text.to_owned(), id: id.unwrap_or_default() }
}

fn created(home: &Home, text: &str) -> Result<Timestamp> {
    Ok(ContainerConfig::read(home, &find(home, text)?)?.created)
}

/// A part of the name; with `^` and `$` its beginning and its end.
fn matches_name(name: &str, part: &str) -> bool {
    let part = part.strip_prefix("^/").map_or_else(|| part.to_owned(), |rest| format!("^{rest}"));
    match (part.strip_prefix('^'), part.strip_suffix('$')) {
        (Some(_), Some(_)) => part.get(1..part.len() - 1) == Some(name),
        (Some(beginning), None) => name.starts_with(beginning),
        (None, Some(end)) => name.ends_with(end),
        (None, None) => name.contains(part.as_str()),
    }
}

fn port(text: &str) -> String {
    if text.contains('/') { text.to_owned() } else { format!("{text}/tcp") }
}

fn wrong(name: &str, value: &str, expected: &str) -> Error {
    Error::invalid(format!("the filter `{name}={value}` is wrong; give {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_part_or_whole() {
        for (name, part, expected) in [
            ("web-1", "web", true),
            ("my-web", "^web", false),
            ("web-1", "^/web", true),
            ("my-web", "web$", true),
            ("web", "^web$", true),
            ("web1", "^web$", false),
        ] {
            assert_eq!(matches_name(name, part), expected, "{name} {part}");
        }
    }

    #[test]
    fn ports_are_tcp_unless_said() {
        assert_eq!(port("80"), "80/tcp");
        assert_eq!(port("53/udp"), "53/udp");
    }
}
