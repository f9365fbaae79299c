//! Namespaces: which are new, which are joined, which stay the host's; and the maps of a user namespace.
//!
//! User, mount and pid namespaces are made by clone3 itself. The others are made by the child afterwards: a network
//! namespace takes longer than all else, and the parent can work meanwhile. Those to join are joined by the parent
//! around clone3: only it may.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

pub(crate) const MOUNT: u32 = 0x0002_0000;
pub(crate) const CGROUP: u32 = 0x0200_0000;
pub(crate) const UTS: u32 = 0x0400_0000;
pub(crate) const IPC: u32 = 0x0800_0000;
pub(crate) const USER: u32 = 0x1000_0000;
pub(crate) const PID: u32 = 0x2000_0000;
pub(crate) const NETWORK: u32 = 0x4000_0000;

const NSFS_MAGIC: u64 = 0x6e73_6673;
const NAMES: [(u32, &str); 7] =
    [(USER, "user"), (MOUNT, "mnt"), (PID, "pid"), (NETWORK, "net"), (IPC, "ipc"), (UTS, "uts"), (CGROUP, "cgroup")];

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` for clone3.
    pub(crate) at_clone: u32,
    /// `CLONE_NEW*` for the child.
    pub(crate) in_child: u32,
    /// To join.
    pub(crate) joins: Vec<Joined>,
    /// The maps, if the user namespace is new.
    pub(crate) mapping: Option<IdMaps>,
}

/// A namespace to join.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) kind: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: OwnedFd,
}

/// The maps of a user namespace, as the kernel reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) users: String,
    pub(crate) groups: String,
    /// What user 0 is on the host.
    pub(crate) root_uid: u32,
    /// What group 0 is on the host.
    pub(crate) root_gid: u32,
    user_ranges: Vec<LinuxIdMapping>,
    group_ranges: Vec<LinuxIdMapping>,
}

impl Namespaces {
    /// Reads the specification; opens what it names.
    pub(crate) fn read(linux: &Linux) -> Result<Self> {
        let mut found = Self::default();
        let mut seen = 0;
        for namespace in linux.namespaces().iter().flatten() {
            let kind = kind_of(namespace.typ())?;
            if seen & kind != 0 {
                return Err(Error::invalid(format!("the {} namespace is given twice", names(kind))));
            }
            seen |= kind;
            match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => found.joins.push(Joined::open(kind, path.clone())?),
                None if kind & (USER | MOUNT | PID) != 0 => found.at_clone |= kind,
                None => found.in_child |= kind,
            }
        }
        if found.at_clone & MOUNT == 0 {
            return Err(Error::unsupported(
                "a container needs a mount namespace of its own; add `mount` to its namespaces",
            ));
        }
        found.mapping = IdMaps::read(linux, found.at_clone & USER != 0)?;
        Ok(found)
    }

    /// Whether the container makes this namespace itself.
    pub(crate) fn is_new(&self, kind: u32) -> bool {
        (self.at_clone | self.in_child) & kind != 0
    }

    /// Whether it is not the host's.
    pub(crate) fn is_private(&self, kind: u32) -> bool {
        self.is_new(kind) || self.joins.iter().any(|join| join.kind == kind)
    }

    /// Whether its file systems must be made by the parent: the container's user namespace has no say over it.
    pub(crate) fn is_foreign(&self, kind: u32) -> bool {
        self.mapping.is_some() && !self.is_new(kind)
    }
}

impl Joined {
    fn open(kind: u32, path: PathBuf) -> Result<Self> {
        if kind & (USER | MOUNT) != 0 {
            let name = names(kind);
            return Err(Error::unsupported(format!(
                "joining the {name} namespace `{}` is not supported",
                path.display()
            )));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(&path, flags, Mode::empty())
            .with_context(|| format!("cannot open the {} namespace `{}`", names(kind), path.display()))?;
        let found = rustix::fs::fstatfs(&file).context("look at a namespace")?;
        if found.f_type as u64 != NSFS_MAGIC {
            return Err(Error::invalid(format!("`{}` is no namespace", path.display())));
        }
        Ok(Self { kind, path, file })
    }

    /// Its name in `/proc/<pid>/ns`.
    pub(crate) fn name(&self) -> String {
        names(self.kind)
    }

    /// Its kind for setns, which refuses a file of another kind.
    pub(crate) fn link_type(&self) -> Option<LinkNameSpaceType> {
        match self.kind {
            PID => Some(LinkNameSpaceType::ProcessID),
            NETWORK => Some(LinkNameSpaceType::Network),
            IPC => Some(LinkNameSpaceType::InterProcessCommunication),
            UTS => Some(LinkNameSpaceType::HostNameAndNISDomainName),
            CGROUP => Some(LinkNameSpaceType::ControlGroup),
            _ => None,
        }
    }
}

impl IdMaps {
    /// None without a new user namespace.
    pub(crate) fn read(linux: &Linux, new: bool) -> Result<Option<Self>> {
        let users = linux.uid_mappings().as_deref().unwrap_or_default();
        let groups = linux.gid_mappings().as_deref().unwrap_or_default();
        if !new {
            return match users.is_empty() && groups.is_empty() {
                true => Ok(None),
                false => Err(Error::invalid("id mappings need a new user namespace; add `user` to the namespaces")),
            };
        }
        let root = |ranges, what| {
            host_id(ranges, 0).ok_or_else(|| Error::invalid(format!("the id mappings lack {what} 0 of the container")))
        };
        Ok(Some(Self {
            users: lines(users),
            groups: lines(groups),
            root_uid: root(users, "user")?,
            root_gid: root(groups, "group")?,
            user_ranges: users.to_vec(),
            group_ranges: groups.to_vec(),
        }))
    }

    /// What a user of the container is on the host.
    pub(crate) fn host_user(&self, id: u32) -> Option<u32> {
        host_id(&self.user_ranges, id)
    }

    /// What a group of the container is on the host.
    pub(crate) fn host_group(&self, id: u32) -> Option<u32> {
        host_id(&self.group_ranges, id)
    }
}

/// The kinds that a specification names, new or joined: what another process of the container joins.
pub(crate) fn kinds(linux: &Linux) -> Result<u32> {
    linux.namespaces().iter().flatten().try_fold(0, |kinds, namespace| Ok(kinds | kind_of(namespace.typ())?))
}

/// The names of the kinds, with commas.
pub(crate) fn names(kinds: u32) -> String {
    let names: Vec<&str> = NAMES.iter().filter(|(kind, _)| kinds & kind != 0).map(|(_, name)| *name).collect();
    names.join(", ")
}

fn kind_of(kind: LinuxNamespaceType) -> Result<u32> {
    Ok(match kind {
        LinuxNamespaceType::Mount => MOUNT,
        LinuxNamespaceType::Cgroup => CGROUP,
        LinuxNamespaceType::Uts => UTS,
        LinuxNamespaceType::Ipc => IPC,
        LinuxNamespaceType::User => USER,
        LinuxNamespaceType::Pid => PID,
        LinuxNamespaceType::Network => NETWORK,
        LinuxNamespaceType::Time => return Err(Error::unsupported("time namespaces are not supported")),
    })
}

fn lines(ranges: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for range in ranges {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", range.container_id(), range.host_id(), range.size());
    }
    text
}

fn host_id(ranges: &[LinuxIdMapping], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id())?;
        (offset < range.size()).then(|| range.host_id().checked_add(offset))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;

    #[test]
    fn ids_are_looked_up_in_ranges() {
        let range = |container_id: u32, host_id: u32, size: u32| {
            LinuxIdMappingBuilder::default().container_id(container_id).host_id(host_id).size(size).build().unwrap()
        };
        let ranges = [range(0, 100_000, 10), range(10, 500, 1)];
        assert_eq!(host_id(&ranges, 9), Some(100_009));
        assert_eq!(host_id(&ranges, 10), Some(500));
        assert_eq!(host_id(&ranges, 11), None);
        assert_eq!(lines(&ranges), "0 100000 10\n10 500 1\n");
    }
}
