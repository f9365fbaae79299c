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
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};
use rustix::process::DumpableBehavior;
use sys::mount::Attributes;
use sys::process::Clone;

use crate::cgroup::Cgroup;
use crate::launch::{end, pair};
use crate::plan::{Action, Bind, Delivery, Devices, FileSystem, IdMaps, Idmap, LINKS, Node};
use crate::{Mapping, RootFilesystem};

/// File systems of namespaces that the container joins, in the order of the plan. Called while this process is there.
pub(crate) fn foreign(actions: &[Action]) -> Result<Vec<OwnedFd>> {
    let wanted = actions.iter().filter_map(|action| match action {
        Action::Receive { delivery: Delivery::Foreign(file_system), .. } => Some(file_system),
        _ => None,
    });
    wanted
        .map(|wanted| if &*wanted.kind == c"proc" { make_from_inside(wanted) } else { make_file_system(wanted) })
        .collect()
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
}

impl Maker<'_> {
    /// Makes one. Those of foreign namespaces were made before.
    pub(crate) fn make(&self, delivery: &Delivery, foreign: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd> {
        match delivery {
            Delivery::Root => self.make_root(),
            Delivery::Devices(devices) => self.make_devices(devices),
            Delivery::Bind(bind) => self.make_bind(bind),
            Delivery::Foreign(_) => foreign.next().ok_or_else(|| Error::internal("a file system was not made")),
            Delivery::Cgroup(attributes) => {
                let views = self.cgroup_views(*attributes)?;
                views.into_iter().next().ok_or_else(|| Error::internal("the container has no cgroup to show"))
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

    fn make_root(&self) -> Result<OwnedFd> {
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
        let private = Attributes { propagation: PRIVATE, ..Attributes::default() };
        sys::mount::set_attributes_recursive(mount.as_fd(), private)
            .context("cannot set the root file system apart")?;
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
        sys::mount::set_attributes_recursive(mount.as_fd(), bind.recursive_attributes)
            .with_context(|| line("change the options of"))?;
        if !bind.attributes.is_empty() {
            sys::mount::set_attributes(mount.as_fd(), bind.attributes)
                .with_context(|| line("change the options of"))?;
        }
        if let Some(reach) = bind.idmap {
            self.map_bind(bind, &mount, reach)?;
        }
        Ok(mount)
    }

    /// A tree that holds a file system that cannot be mapped (proc, for one) is mapped at its top alone.
    fn map_bind(&self, bind: &Bind, mount: &OwnedFd, reach: Idmap) -> Result<()> {
        let Some(user_namespace) = &self.user_namespace else { return Ok(()) };
        let (mount, user_namespace) = (mount.as_fd(), user_namespace.as_fd());
        let mapped = match reach {
            Idmap::Tree => sys::mount::set_idmap_recursive(mount, user_namespace)
                .or_else(|_| sys::idmap::set_idmap(mount, user_namespace, 0)),
            Idmap::Mount => sys::idmap::set_idmap(mount, user_namespace, 0),
        };
        mapped.map_err(|errno| match errno {
            Errno::INVAL => Error::unsupported(format!(
                "the file system of `{}` cannot show its files with the container's ids; use `--userns host`",
                bind.path.display()
            )),
            errno => report_idmap(bind, errno),
        })
    }
}

/// `MS_PRIVATE`.
const PRIVATE: u64 = 1 << 18;

fn report_idmap(bind: &Bind, errno: Errno) -> Error {
    let line = format!("cannot map the ids of `{}`", bind.path.display());
    Err::<(), _>(errno).context(line).err().unwrap_or_else(|| Error::internal("no failure"))
}

fn make_file_system(file_system: &FileSystem) -> Result<OwnedFd> {
    make(file_system)
        .with_context(|| format!("cannot make a file system of type {}", file_system.kind.to_string_lossy()))
}

fn make(file_system: &FileSystem) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(&*file_system.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in file_system.options() {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, name)?;
        } else {
            rustix::mount::fsconfig_set_string(&context, name, value)?;
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::from_bits_retain(file_system.attributes);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn fill_devices(mount: &OwnedFd, devices: &Devices) -> Result<()> {
    for node in &devices.nodes {
        make_node(mount, node)
            .with_context(|| format!("cannot make the device `/dev/{}`", node.name.to_string_lossy()))?;
    }
    for (name, points_to) in LINKS {
        rustix::fs::symlinkat(points_to, mount, name).with_context(|| format!("cannot make the link `/dev/{name}`"))?;
    }
    for (name, missing) in &devices.points {
        match missing {
            Missing::Directory => rustix::fs::mkdirat(mount, &**name, Mode::from_raw_mode(0o755)),
            Missing::File => rustix::fs::mknodat(mount, &**name, FileType::RegularFile, Mode::from_raw_mode(0o600), 0),
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
    let owner = |uid, gid| maps.host_user(uid).zip(maps.host_group(gid)).ok_or(Errno::OVERFLOW);
    let (root_uid, root_gid) = (maps.root_uid, maps.root_gid);
    give(mount, c".", root_uid, root_gid)?;
    for node in &devices.nodes {
        let (uid, gid) = owner(node.uid, node.gid)?;
        give(mount, &node.name, uid, gid)?;
        node.directories.iter().try_for_each(|directory| give(mount, directory, root_uid, root_gid))?;
    }
    devices.points.iter().try_for_each(|(name, _)| give(mount, name, root_uid, root_gid))
}

fn give(mount: &OwnedFd, name: &CStr, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(mount, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}
