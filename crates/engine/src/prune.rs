//! `container prune`: removes what does not run, and sweeps what killed commands left.

use failure::{Error, Result};
use jiff::Timestamp;
use runtime::ContainerId;

use crate::config::ContainerConfig;
use crate::lifecycle::{RemoveOptions, remove};
use crate::{Home, list, recover, state};

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
    let filters = filters.iter().map(|(name, value)| Filter::parse(name, value)).collect::<Result<Vec<_>>>()?;
    recover::sweep(home);
    let mut pruned = Pruned::default();
    for id in list::ids(home)? {
        let Ok(config) = ContainerConfig::read(home, &id) else { continue };
        let running = state::observe(home, &id).is_ok_and(|(_, observed)| observed.is_running());
        if running || !filters.iter().all(|filter| filter.matches(&config)) {
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

    fn matches(&self, config: &ContainerConfig) -> bool {
        match self {
            Self::Until(time) => config.created < *time,
            Self::Label { key, value, wanted } => {
                let found = config.labels.get(key);
                let holds = found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found));
                holds == *wanted
            }
        }
    }
}

/// A moment, or how long ago: `24h`, `2026-01-01T00:00:00Z`.
fn until(text: &str) -> Result<Timestamp> {
    monitor::log::parse_time(text, Timestamp::now())
        .map_err(|_| Error::invalid(format!("`until={text}` is neither a time nor a duration such as `24h`")))
}
