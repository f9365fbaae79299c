//! A container that was created: found by its id, with what is known of it and how it fares.
//!
//! ```text
//!   status      what is seen
//!   creating    no record yet, and somebody holds the lock
//!   created     its process waits: it has not executed its program, and the socket for the start has its name
//!   running     its process lives
//!   paused      it lives, and its control group is frozen
//!   stopped     its process has ended, or its creation was cut off
//! ```
//! No status is kept on disk: a process that was killed could not have changed it.

use failure::{Error, Result};
use runtime::cgroup::Cgroup;
use runtime::{ContainerId, hooks};
use rustix::fs::FlockOperation;

use crate::directory::{Directory, Root, container_id};
use crate::global::Global;
use crate::record::Record;

/// How a container fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// The specification's word, and runc's for a paused one.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container by its id.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) root: Root,
    pub(crate) directory: Directory,
    record: Option<Record>,
    /// Whether the lock is ours.
    locked: bool,
}

/// In the words that callers look for.
pub(crate) fn does_not_exist(id: &ContainerId) -> Error {
    Error::not_found(format!("container \"{id}\" does not exist"))
}

impl Container {
    /// Finds it.
    pub(crate) fn find(global: &Global, id: &str) -> Result<Self> {
        let id = container_id(id)?;
        let root = Root::open(&global.root)?.ok_or_else(|| does_not_exist(&id))?;
        let directory = root.directory(&id)?.ok_or_else(|| does_not_exist(&id))?;
        let record = directory.read_record()?;
        Ok(Self { root, directory, record, locked: false })
    }

    /// Finds it and waits for its lock, so that nobody else creates, starts or deletes it meanwhile.
    pub(crate) fn find_and_lock(global: &Global, id: &str) -> Result<Self> {
        let id = container_id(id)?;
        let root = Root::open(&global.root)?.ok_or_else(|| does_not_exist(&id))?;
        let directory = root.directory(&id)?.ok_or_else(|| does_not_exist(&id))?;
        let container = Self { root, directory, record: None, locked: false };
        container.lock_again()?.ok_or_else(|| does_not_exist(&id))
    }

    /// Waits for the lock, and reads what is known by then; none if it was deleted meanwhile.
    pub(crate) fn lock_again(self) -> Result<Option<Self>> {
        let Self { root, directory, .. } = self;
        directory.lock(FlockOperation::LockExclusive)?;
        let record = directory.read_record()?;
        // What is locked may have no name any more.
        if record.is_none() && directory.is_gone() {
            return Ok(None);
        }
        Ok(Some(Self { root, directory, record, locked: true }))
    }

    /// One that this process has just made, and has locked.
    pub(crate) fn made(root: Root, directory: Directory, record: Record) -> Self {
        Self { root, directory, record: Some(record), locked: true }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.directory.id
    }

    /// What is known of it; none while it is created, or if that was cut off.
    pub(crate) fn record_if_any(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// What is known of it, for what only a created one can do.
    pub(crate) fn record(&self) -> Result<&Record> {
        self.record.as_ref().ok_or_else(|| Error::conflict(format!("container `{}` is not created yet", self.id())))
    }

    /// How it fares.
    pub(crate) fn status(&self) -> Status {
        match &self.record {
            None if !self.locked && self.directory.is_locked() => Status::Creating,
            None => Status::Stopped,
            Some(record) if !record.process.is_alive() => Status::Stopped,
            Some(record) if self.directory.waits() && !record.process.has_executed() => Status::Created,
            Some(record) if is_frozen(record) => Status::Paused,
            Some(_) => Status::Running,
        }
    }

    /// Its control group.
    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        Cgroup::open(&self.record()?.cgroup)
    }

    /// What its hooks are told.
    pub(crate) fn hook_state(&self, status: &'static str, pid: i32) -> Result<hooks::State> {
        let record = self.record()?;
        Ok(hooks::State {
            oci_version: record.oci_version.clone(),
            id: self.id().to_string(),
            status,
            pid,
            bundle: record.bundle.clone().into(),
            annotations: record.annotations.clone().into_iter().collect(),
        })
    }
}

fn is_frozen(record: &Record) -> bool {
    Cgroup::open(&record.cgroup).and_then(|group| group.is_frozen()).unwrap_or(false)
}
