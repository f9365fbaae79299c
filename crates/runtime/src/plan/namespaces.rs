//! Namespaces: which are new, which are joined, which stay the host's.
//!
//! User, mount and pid namespaces are made by clone3 itself. The others are made by the child afterwards: a network
//! namespace takes longer than all else, and the parent can work meanwhile. Those to join are joined by the parent around
//! clone3, since only it may; but from a user or mount namespace there is no way back, so that a container that joins one
//! is cloned by a helper, which joins them all (drawn in `init::join`).
//!
//! ```text
//!   mount namespace    the container's root
//!   new                pivot_root: the host's tree is gone
//!   joined, or none    chroot into a mount that is attached nowhere: the tree of the others stays as it is, and so
//!                      there is no place for further mounts
//! ```

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use failure::{Context as _, Error, Kind, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec, User};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{CapabilitySet, LinkNameSpaceType};

use super::id_maps::IdMaps;
use super::time::{self, Offsets};

pub(crate) const TIME: u32 = 0x0000_0080;
pub(crate) const MOUNT: u32 = 0x0002_0000;
pub(crate) const CGROUP: u32 = 0x0200_0000;
pub(crate) const UTS: u32 = 0x0400_0000;
pub(crate) const IPC: u32 = 0x0800_0000;
pub(crate) const USER: u32 = 0x1000_0000;
pub(crate) const PID: u32 = 0x2000_0000;
pub(crate) const NETWORK: u32 = 0x4000_0000;

const NSFS_MAGIC: u64 = 0x6e73_6673;
const NAMES: [(u32, &str); 8] = [
    (USER, "user"),
    (MOUNT, "mnt"),
    (PID, "pid"),
    (NETWORK, "net"),
    (IPC, "ipc"),
    (UTS, "uts"),
    (CGROUP, "cgroup"),
    (TIME, "time"),
];

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` for clone3.
    pub(crate) at_clone: u32,
    /// `CLONE_NEW*` for the child.
    pub(crate) in_child: u32,
    /// To join and to come back from.
    pub(crate) joins: Vec<Joined>,
    /// The user and the mount namespace to join.
    pub(crate) for_good: Vec<Joined>,
    /// The maps of the user namespace that the container does not share with the host.
    pub(crate) mapping: Option<IdMaps>,
    /// What the clocks of a new time namespace differ by.
    pub(crate) offsets: Option<Offsets>,
    /// Kinds to join that belong to the user namespace to join.
    owned: u32,
}

/// A namespace to join.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) kind: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: OwnedFd,
}

impl Namespaces {
    /// Reads the specification; opens what it names.
    pub(crate) fn read(linux: &Linux, user: &User) -> Result<Self> {
        let mut found = Self::default();
        let mut seen = 0;
        // Interfaces can move in only once the namespace is there.
        let early = linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
        let at_clone = if early { USER | MOUNT | PID | NETWORK } else { USER | MOUNT | PID };
        for namespace in linux.namespaces().iter().flatten() {
            let kind = kind_of(namespace.typ());
            if seen & kind != 0 {
                return Err(Error::invalid(format!("the {} namespace is given twice", names(kind))));
            }
            seen |= kind;
            match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                Some(path) if kind & (USER | MOUNT) != 0 => found.for_good.push(Joined::open(kind, path.clone())?),
                Some(path) => found.joins.push(Joined::open(kind, path.clone())?),
                None if kind & at_clone != 0 => found.at_clone |= kind,
                None => found.in_child |= kind,
            }
        }
        found.read_maps(linux, user)?;
        found.offsets = time::read(linux, found.in_child & TIME != 0)?;
        Ok(found)
    }

    fn read_maps(&mut self, linux: &Linux, user: &User) -> Result<()> {
        let given = |ranges: &Option<Vec<_>>| ranges.as_ref().is_some_and(|ranges| !ranges.is_empty());
        if self.at_clone & USER != 0 {
            check_mapper()?;
            self.mapping = Some(IdMaps::read(linux, user)?);
        } else if let Some(namespace) = self.for_good.iter().find(|join| join.kind == USER) {
            let (users, groups) = crate::visit::maps_of(namespace)?;
            let maps = IdMaps::parse(&users, &groups, user)?;
            if !maps.agree_with(linux) {
                let path = namespace.path.display();
                return Err(Error::invalid(format!("the id mappings are not those of the user namespace `{path}`")));
            }
            for join in self.joins.iter().filter(|join| crate::visit::belongs(join, namespace)) {
                self.owned |= join.kind;
            }
            self.mapping = Some(maps);
        } else if given(linux.uid_mappings()) || given(linux.gid_mappings()) {
            return Err(Error::invalid("id mappings need a user namespace; add `user` to the namespaces"));
        }
        Ok(())
    }

    /// Whether the container makes this namespace itself.
    pub(crate) fn is_new(&self, kind: u32) -> bool {
        (self.at_clone | self.in_child) & kind != 0
    }

    /// Whether it is not the host's.
    pub(crate) fn is_private(&self, kind: u32) -> bool {
        self.is_new(kind) || self.joins.iter().chain(&self.for_good).any(|join| join.kind == kind)
    }

    /// Whether its file systems must be made by the parent: the container's user namespace has no say over it.
    pub(crate) fn is_foreign(&self, kind: u32) -> bool {
        self.mapping.is_some() && !self.is_new(kind) && self.owned & kind == 0
    }
}

/// Whoever maps more than himself must have both capabilities. A user without them makes a user namespace around the runtime
/// first (`podman unshare`, `unshare --map-auto`), with the help of newuidmap, in which he has them.
fn check_mapper() -> Result<()> {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    match rustix::thread::capabilities(None) {
        Ok(sets) if !sets.effective.contains(needed) => Err(Error::new(
            Kind::Denied,
            "a new user namespace needs CAP_SETUID and CAP_SETGID for its id mappings; run this as root, or inside a user \
             namespace, as `unshare --user --map-root-user --map-auto` makes one",
        )),
        _ => Ok(()),
    }
}

/// Refuses what needs a mount namespace of the container's own, where there is none.
pub(super) fn check_mounts(spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let needs = [
        ("`mounts`", spec.mounts().as_ref().is_some_and(|mounts| !mounts.is_empty())),
        ("`linux.maskedPaths`", some(linux.masked_paths())),
        ("`linux.readonlyPaths`", some(linux.readonly_paths())),
        ("`linux.devices`", linux.devices().as_ref().is_some_and(|devices| !devices.is_empty())),
        ("`linux.rootfsPropagation`", linux.rootfs_propagation().as_ref().is_some_and(|mode| !mode.is_empty())),
    ];
    match needs.iter().find(|(_, given)| *given) {
        Some((name, _)) if !namespaces.is_new(MOUNT) => Err(Error::unsupported(format!(
            "{name} of the specification needs a mount namespace of the container's own; add `mount` without a path"
        ))),
        _ => Ok(()),
    }
}

impl Joined {
    fn open(kind: u32, path: PathBuf) -> Result<Self> {
        let refuse = |reason: &str| Error::invalid(format!("`{}` {reason}", path.display()));
        if !path.is_absolute() {
            return Err(refuse("is not an absolute path of a namespace"));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(&path, flags, Mode::empty())
            .with_context(|| format!("cannot open the {} namespace `{}`", names(kind), path.display()))?;
        let found = rustix::fs::fstatfs(&file).context("look at a namespace")?;
        if found.f_type as u64 != NSFS_MAGIC {
            return Err(refuse("is no namespace"));
        }
        let kind_found =
            sys::namespace::kind(file.as_fd()).with_context(|| format!("cannot look at `{}`", path.display()))?;
        if kind_found != kind {
            return Err(refuse(&format!("is a {} namespace, no {} one", names(kind_found), names(kind))));
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
            TIME => Some(LinkNameSpaceType::Time),
            USER => Some(LinkNameSpaceType::User),
            MOUNT => Some(LinkNameSpaceType::Mount),
            _ => None,
        }
    }
}

/// Every kind in the specification's words, sorted.
pub(crate) fn all_names() -> Vec<&'static str> {
    let word = |(_, name): &(u32, &'static str)| match *name {
        "mnt" => "mount",
        "net" => "network",
        other => other,
    };
    let mut names: Vec<&str> = NAMES.iter().map(word).collect();
    names.sort_unstable();
    names
}

/// The kinds that a specification names, new or joined: what another process of the container joins.
pub(crate) fn kinds(linux: &Linux) -> u32 {
    linux.namespaces().iter().flatten().fold(0, |kinds, namespace| kinds | kind_of(namespace.typ()))
}

/// Whether a process of the container has its root directory by the mount namespace alone.
pub(crate) fn has_own_root(linux: &Linux) -> bool {
    linux.namespaces().iter().flatten().any(|namespace| {
        kind_of(namespace.typ()) == MOUNT && namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
    })
}

/// The names of the kinds, with commas.
pub(crate) fn names(kinds: u32) -> String {
    let names: Vec<&str> = NAMES.iter().filter(|(kind, _)| kinds & kind != 0).map(|(_, name)| *name).collect();
    names.join(", ")
}

fn kind_of(kind: LinuxNamespaceType) -> u32 {
    match kind {
        LinuxNamespaceType::Mount => MOUNT,
        LinuxNamespaceType::Cgroup => CGROUP,
        LinuxNamespaceType::Uts => UTS,
        LinuxNamespaceType::Ipc => IPC,
        LinuxNamespaceType::User => USER,
        LinuxNamespaceType::Pid => PID,
        LinuxNamespaceType::Network => NETWORK,
        LinuxNamespaceType::Time => TIME,
    }
}
