//! The use-cases: create, start, exec, load, commit, prune. Plain functions over a [`Home`].
//!
//! ```text
//! Request --create--> ContainerConfig (config.json) --specification--> oci Spec --runtime--> Plan
//!                                                        start: fork the monitor, which launches the Plan
//! ```
//! The engine prints nothing, reads no environment and parses no flags.

pub mod changes;
pub mod copy;
pub mod create;
pub mod exec;
pub mod find;
mod home;
pub mod info;
pub mod inspect;
pub mod lifecycle;
pub mod list;
pub mod logs;
pub mod processes;
pub mod prune;
pub mod request;
pub mod start;
pub mod statistics;

pub use changes::{Change, ChangeKind, CommitRequest, commit, diff, export};
pub use copy::{PathStat, copy_in, copy_out, stat_path};
pub use create::{Created, create, dry_run};
pub use exec::{ExecRequest, ExecStreams, Execution, exec};
pub use find::{find, name_of};
pub use home::Home;
pub use info::{info, version};
pub use inspect::inspect;
pub use lifecycle::{
    RemoveOptions, StopOptions, WaitFor, attach, kill, pause, remove, rename, restart, stop, unpause, wait,
};
pub use list::{ListOptions, Status, Summary, list};
pub use monitor::client;
pub use logs::LogRequest;
pub use processes::{Table, top};
pub use prune::{Pruned, prune};
pub use request::Request;
pub use runtime::ContainerId;
pub use start::{Attach, Started, run, start};
pub use statistics::{Sample, statistics};
