//! runtime

pub mod capabilities;
pub mod cgroup;
pub mod seccomp;
pub mod users;
