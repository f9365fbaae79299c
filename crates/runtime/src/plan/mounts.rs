//! The mounts of the specification: who makes each, how, and in which slot it waits.
//!
//! | type                    | made by | when                                                        |
//! |-------------------------|---------|-------------------------------------------------------------|
//! | proc, sysfs             | child   | before the root is entered: the kernel wants to see the host's own |
//! | mqueue, devpts, tmpfs, ramfs, binfmt_misc | child | then too, while the parent mounts the root |
//! | the same, of a namespace that is not the container's | parent | right after clone3             |
//! | tmpfs on /dev, binds    | parent  | sent in order, attached at once                             |
//! | all others, and any with mapped ids | parent | so too: block devices and overlays are the host's  |
//! | cgroup                  | parent  | a mount of the container's own group in each hierarchy      |
//!
//! Where this process is in a user namespace itself, the kernel may refuse a proc, sysfs or mqueue that would show what its creator
//! hid; then the host's own is taken, as it is there.

use std::ffi::CString;
use std::path::Path;

use failure::{Context as _, Error, Result};
use init::step::{Missing, SLOTS};
use oci_spec::runtime::{Linux, Mount};
use sys::mount::{Attributes, NO_DEVICES, READ_ONLY};

use super::action::{Action, Delivery, FileSystem, OwnFileSystem, Place, Remount, TakeOver};
use super::binds::Bind;
use super::devices::{self, Devices};
use super::mount_maps::{self, MountMap};
use super::namespaces::{self, Namespaces};
use super::options::{self, Options};
use super::{file_systems, paths};
use crate::nested;

/// For a mount that is attached as soon as it is there.
pub(crate) const PASSING: u8 = 0;
/// For the root.
pub(crate) const ROOT: u8 = 1;
/// For the cover of masked paths.
pub(crate) const MASK: u8 = 2;
/// For device nodes that are attached one by one.
pub(crate) const NODES: u8 = 3;
const FIRST_FREE: u8 = 4;
/// Slots that are kept for what cannot be made later.
const KEPT: usize = 16;

/// Files of /proc that may be covered by a bind: what shows a container its own limits.
const COVERABLE: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// What decides about mounts beside themselves.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) linux: &'a Linux,
    pub(crate) namespaces: &'a Namespaces,
    /// Where relative sources start.
    pub(crate) bundle: Option<&'a Path>,
    pub(crate) terminal: bool,
}

/// What the mounts come to.
#[derive(Default)]
pub(crate) struct Mounts {
    /// Before the root is entered.
    pub(crate) make: Vec<Action>,
    /// Afterwards.
    pub(crate) attach: Vec<Action>,
    /// Where proc is.
    pub(crate) proc: Option<u8>,
    /// Where the devpts of `/dev/pts` is.
    pub(crate) devpts: Option<u8>,
    /// Whether something else may hold a devpts at `/dev/pts`.
    pub(crate) other_devpts: bool,
    /// File systems that are closed once all is in its place.
    close: Vec<Action>,
    next: u8,
}

/// Reads the mounts of the specification.
pub(crate) fn read(mounts: &[Mount], around: Around<'_>, warnings: &mut Vec<String>) -> Result<Mounts> {
    let devices = devices::read(around.linux.devices().as_deref().unwrap_or_default(), mounts)?;
    let mut found = Mounts { next: FIRST_FREE, ..Mounts::default() };
    for mount in mounts {
        let line = || format!("cannot mount on `{}`", mount.destination().display());
        found.add(mount, mounts, &devices, around, warnings).with_context(line)?;
    }
    if !around.namespaces.is_new(namespaces::MOUNT) {
        return Ok(found);
    }
    found.attach.extend(devices::others(devices, around.namespaces.mapping.is_some())?);
    found.attach.append(&mut found.close);
    Ok(found)
}

impl Mounts {
    fn add(
        &mut self,
        mount: &Mount,
        all: &[Mount],
        devices: &devices::Wanted,
        around: Around<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let path = paths::destination(mount.destination())?;
        let mut options = options::parse(mount.options().as_deref().unwrap_or_default())?;
        let kind = mount.typ().as_deref().unwrap_or("");
        if options.remount {
            self.attach.push(remount(path, options));
            return Ok(());
        }
        let bind = options.bind.is_some() || kind == "bind";
        check_place(&path, kind, bind)?;
        let idmap = mount_maps::read(mount, options.idmap, around.namespaces.mapping.is_some())?;
        if bind {
            self.other_devpts |= matches!(path.as_bytes(), b"/dev" | b"/dev/pts");
            return self.add_bind(mount, path, &options, idmap, around, warnings);
        }
        if matches!(kind, "cgroup" | "cgroup2") {
            self.add_cgroup(path, &options);
            return Ok(());
        }
        if kind == "devpts" {
            options.own = file_systems::mapped_options(&options.own, around.namespaces.mapping.as_ref());
        }
        file_systems::add_label(kind, around.linux.mount_label().as_deref(), &mut options)?;
        let mut file_system = file_systems::new(kind, mount.source().as_deref(), &options)?;
        let covered = all.iter().rev().take_while(|later| !std::ptr::eq(*later, mount));
        if matches!(kind, "tmpfs" | "ramfs") && !has_place(covered, &path) {
            self.close_late(&mut file_system, &path);
        }
        if kind == "tmpfs" && path.as_bytes() == b"/dev" {
            self.add_devices(file_system, path, devices, mount_points(all, around.terminal)?);
            return Ok(());
        }
        match file_systems::owner(kind) {
            Some(namespace) if idmap.is_none() => self.add_kernel(file_system, path, &options, namespace, around),
            Some(_) if kind != "tmpfs" => {
                return Err(Error::unsupported(format!("a `{kind}` cannot show its files with other ids")));
            }
            _ => {
                // What is the host's may hold nodes, which the container's root could not have made.
                if around.namespaces.mapping.is_some() && kind != "devtmpfs" {
                    file_system.attributes |= u32::try_from(NO_DEVICES).unwrap_or(0);
                }
                self.add_other(OwnFileSystem { file_system, idmap }, path, &options);
            }
        }
        Ok(())
    }

    fn add_bind(
        &mut self,
        mount: &Mount,
        path: CString,
        options: &Options,
        idmap: Option<MountMap>,
        around: Around<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let source = mount.source().as_deref().ok_or_else(|| Error::invalid("the bind has no source"))?;
        let bind = Bind::open(source, around.bundle, options, idmap, around.namespaces.mapping.is_some())?;
        if path.as_bytes() == b"/proc" && !bind.is_proc()? {
            return Err(Error::invalid("`/proc` and what is below are the kernel's"));
        }
        if !options.own.is_empty() {
            let place = path.to_string_lossy();
            warnings.push(format!("the bind on `{place}` does not take the options `{}`", options.own_words()));
        }
        let (missing, what) = (bind.missing, format!("`{}`", bind.path.display()));
        self.attach.push(Action::Receive { slot: PASSING, delivery: Delivery::Bind(bind) });
        self.attach.push(attach(PASSING, what, path, missing));
        Ok(())
    }

    /// One that the container makes itself, or, of a namespace that it does not own, the parent.
    fn add_kernel(
        &mut self,
        mut file_system: FileSystem,
        path: CString,
        options: &Options,
        namespace: u32,
        around: Around<'_>,
    ) {
        let foreign = namespace != 0 && around.namespaces.is_foreign(namespace);
        if nested::is_nested() {
            file_system.instead = file_systems::instead(&file_system.kind, around.namespaces);
        }
        let kind = file_system.kind.clone();
        let take_over = take_over(&mut file_system, &path, options);
        let (slot, early) = self.slot(namespace != 0 || &*kind == c"devpts");
        let make = match foreign {
            true => Action::Receive { slot, delivery: Delivery::Foreign(file_system) },
            false => Action::MakeFileSystem { slot, file_system },
        };
        // What the parent sends comes in the order of the steps, the root first: it is not taken early.
        let steps = if early && !foreign { &mut self.make } else { &mut self.attach };
        steps.push(make);
        match (kind.to_bytes(), path.as_bytes()) {
            (b"proc", b"/proc") if slot != PASSING => self.proc = Some(slot),
            (b"devpts", b"/dev/pts") if slot != PASSING => self.devpts = Some(slot),
            (b"devpts", b"/dev/pts") => self.other_devpts = true,
            _ => {}
        }
        self.attach.extend(take_over.map(|what| Action::TakeOver { slot, what }));
        self.attach.push(attach(slot, kind.to_string_lossy().into_owned(), path, Missing::Directory));
    }

    fn add_other(&mut self, mut own: OwnFileSystem, path: CString, options: &Options) {
        let what = own.file_system.kind.to_string_lossy().into_owned();
        let take_over = take_over(&mut own.file_system, &path, options);
        self.attach.push(Action::Receive { slot: PASSING, delivery: Delivery::FileSystem(own) });
        self.attach.extend(take_over.map(|what| Action::TakeOver { slot: PASSING, what }));
        self.attach.push(attach(PASSING, what, path, Missing::Directory));
    }

    /// A read-only file system of the container's own gets its mount points, nodes and copies first.
    fn close_late(&mut self, file_system: &mut FileSystem, path: &CString) {
        let closed = file_system.attributes & u32::try_from(READ_ONLY).unwrap_or(0);
        if closed != 0 {
            file_system.attributes &= !closed;
            let options = Options {
                bind: Some(false),
                attributes: Attributes { set: READ_ONLY, ..Attributes::default() },
                ..Options::default()
            };
            self.close.push(remount(path.clone(), options));
        }
    }

    fn add_devices(
        &mut self,
        file_system: FileSystem,
        path: CString,
        wanted: &devices::Wanted,
        points: Vec<(CString, Missing)>,
    ) {
        let devices = Devices { file_system, nodes: wanted.inside.clone(), points, links: true };
        self.attach.push(Action::Receive { slot: PASSING, delivery: Delivery::Devices(devices) });
        self.attach.push(attach(PASSING, "tmpfs with device nodes".to_owned(), path, Missing::Directory));
    }

    /// v2: the group itself. v1: a tmpfs with a directory for each hierarchy.
    fn add_cgroup(&mut self, path: CString, options: &Options) {
        let attributes = Attributes { set: u64::from(options.new_mount_attributes()), ..Attributes::default() };
        if crate::cgroup::is_unified() {
            self.attach.push(Action::Receive { slot: PASSING, delivery: Delivery::Cgroup(attributes) });
            self.attach.push(attach(PASSING, "the cgroup".to_owned(), path, Missing::Directory));
            return;
        }
        let (slot, early) = self.slot(false);
        let writable = u32::try_from(attributes.set & !READ_ONLY).unwrap_or(0);
        let file_system = file_systems::plain(c"tmpfs", b"source\0cgroup\0mode\x000755\0".to_vec(), writable);
        let steps = if early { &mut self.make } else { &mut self.attach };
        steps.push(Action::MakeFileSystem { slot, file_system });
        self.attach.push(attach(slot, "tmpfs for cgroups".to_owned(), path, Missing::Directory));
        self.attach.push(Action::AttachCgroups { slot, attributes });
    }

    /// A slot of its own, or, when there is none left, the passing one, for what is then made at the last moment. Some are
    /// left for what can be made early only.
    fn slot(&mut self, early: bool) -> (u8, bool) {
        let end = if early { SLOTS } else { SLOTS - KEPT };
        if usize::from(self.next) < end {
            self.next += 1;
            (self.next - 1, true)
        } else {
            (PASSING, false)
        }
    }
}

pub(crate) fn attach(slot: u8, what: String, path: CString, missing: Missing) -> Action {
    let strict = paths::is_strict(&path);
    Action::Attach { slot, what, target: Place { path, missing, strict } }
}

/// A tmpfs without a mode of its own has that of the directory it covers. One that is filled first is closed at last.
fn take_over(file_system: &mut FileSystem, path: &CString, options: &Options) -> Option<TakeOver> {
    if !matches!(file_system.kind.to_bytes(), b"tmpfs" | b"ramfs") || (options.has(b"mode") && !options.copy_up) {
        return None;
    }
    let closed = file_system.attributes & u32::try_from(READ_ONLY).unwrap_or(0);
    file_system.attributes &= !closed;
    Some(TakeOver {
        path: path.clone(),
        strict: paths::is_strict(path),
        mode: !options.has(b"mode"),
        contents: options.copy_up,
        attributes: u64::from(closed),
    })
}

fn remount(path: CString, options: Options) -> Action {
    let strict = paths::is_strict(&path);
    // With `bind` only the mount is meant, not its file system.
    let options_of_all = if options.bind.is_some() { Vec::new() } else { [options.whole, options.own].concat() };
    let (attributes, recursive) = (options.attributes, options.recursive);
    Action::Remount(Box::new(Remount { path, strict, options: options_of_all, attributes, recursive }))
}

/// Whether one of the mounts is at the place.
fn has_place<'a>(mut mounts: impl Iterator<Item = &'a Mount>, path: &CString) -> bool {
    mounts.any(|mount| paths::destination(mount.destination()).is_ok_and(|other| other == *path))
}

/// The root itself cannot be covered, and /proc only with proc: what is there is trusted afterwards (CVE-2019-19921).
fn check_place(path: &CString, kind: &str, bind: bool) -> Result<()> {
    if path.as_bytes() == b"/" {
        return Err(Error::invalid("the root has its file system already"));
    }
    if !paths::is_within(path, "/proc") || (path.as_bytes() == b"/proc" && (kind == "proc" || bind)) {
        return Ok(());
    }
    let below = path.as_bytes().strip_prefix(b"/proc/").unwrap_or_default();
    if bind && COVERABLE.iter().any(|name| name.as_bytes() == below) {
        return Ok(());
    }
    Err(Error::invalid("`/proc` and what is below are the kernel's"))
}

/// What will be mounted directly in `/dev`, so that its maker leaves a place for it.
fn mount_points(mounts: &[Mount], terminal: bool) -> Result<Vec<(CString, Missing)>> {
    let mut points = Vec::new();
    for mount in mounts {
        let path = paths::destination(mount.destination())?;
        // A bind may be of a file; its mount point is made when that is known.
        let bind =
            mount.typ().as_deref() == Some("bind") || mount.source().as_ref().is_some_and(|path| path.is_absolute());
        if let Some(name) = paths::entry_of(&path, "/dev")
            && !bind
            && !points.iter().any(|(known, _): &(CString, Missing)| known.as_bytes() == name)
            && let Ok(name) = CString::new(name)
        {
            points.push((name, Missing::Directory));
        }
    }
    if terminal {
        points.push((c"console".to_owned(), Missing::File));
    }
    Ok(points)
}
