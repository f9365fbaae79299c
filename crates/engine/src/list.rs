//! `ps`: every container in a line, without a lock: two small files each.

use failure::Result;
use jiff::Timestamp;
use runtime::ContainerId;

use crate::Home;

/// Which containers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Also those that do not run (implied by a status filter and by `last`).
    pub all: bool,
    /// Only this many, the newest.
    pub last: Option<usize>,
    /// Measure the writable layers.
    pub size: bool,
    /// Docker's filters: `("label", "a=b")`; of one name any must hold, of different names all.
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
    /// It ended.
    Exited,
    /// Its removal is going on or was cut off.
    Removing,
    /// Its monitor was killed: how it ended is not known.
    Dead,
}

impl Status {
    /// The word that Docker uses, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
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
    /// How it ended last.
    pub exit_code: Option<i32>,
    /// The pid of its first process on the host, while it runs.
    pub pid: Option<i32>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Names of volumes and paths of binds.
    pub mounts: Vec<String>,
    /// Names of its networks.
    pub networks: Vec<String>,
    /// Bytes written, and bytes with the image, if asked for.
    pub size: Option<(u64, u64)>,
    /// It reads stdin and has nobody who can give it any: a word to show beside the status, such as a lost monitor.
    pub note: Option<String>,
}

/// Lists containers, the newest first.
///
/// # Errors
/// A filter that does not exist.
pub fn list(home: &Home, options: &ListOptions) -> Result<Vec<Summary>> {
    let _ = (home, options);
    unimplemented!()
}
