//! The controllers, by their v1 names, and which of them a group has.
//!
//! ```text
//!   engine     memory cpu cpuacct pids freezer, and what the limits need: few directories, a quick start
//!   runtime    every hierarchy of the machine, also `name=systemd`: whoever looks for a container finds it in each
//! ```

use oci_spec::runtime::LinuxResources;

/// A controller, by its v1 name; what v2 calls differently is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Controller {
    Memory,
    Cpu,
    Cpuacct,
    Pids,
    Freezer,
    Cpuset,
    Blkio,
    Devices,
    Hugetlb,
    NetCls,
    NetPrio,
    PerfEvent,
    Rdma,
    Misc,
    /// No controller: the hierarchy in which systemd keeps its accounts.
    Systemd,
}

impl Controller {
    pub(super) const ALL: [Self; 15] = [
        Self::Memory,
        Self::Cpu,
        Self::Cpuacct,
        Self::Pids,
        Self::Freezer,
        Self::Cpuset,
        Self::Blkio,
        Self::Devices,
        Self::Hugetlb,
        Self::NetCls,
        Self::NetPrio,
        Self::PerfEvent,
        Self::Rdma,
        Self::Misc,
        Self::Systemd,
    ];

    /// What every container has: limits for its neighbours' sake, accounts, and a way to pause.
    pub(super) const DEFAULT: [Self; 5] = [Self::Memory, Self::Cpu, Self::Cpuacct, Self::Pids, Self::Freezer];

    /// The v1 name, which is also that of its usual directory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
            Self::Cpuset => "cpuset",
            Self::Blkio => "blkio",
            Self::Devices => "devices",
            Self::Hugetlb => "hugetlb",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::PerfEvent => "perf_event",
            Self::Rdma => "rdma",
            Self::Misc => "misc",
            Self::Systemd => "systemd",
        }
    }

    /// Their names in `/proc/self/cgroup`.
    pub(super) fn names(controllers: &[Self]) -> impl Iterator<Item = &'static str> {
        controllers.iter().map(|controller| controller.label())
    }

    /// Its name in `/proc/self/cgroup` and in the options of a mount.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Systemd => "name=systemd",
            other => other.name(),
        }
    }

    /// Its v2 name; `None` if v2 has it in every group, or not at all.
    pub(super) const fn unified_name(self) -> Option<&'static str> {
        match self {
            Self::Blkio => Some("io"),
            Self::Memory | Self::Cpu | Self::Pids | Self::Cpuset | Self::Hugetlb | Self::Rdma | Self::Misc => {
                Some(self.name())
            }
            _ => None,
        }
    }

    /// Whether it counts processes as wholes: such a controller cannot be had in a threaded group of v2.
    pub(super) const fn counts_processes(self) -> bool {
        matches!(self, Self::Memory | Self::Blkio | Self::Hugetlb | Self::Rdma | Self::Misc)
    }
}

/// The controllers of an engine's group: the default ones, those that limits need, and those asked for.
pub(super) fn wanted(resources: &LinuxResources, extra: &[Controller]) -> Vec<Controller> {
    let mut wanted = Controller::DEFAULT.to_vec();
    let cpu = resources.cpu().as_ref();
    let lists = cpu.is_some_and(|cpu| [cpu.cpus(), cpu.mems()].into_iter().flatten().any(|list| !list.is_empty()));
    let network = resources.network().as_ref();
    let needed = [
        (Controller::Cpuset, lists),
        (Controller::Blkio, resources.block_io().is_some()),
        (Controller::Hugetlb, resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty())),
        (Controller::NetCls, network.is_some_and(|network| network.class_id().is_some())),
        (Controller::NetPrio, network.is_some_and(|network| network.priorities().is_some())),
        (Controller::Rdma, resources.rdma().as_ref().is_some_and(|limits| !limits.is_empty())),
    ];
    let needed = needed.into_iter().filter(|(_, needed)| *needed).map(|(controller, _)| controller);
    for controller in needed.chain(extra.iter().copied()) {
        if !wanted.contains(&controller) {
            wanted.push(controller);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_come_with_their_limits() {
        let resources = serde_json::from_str(r#"{"cpu":{"cpus":"0"}}"#).unwrap();
        let controllers = wanted(&resources, &[Controller::Devices, Controller::Memory]);
        assert_eq!(controllers[..5], Controller::DEFAULT);
        assert_eq!(controllers[5..], [Controller::Cpuset, Controller::Devices]);
        let resources = serde_json::from_str(r#"{"network":{"classID":1},"rdma":{"mlx5":{"hcaHandles":1}}}"#).unwrap();
        assert_eq!(wanted(&resources, &[])[5..], [Controller::NetCls, Controller::Rdma]);
    }
}
