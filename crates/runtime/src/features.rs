//! What this runtime can do, from the very tables that decide it: for whoever asks before a container is made.
//!
//! It is about this program, not about this machine: labels, shares of caches and memory policies are features although a
//! kernel may lack what they are for, which is said when a container asks for them.

use crate::capabilities::Set;
use crate::plan::{mount_option_names, namespace_names};

/// What can be asked for.
#[derive(Clone, Debug)]
pub struct Features {
    /// Options of mounts that are no file system's own.
    pub mount_options: Vec<String>,
    /// Kinds of namespaces, as the specification names them.
    pub namespaces: Vec<&'static str>,
    /// Capabilities.
    pub capabilities: Vec<String>,
    /// `process.apparmorProfile`.
    pub apparmor: bool,
    /// `process.selinuxLabel`.
    pub selinux: bool,
    /// `linux.intelRdt`.
    pub intel_rdt: bool,
    /// `linux.netDevices`.
    pub net_devices: bool,
    /// Modes and flags of `linux.memoryPolicy`.
    pub memory_policy: (Vec<&'static str>, Vec<&'static str>),
}

impl Features {
    /// Those of this program, on any kernel that has them.
    #[must_use]
    pub fn of_this_runtime() -> Self {
        let mut capabilities: Vec<String> = Set::ALL.names().map(with_prefix).collect();
        capabilities.sort();
        Self {
            mount_options: mount_option_names(),
            namespaces: namespace_names(),
            capabilities,
            apparmor: true,
            selinux: true,
            intel_rdt: true,
            net_devices: true,
            memory_policy: (
                [
                    "MPOL_BIND",
                    "MPOL_DEFAULT",
                    "MPOL_INTERLEAVE",
                    "MPOL_LOCAL",
                    "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY",
                    "MPOL_WEIGHTED_INTERLEAVE",
                ]
                .to_vec(),
                ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"].to_vec(),
            ),
        }
    }
}

fn with_prefix(name: String) -> String {
    if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_from_the_tables() {
        let features = Features::of_this_runtime();
        for word in ["ro", "rro", "rbind", "rslave", "nosymfollow", "idmap", "tmpcopyup"] {
            assert!(features.mount_options.iter().any(|name| name == word), "{word}");
        }
        assert!(features.mount_options.is_sorted() && features.namespaces.is_sorted());
        assert_eq!(features.namespaces.len(), 8);
        assert!(features.capabilities.contains(&"CAP_CHECKPOINT_RESTORE".to_owned()));
    }
}
