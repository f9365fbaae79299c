//! The use-cases: create, start, exec, load, commit, prune. Plain functions over a [`Home`].
//!
//! ```text
//! Request --create--> ContainerConfig (config.json) --specification--> oci Spec --runtime--> Plan
//!                                                        start: fork the monitor, which launches the Plan
//! ```
//! The engine prints nothing, reads no environment and parses no flags. It holds no state between two calls: disk and
//! kernel are the truth, see [`recover`] for how they stay consistent whoever is killed when.

pub mod changes;
pub mod check;
pub mod config;
pub mod copy;
pub mod create;
mod etc_files;
pub mod exec;
mod files;
pub mod find;
mod frozen;
mod home;
pub mod ids;
pub mod image_mounts;
pub mod images;
pub mod info;
pub mod inspect;
pub mod lifecycle;
pub mod list;
pub mod login;
pub mod logs;
pub mod manifest;
pub mod names;
pub mod processes;
pub mod prune;
pub mod pull;
pub mod push;
pub mod recover;
pub mod registries;
pub mod request;
pub mod settings;
pub mod signals;
mod source;
pub mod specification;
pub mod start;
mod state;
pub mod statistics;
mod supervise;
pub mod upkeep;
pub mod usage;
pub mod volumes;

pub use changes::{Change, ChangeKind, CommitRequest, commit, diff, export};
pub use copy::{copy_from_host, copy_in, copy_out, copy_to_host, stat_path};
pub use create::{Created, create, dry_run};
pub use exec::{ExecRequest, ExecStreams, Execution, exec};
pub use find::{find, name_of};
pub use home::Home;
pub use info::{info, version};
pub use inspect::inspect;
pub use lifecycle::{
    RemoveOptions, StopOptions, WaitFor, attach, kill, kill_ahead, pause, remove, rename, restart, stop, unpause, wait,
};
pub use list::{ListOptions, Status, Summary, list};
pub use logs::{LogRequest, logs};
pub use monitor::{client, keys, stdio};
pub use processes::{Table, top};
pub use prune::{Pruned, prune, prune_volumes};
pub use recover::tidy_up;
pub use request::Request;
pub use runtime::ContainerId;
pub use start::{Attach, Started, run, start};
pub use statistics::{Sample, statistics};
