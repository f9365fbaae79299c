//! How a container sees its own group: where each part of it is on the host, and under which name it appears inside.

use super::{Cgroup, Group, host};

/// One hierarchy's part of a group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The name of its mount point below `/sys/fs/cgroup`; empty on v2, which has no parts.
    pub(crate) name: String,
    /// Further names, which are links to it: controllers that are mounted together.
    pub(crate) links: Vec<&'static str>,
    /// The directory on the host.
    pub(crate) directory: String,
}

/// Whether this machine has one v2 tree.
pub(crate) fn is_unified() -> bool {
    matches!(host::version(), Ok(host::Version::V2))
}

impl Cgroup {
    /// The parts, in a fixed order.
    pub(crate) fn views(&self) -> Vec<View> {
        match &self.group {
            Group::V2(group) => {
                vec![View { name: String::new(), links: Vec::new(), directory: group.directory().to_owned() }]
            }
            Group::V1(group) => group
                .places()
                .map(|(controllers, directory)| {
                    let names: Vec<&'static str> = controllers.iter().map(|controller| controller.name()).collect();
                    let links = if names.len() > 1 { names.clone() } else { Vec::new() };
                    View { name: names.join(","), links, directory: directory.to_owned() }
                })
                .collect(),
        }
    }
}
