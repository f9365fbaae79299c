//! Mounts that the parent makes for the child: only the host's root can.
//!
//! Each is a detached mount in the hands of one descriptor; sent over, it becomes part of the container and of nothing else.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use failure::{Context as _, Error, Result};
use init::channel::{self, Message};
use init::step::Missing;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::process::DumpableBehavior;
use sys::mount::{ACCESS_TIME, Attributes};
use sys::process::Clone;

use crate::cgroup::Cgroup;
use crate::file_system::{make, make_file_system};
use crate::launch::{end, pair};
use crate::plan::{Action, Bind, Delivery, Devices, FileSystem, IdMaps, Idmap, LINKS, MountMap, Node, OwnFileSystem};
use crate::{Mapping, RootFilesystem, idmap, nested};

/// File systems of namespaces that the container joins, in the order of the plan. Called while this process is there.
pub(crate) fn foreign(actions: &[Action]) -> Result<Vec<OwnedFd>> {
    let wanted = actions.iter().filter_map(|action| match action {
        Action::Receive { delivery: Delivery::Foreign(file_system), .. } => Some(file_system),
        _ => None,
    });
    wanted.map(make_foreign).collect()
}

/// Where the kernel refuses, and the host's own may be shown, that is copied.
fn make_foreign(wanted: &FileSystem) -> Result<OwnedFd> {
    let made = if &*wanted.kind == c"proc" { make_from_inside(wanted) } else { make_file_system(wanted) };
    match (&wanted.instead, made) {
        (Some(place), Err(_)) => {
            let line = || format!("cannot copy the host's `{}`", place.to_string_lossy());
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            let copy = rustix::mount::open_tree(CWD, &**place, flags).with_context(line)?;
            let closed = Attributes { set: u64::from(wanted.attributes), clear: 0, propagation: PRIVATE };
            sys::mount::set_attributes_recursive(copy.as_fd(), closed).with_context(line)?;
            Ok(copy)
        }
        (_, made) => made,
    }
}

/// proc shows the pid namespace of whoever makes it. A visitor keeps his own; a child of his is born in the visited one.
fn make_from_inside(file_system: &FileSystem) -> Result<OwnedFd> {
    let failed = || format!("cannot make a file system of type {}", file_system.kind.to_string_lossy());
    let (ours, theirs) = pair()?;
    match sys::process::clone(0, None).context("cannot make a process in the joined namespaces")? {
        Clone::Child => {
            drop(ours);
            let told = match not_looked_into().and_then(|()| make(file_system)) {
                Ok(mount) => channel::send(&theirs, Message::Mount, Some(mount.as_fd())),
                Err(errno) => channel::send(&theirs, Message::Failed { step: 0, errno: errno.raw_os_error() }, None),
            };
            sys::process::exit(i32::from(told.is_err()))
        }
        Clone::Parent { pidfd, .. } => {
            drop(theirs);
            let answer = channel::receive(&ours);
            end(&pidfd);
            match answer.with_context(failed)? {
                Some((Message::Mount, Some(mount))) => Ok(mount),
                Some((Message::Failed { errno, .. }, _)) => Err(Errno::from_raw_os_error(errno)).with_context(failed),
                _ => Err(Error::internal("the helper in the joined namespaces ended too early")),
            }
        }
    }
}

/// Those who live in the joined namespaces see the helper, which is the engine's image.
fn not_looked_into() -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// What is needed to make them.
pub(crate) struct Maker<'a> {
    pub(crate) maps: Option<&'a IdMaps>,
    pub(crate) user_namespace: Option<OwnedFd>,
    pub(crate) root: &'a dyn RootFilesystem,
    pub(crate) group: &'a Cgroup,
    /// Of mounts that have their own.
    pub(crate) mount_maps: idmap::Maps,
}

impl Maker<'_> {
    /// Makes one. Those of foreign namespaces were made before.
    pub(crate) fn make(&self, delivery: &Delivery, foreign: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd> {
        match delivery {
            Delivery::Root { propagation } => self.make_root(*propagation),
            Delivery::Devices(devices) => self.make_devices(devices),
            Delivery::Bind(bind) => self.make_bind(bind),
            Delivery::FileSystem(own) => self.make_own(own),
            Delivery::Foreign(_) => foreign.next().ok_or_else(|| Error::internal("a file system was not made")),
            Delivery::Cgroup(attributes) => {
                let views = self.cgroup_views(*attributes)?;
                views.into_iter().next().map_or_else(|| hosts_cgroups(*attributes), Ok)
            }
        }
    }

    /// One mount for each hierarchy that the container's group is in.
    pub(crate) fn cgroup_views(&self, attributes: Attributes) -> Result<Vec<OwnedFd>> {
        let attributes = Attributes { propagation: PRIVATE, ..attributes };
        let views = self.group.views().into_iter().map(|view| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let mount = rustix::mount::open_tree(CWD, &*view.directory, flags)
                .with_context(|| format!("cannot mount the cgroup `{}`", view.directory))?;
            sys::mount::set_attributes(mount.as_fd(), attributes).context("cannot protect the cgroup")?;
            Ok(mount)
        });
        views.collect()
    }

    fn make_root(&self, propagation: u64) -> Result<OwnedFd> {
        let mapping = match (self.maps, &self.user_namespace) {
            (Some(maps), Some(user_namespace)) => Some(Mapping {
                user_namespace: user_namespace.as_fd(),
                root_uid: maps.root_uid,
                root_gid: maps.root_gid,
            }),
            _ => None,
        };
        let mount = self.root.mount(mapping.as_ref())?;
        // A tree of the host's that is shared would take the container's mounts with it, and cannot be pivoted to.
        let apart = Attributes { propagation, ..Attributes::default() };
        sys::mount::set_attributes_recursive(mount.as_fd(), apart).context("cannot set the root file system apart")?;
        Ok(mount)
    }

    /// Made with the container's ids as they are, and mapped as a whole. Kernels before 6.3 cannot map a tmpfs: there each
    /// entry is given to its owner.
    fn make_devices(&self, devices: &Devices) -> Result<OwnedFd> {
        let mount = make_file_system(&devices.file_system)?;
        // Modes are exact here, whatever mask the caller has.
        let mask = rustix::process::umask(Mode::empty());
        let filled = fill_devices(&mount, devices);
        rustix::process::umask(mask);
        filled?;
        if let (Some(maps), Some(user_namespace)) = (self.maps, &self.user_namespace)
            && sys::idmap::set_idmap(mount.as_fd(), user_namespace.as_fd(), 0).is_err()
        {
            give_devices(&mount, devices, maps).context("cannot give `/dev` to the container's root")?;
        }
        Ok(mount)
    }

    fn make_bind(&self, bind: &Bind) -> Result<OwnedFd> {
        let line = |what: &str| format!("cannot {what} the bind source `{}`", bind.path.display());
        let mut flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        if bind.recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let mount = rustix::mount::open_tree(&bind.source, c"", flags).with_context(|| line("copy"))?;
        let change = |change: Attributes, recursive: bool| {
            match recursive {
                _ if change.is_empty() => Ok(()),
                recursive => set_attributes(&mount, change, recursive),
            }
            .with_context(|| line("change the options of"))
        };
        // The first propagation is nearly always for all, and takes no call of its own then.
        let (first, others) = match bind.propagation.split_first() {
            Some(((kind, true), others)) => (*kind, others),
            _ => (0, &*bind.propagation),
        };
        change(Attributes { propagation: first, ..bind.recursive_attributes }, true)?;
        change(bind.attributes, false)?;
        for (kind, recursive) in others {
            change(Attributes { propagation: *kind, ..Attributes::default() }, *recursive)?;
        }
        if let Some(wanted) = &bind.idmap {
            self.map_bind(bind, &mount, wanted)?;
        }
        Ok(mount)
    }

    fn make_own(&self, own: &OwnFileSystem) -> Result<OwnedFd> {
        let mount = make_file_system(&own.file_system)?;
        if let Some(wanted) = &own.idmap {
            let kind = own.file_system.kind.to_string_lossy();
            let Some(namespace) = self.namespace_of(wanted)? else { return Ok(mount) };
            idmap::map(&mount, &namespace, false).map_err(|errno| cannot_map(&format!("type {kind}"), None, errno))?;
        }
        Ok(mount)
    }

    /// A tree that holds a file system that cannot be mapped (proc, for one) is mapped at its top alone, if nothing but the
    /// container's own map was asked for.
    fn map_bind(&self, bind: &Bind, mount: &OwnedFd, wanted: &MountMap) -> Result<()> {
        let Some(namespace) = self.namespace_of(wanted)? else { return Ok(()) };
        let path = bind.path.display().to_string();
        let way_out = wanted.maps.is_none().then_some("use `--userns host`");
        let mapped = match (wanted.reach, &wanted.maps) {
            (Idmap::Tree, None) => {
                idmap::map(mount, &namespace, true).or_else(|_| idmap::map(mount, &namespace, false))
            }
            (reach, _) => idmap::map(mount, &namespace, reach == Idmap::Tree),
        };
        mapped.map_err(|errno| cannot_map(&format!("`{path}`"), way_out, errno))
    }

    /// None: the container has the host's ids, and so has the mount.
    fn namespace_of(&self, wanted: &MountMap) -> Result<Option<OwnedFd>> {
        match (&wanted.maps, &self.user_namespace) {
            (Some(lines), _) => self.mount_maps.namespace(lines).map(Some),
            (None, Some(own)) => own.try_clone().context("cannot copy a descriptor").map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Of a container without a group of its own, in a user namespace: all that this process sees, and never to be written
/// (CVE-2023-25809).
fn hosts_cgroups(attributes: Attributes) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let copy = rustix::mount::open_tree(CWD, "/sys/fs/cgroup", flags).context("cannot mount the control groups")?;
    let closed = Attributes { set: attributes.set | sys::mount::READ_ONLY, clear: 0, propagation: PRIVATE };
    sys::mount::set_attributes_recursive(copy.as_fd(), closed).context("cannot protect the control groups")?;
    Ok(copy)
}

fn cannot_map(what: &str, way_out: Option<&str>, errno: Errno) -> Error {
    let way_out = way_out.unwrap_or("leave `idmap` and the mappings out");
    match errno {
        Errno::INVAL | Errno::OPNOTSUPP => {
            Error::unsupported(format!("the file system of {what} cannot show its files with other ids; {way_out}"))
        }
        errno => {
            let line = format!("cannot map the ids of {what}");
            Err::<(), _>(errno).context(line).err().unwrap_or_else(|| Error::internal("no failure"))
        }
    }
}

/// In a user namespace, what its creator has mounted keeps its access times: a word for them is not worth a failure.
fn set_attributes(mount: &OwnedFd, change: Attributes, recursive: bool) -> rustix::io::Result<()> {
    let set = |change| match recursive {
        true => sys::mount::set_attributes_recursive(mount.as_fd(), change),
        false => sys::mount::set_attributes(mount.as_fd(), change),
    };
    match set(change) {
        Err(Errno::PERM) if nested::is_nested() && change.clear & ACCESS_TIME != 0 => {
            set(Attributes { set: change.set & !ACCESS_TIME, clear: change.clear & !ACCESS_TIME, ..change })
        }
        done => done,
    }
}

/// `MS_PRIVATE`.
const PRIVATE: u64 = 1 << 18;

fn fill_devices(mount: &OwnedFd, devices: &Devices) -> Result<()> {
    for node in &devices.nodes {
        make_node(mount, node)
            .with_context(|| format!("cannot make the device `/dev/{}`", node.name.to_string_lossy()))?;
    }
    for (name, points_to) in LINKS.into_iter().filter(|_| devices.links) {
        rustix::fs::symlinkat(points_to, mount, name).with_context(|| format!("cannot make the link `/dev/{name}`"))?;
    }
    for (name, missing) in &devices.points {
        match missing {
            Missing::Directory => rustix::fs::mkdirat(mount, &**name, Mode::from_raw_mode(0o755)),
            Missing::File | Missing::Device { .. } => {
                rustix::fs::mknodat(mount, &**name, FileType::RegularFile, Mode::from_raw_mode(0o600), 0)
            }
        }
        .with_context(|| format!("cannot make the mount point `/dev/{}`", name.to_string_lossy()))?;
    }
    Ok(())
}

fn make_node(mount: &OwnedFd, node: &Node) -> rustix::io::Result<()> {
    for directory in &node.directories {
        match rustix::fs::mkdirat(mount, &**directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::mknodat(mount, &*node.name, node.kind, Mode::from_raw_mode(node.mode), node.number)?;
    if node.uid == 0 && node.gid == 0 { Ok(()) } else { give(mount, &node.name, node.uid, node.gid) }
}

/// Gives every entry to whom the container's ids mean.
fn give_devices(mount: &OwnedFd, devices: &Devices, maps: &IdMaps) -> rustix::io::Result<()> {
    let (root_uid, root_gid) = (maps.root_uid, maps.root_gid);
    // An owner whom the container does not have is nobody there, as in a mapped mount; modes let all in, as a rule.
    let owner = |uid, gid| (maps.host_user(uid).unwrap_or(0), maps.host_group(gid).unwrap_or(0));
    give(mount, c".", root_uid, root_gid)?;
    for node in &devices.nodes {
        let (uid, gid) = owner(node.uid, node.gid);
        give(mount, &node.name, uid, gid)?;
        node.directories.iter().try_for_each(|directory| give(mount, directory, root_uid, root_gid))?;
    }
    devices.points.iter().try_for_each(|(name, _)| give(mount, name, root_uid, root_gid))
}

fn give(mount: &OwnedFd, name: &CStr, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(mount, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}
