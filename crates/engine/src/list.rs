//! `ps`: every container in a line, without a lock: two small files each, and one question to the kernel for each that
//! should run.

mod filter;

use std::collections::HashMap;
use std::str::FromStr as _;

use failure::Result;
use jiff::Timestamp;
use monitor::state::{Observed, State};
use runtime::ContainerId;

use crate::config::{ConfigBase, ContainerConfig, chain_ids};
use crate::request::{MountSource, NetworkMode};
use crate::{Home, recover, state};

use filter::Filters;

/// Which containers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Also those that do not run (implied by a status filter and by `last`).
    pub all: bool,
    /// Only this many, the newest.
    pub last: Option<usize>,
    /// Measure the writable layers.
    pub size: bool,
    /// Docker's filters: `("label", "a=b")`; of one name any must hold (of labels all), of different names all.
    pub filters: Vec<(String, String)>,
}

/// How a container is, in Docker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Never started.
    Created,
    /// Its first process runs.
    Running,
    /// Frozen.
    Paused,
    /// It is about to run again.
    Restarting,
    /// It ended.
    Exited,
    /// Its removal is going on.
    Removing,
    /// Its removal was cut off.
    Dead,
}

impl Status {
    /// The word that Docker uses, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }

    fn of(observed: Observed) -> Self {
        use monitor::state::Status as Recorded;
        match observed.status() {
            Recorded::Created => Self::Created,
            Recorded::Running => Self::Running,
            Recorded::Paused => Self::Paused,
            Recorded::Restarting => Self::Restarting,
            Recorded::Exited => Self::Exited,
            Recorded::Removing => Self::Removing,
            Recorded::Dead => Self::Dead,
        }
    }
}

/// A line of `ps`.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The image's id, if it came from one.
    pub image_id: Option<String>,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// How it is.
    pub status: Status,
    /// When its command started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// How it ended last; none: it has not, or nobody saw it.
    pub exit_code: Option<i32>,
    /// The pid of its first process on the host, while it runs.
    pub pid: Option<i32>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Names of volumes and paths of binds.
    pub mounts: Vec<String>,
    /// Names of its networks.
    pub networks: Vec<String>,
    /// Ports it says it listens on, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Bytes written, and bytes with the image, if asked for.
    pub size: Option<(u64, u64)>,
    /// Something to know beside the status, such as a monitor that was killed.
    pub note: Option<String>,
}

/// Lists containers, the newest first.
///
/// # Errors
/// A filter that does not exist.
pub fn list(home: &Home, options: &ListOptions) -> Result<Vec<Summary>> {
    let filters = Filters::parse(home, &options.filters)?;
    let all = options.all || options.last.is_some() || filters.want_every_status();
    let mut found: Vec<(ContainerConfig, Summary)> = Vec::new();
    for id in ids(home)? {
        // What goes away while we look is not there; what is damaged is shown by `inspect` and removed by `rm -f`.
        let Ok((state, observed)) = state::observe(home, &id) else { continue };
        if !all && !observed.is_running() {
            continue;
        }
        let Ok(config) = ContainerConfig::read(home, &id) else { continue };
        let summary = summary(&config, &state, observed);
        if filters.match_all(&config, &summary) {
            found.push((config, summary));
        }
    }
    found.sort_by(|(_, one), (_, other)| other.created.cmp(&one.created).then_with(|| one.id.cmp(&other.id)));
    found.truncate(options.last.unwrap_or(usize::MAX));
    if options.size {
        let mut measured = HashMap::new();
        for (config, summary) in &mut found {
            summary.size = sizes_cached(home, config, &mut measured).ok();
        }
    }
    Ok(found.into_iter().map(|(_, summary)| summary).collect())
}

/// The ids of all containers, in no order.
pub(crate) fn ids(home: &Home) -> Result<Vec<ContainerId>> {
    let names = recover::entries(&home.containers()).into_iter();
    Ok(names.filter_map(|name| ContainerId::from_str(name.to_str()?).ok()).collect())
}

/// Bytes that a container wrote, and bytes with its image.
pub(crate) fn sizes(home: &Home, config: &ContainerConfig) -> Result<(u64, u64)> {
    sizes_cached(home, config, &mut HashMap::new())
}

/// As [`sizes`], measuring each base once.
fn sizes_cached(home: &Home, config: &ContainerConfig, measured: &mut HashMap<String, u64>) -> Result<(u64, u64)> {
    let written = store::writable::size(&home.container(&config.id).join("layer"))?;
    let key = config.image.id.clone().unwrap_or_else(|| config.image.reference.clone());
    let below = match measured.get(&key) {
        Some(known) => *known,
        None => *measured.entry(key).or_insert(base_size(home, config)?),
    };
    Ok((written, written + below))
}

fn base_size(home: &Home, config: &ContainerConfig) -> Result<u64> {
    // Directories of the host are not ours to walk: their size says nothing about the container.
    let ConfigBase::Layers(layers) = &config.image.base else { return Ok(0) };
    let store = home.store()?;
    chain_ids(layers)?.iter().map(|layer| store.layer_size(layer)).sum()
}

fn summary(config: &ContainerConfig, state: &State, observed: Observed) -> Summary {
    let status = Status::of(observed);
    let seen = observed != Observed::EndedUnseen;
    Summary {
        id: config.id.clone(),
        name: config.name.clone(),
        image: config.image.reference.clone(),
        image_id: config.image.id.clone(),
        command: config.process.arguments(),
        created: config.created,
        status,
        started: state.started_at,
        finished: state.finished_at.filter(|_| seen),
        exit_code: (status == Status::Exited && seen).then_some(state.exit_code),
        pid: state.identity.filter(|_| observed.is_running()).map(|identity| identity.pid),
        labels: config.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        mounts: config.mounts.iter().filter_map(mount_name).collect(),
        networks: vec![network_name(&config.namespaces.network)],
        exposed_ports: config.exposed_ports.clone(),
        size: None,
        note: note(observed),
    }
}

fn note(observed: Observed) -> Option<String> {
    match observed {
        Observed::Recorded(_) => None,
        Observed::Unmonitored => Some("its monitor was killed".to_owned()),
        Observed::EndedUnseen => Some("its monitor was killed: how it ended is not known".to_owned()),
    }
}

fn mount_name(entry: &crate::config::ConfigMount) -> Option<String> {
    match (&entry.mount.source, &entry.volume) {
        (MountSource::Bind { path, .. }, _) => Some(path.display().to_string()),
        (_, volume) => volume.clone(),
    }
}

/// What Docker calls a network mode. The private namespace is `none`: it has no network but its own.
pub(crate) fn network_name(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Private | NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(id) => format!("container:{id}"),
    }
}
