//! From an OCI specification to a process: plan, launch, exec, identify.
//!
//! ```text
//! Request --Plan::new--> Plan --launch--> Launched --start--> Running
//!                         |  all that can fail for a reason of the request fails here, before anything was made
//!                         +-- Display: the numbered steps, for a dry run
//! Exec -------------------exec-------------------------------> Running
//! ```
//! What the new process does between clone and exec is the crate `init`'s; this one writes its steps, makes what only
//! the host's root can make (see [`launch`](launch()) for who does what when), and turns `(step, errno)` into a line.
//! It knows no images, no names, no state on disk.

pub mod capabilities;
pub mod cgroup;
pub mod hooks;
pub mod seccomp;
pub mod specification;
pub mod users;

mod container_id;
mod deliver;
mod directory_root;
mod exec;
mod features;
mod file_system;
mod identity;
mod idmap;
mod interfaces;
mod launch;
mod nested;
mod plan;
mod report;
pub mod resctrl;
mod root;
pub mod sealed;
mod stdio;
mod visit;

pub use container_id::ContainerId;
pub use directory_root::DirectoryRoot;
pub use exec::{Exec, exec};
pub use features::Features;
pub use identity::ProcessIdentity;
pub use launch::{AfterStart, Launched, Running, launch, start};
pub use plan::{Plan, Request};
pub use root::{Mapping, RootFilesystem};
pub use stdio::Stdio;
