//! `container prune` and its filters: removes what does not run, and sweeps what killed commands left.

use failure::{Error, Result};
use jiff::Timestamp;
use runtime::ContainerId;

use crate::config::ContainerConfig;
use crate::lifecycle::{RemoveOptions, remove};
use crate::{Home, list, recover, state, volumes};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The containers.
    pub containers: Vec<ContainerId>,
    /// Bytes of disk.
    pub reclaimed: u64,
}

/// Removes all containers that do not run. Filters: `until`, `label`, `label!`.
///
/// # Errors
/// A filter that does not exist.
pub fn prune(home: &Home, filters: &[(String, String)]) -> Result<Pruned> {
    let filters = Filters::parse(filters)?;
    recover::sweep(home);
    let mut pruned = Pruned::default();
    for id in list::ids(home)? {
        let Ok(config) = ContainerConfig::read(home, &id) else { continue };
        let running = state::observe(home, &id).is_ok_and(|(_, observed)| observed.is_running());
        let labels = |key: &str| config.labels.get(key).map(String::as_str);
        if running || !filters.match_all(config.created, labels) {
            continue;
        }
        let written = store::writable::size(&home.container(&id).join("layer")).unwrap_or(0);
        // One that is started or removed just now is not ours.
        if remove(home, &id, RemoveOptions::default()).is_ok() {
            pruned.containers.push(id);
            pruned.reclaimed += written;
        }
    }
    // What it says was freed is free.
    recover::empty_trash(home);
    Ok(pruned)
}

/// `volume prune` as far as `system prune --volumes` has it: removes volumes without a name of their own that no container
/// has; their names, and the bytes that went.
///
/// # Errors
/// Containers that cannot be read: nobody knows which volumes are theirs then.
pub fn prune_volumes(home: &Home) -> Result<(Vec<String>, u64)> {
    let unused = volumes::unused_anonymous(home)?;
    let bytes = unused.iter().map(|name| store::writable::size_of_tree(&home.volumes().join(name)).unwrap_or(0)).sum();
    unused.iter().for_each(|name| volumes::remove(home, name));
    recover::empty_trash(home);
    Ok((unused, bytes))
}

/// Filters that must all hold.
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    pub(crate) fn parse(given: &[(String, String)]) -> Result<Self> {
        given.iter().map(|(name, value)| Filter::parse(name, value)).collect::<Result<_>>().map(Self)
    }

    /// Whether something that was made then and has these labels is meant.
    pub(crate) fn match_all<'a>(&self, created: Timestamp, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|filter| filter.matches(created, &label))
    }
}

enum Filter {
    Until(Timestamp),
    Label { key: String, value: Option<String>, wanted: bool },
}

impl Filter {
    fn parse(name: &str, value: &str) -> Result<Self> {
        let label = |wanted| {
            let (key, value) = match value.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (value, None),
            };
            Self::Label { key: key.to_owned(), value, wanted }
        };
        match name {
            "until" => until(value).map(Self::Until),
            "label" => Ok(label(true)),
            "label!" => Ok(label(false)),
            _ => Err(Error::invalid(format!("no filter is called `{name}`; use `until`, `label` or `label!`"))),
        }
    }

    fn matches<'a>(&self, created: Timestamp, label: &impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Until(time) => created < *time,
            Self::Label { key, value, wanted } => {
                let found = label(key);
                let holds = found.is_some_and(|found| value.as_deref().is_none_or(|value| value == found));
                holds == *wanted
            }
        }
    }
}

/// A moment, or how long ago: `24h`, `2026-01-01T00:00:00Z`.
///
/// # Errors
/// Neither.
pub fn until(text: &str) -> Result<Timestamp> {
    monitor::log::parse_time(text, Timestamp::now())
        .map_err(|_| Error::invalid(format!("`until={text}` is neither a time nor a duration such as `24h`")))
}
