//! The mounts of the specification: who makes each, how, and in which slot it waits.
//!
//! | type                    | made by | when                                                        |
//! |-------------------------|---------|-------------------------------------------------------------|
//! | proc, sysfs             | child   | before the root is entered: the kernel wants to see the host's own |
//! | mqueue, devpts, tmpfs   | child   | then too, while the parent mounts the root                  |
//! | the same, of a namespace that is not the container's | parent | right after clone3             |
//! | tmpfs on /dev, binds    | parent  | sent in order, attached at once                             |
//! | cgroup                  | parent  | a mount of the container's own group in each hierarchy      |

use std::ffi::{CStr, CString};

use failure::{Context as _, Error, Result};
use init::step::{Missing, SLOTS};
use oci_spec::runtime::{Linux, Mount};

use super::action::{Action, Delivery, FileSystem, Place};
use super::binds::Bind;
use super::devices::{self, Devices};
use super::namespaces::{self, Namespaces};
use super::options::{self, Options};
use super::paths;

/// For a mount that is attached as soon as it is there.
pub(crate) const PASSING: u8 = 0;
/// For the root.
pub(crate) const ROOT: u8 = 1;
/// For the cover of masked paths.
pub(crate) const MASK: u8 = 2;
const FIRST_FREE: u8 = 3;

/// Files of /proc that may be covered by a bind: what shows a container its own limits.
const COVERABLE: [&str; 9] =
    ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "sys/kernel/ns_last_pid"];

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
    /// Whether `/dev` is the parent's.
    pub(crate) own_devices: bool,
    next: u8,
}

/// Reads the mounts of the specification.
pub(crate) fn read(mounts: &[Mount], linux: &Linux, namespaces: &Namespaces, terminal: bool) -> Result<Mounts> {
    let mut found = Mounts { next: FIRST_FREE, ..Mounts::default() };
    for mount in mounts {
        let line = || format!("cannot mount on `{}`", mount.destination().display());
        found.add(mount, mounts, linux, namespaces, terminal).with_context(line)?;
    }
    if !found.own_devices && linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return Err(Error::unsupported("devices need a tmpfs on `/dev`; add it to the mounts"));
    }
    Ok(found)
}

impl Mounts {
    fn add(
        &mut self,
        mount: &Mount,
        all: &[Mount],
        linux: &Linux,
        namespaces: &Namespaces,
        terminal: bool,
    ) -> Result<()> {
        let path = paths::plain(mount.destination())?;
        let options = options::parse(mount.options().as_deref().unwrap_or_default())?;
        let kind = mount.typ().as_deref().unwrap_or("none");
        let bind = options.bind.is_some() || kind == "bind";
        check_place(&path, kind, bind)?;
        if bind {
            return self.add_bind(mount, path, &options, namespaces);
        }
        match kind {
            "proc" => self.add_kernel(c"proc", path, &options, namespaces.is_foreign(namespaces::PID)),
            "sysfs" => self.add_kernel(c"sysfs", path, &options, namespaces.is_foreign(namespaces::NETWORK)),
            "mqueue" => self.add_kernel(c"mqueue", path, &options, namespaces.is_foreign(namespaces::IPC)),
            "devpts" => self.add_kernel(c"devpts", path, &options, false),
            "tmpfs" if path.as_bytes() == b"/dev" => {
                let devices = linux.devices().as_deref().unwrap_or_default();
                self.add_devices(path, &options, devices::nodes(devices)?, mount_points(all, terminal)?)
            }
            "tmpfs" => self.add_kernel(c"tmpfs", path, &options, false),
            "cgroup" | "cgroup2" => self.add_cgroup(path, &options),
            _ => {
                return Err(Error::unsupported(format!(
                    "file systems of type `{kind}` are not supported; bind it instead"
                )));
            }
        }
        Ok(())
    }

    fn add_bind(&mut self, mount: &Mount, path: CString, options: &Options, namespaces: &Namespaces) -> Result<()> {
        let source = mount.source().as_deref().ok_or_else(|| Error::invalid("the bind has no source"))?;
        let bind = Bind::open(source, options, namespaces.mapping.is_some())?;
        let (missing, what) = (bind.missing, format!("`{}`", bind.path.display()));
        self.attach.push(Action::Receive { slot: PASSING, delivery: Delivery::Bind(bind) });
        self.attach.push(attach(PASSING, what, path, missing));
        Ok(())
    }

    fn add_kernel(&mut self, kind: &CStr, path: CString, options: &Options, foreign: bool) {
        let (slot, early) = self.slot();
        let attributes = options.new_mount_attributes();
        let file_system = FileSystem { kind: kind.to_owned(), options: options.own.clone(), attributes };
        let make = match foreign {
            true => Action::Receive { slot, delivery: Delivery::Foreign(file_system) },
            false => Action::MakeFileSystem { slot, file_system },
        };
        // What the parent sends comes in the order of the steps, the root first: it is not taken early.
        let steps = if early && !foreign { &mut self.make } else { &mut self.attach };
        steps.push(make);
        match (kind.to_bytes(), path.as_bytes()) {
            (b"proc", b"/proc") => self.proc = Some(slot),
            (b"devpts", b"/dev/pts") => self.devpts = Some(slot),
            _ => {}
        }
        self.attach.push(attach(slot, kind.to_string_lossy().into_owned(), path, Missing::Directory));
    }

    fn add_devices(
        &mut self,
        path: CString,
        options: &Options,
        nodes: Vec<devices::Node>,
        points: Vec<(CString, Missing)>,
    ) {
        let attributes = options.new_mount_attributes();
        let file_system = FileSystem { kind: c"tmpfs".to_owned(), options: options.own.clone(), attributes };
        let devices = Devices { file_system, nodes, points };
        self.own_devices = true;
        self.attach.push(Action::Receive { slot: PASSING, delivery: Delivery::Devices(devices) });
        self.attach.push(attach(PASSING, "tmpfs with device nodes".to_owned(), path, Missing::Directory));
    }

    /// v2: the group itself. v1: a tmpfs with a directory for each hierarchy.
    fn add_cgroup(&mut self, path: CString, options: &Options) {
        let attributes =
            sys::mount::Attributes { set: u64::from(options.new_mount_attributes()), ..Default::default() };
        if crate::cgroup::is_unified() {
            self.attach.push(Action::Receive { slot: PASSING, delivery: Delivery::Cgroup(attributes) });
            self.attach.push(attach(PASSING, "the cgroup".to_owned(), path, Missing::Directory));
            return;
        }
        let (slot, early) = self.slot();
        let writable = attributes.set & !sys::mount::READ_ONLY;
        let file_system = FileSystem {
            kind: c"tmpfs".to_owned(),
            options: b"mode\x000755\0".to_vec(),
            attributes: u32::try_from(writable).unwrap_or(0),
        };
        let steps = if early { &mut self.make } else { &mut self.attach };
        steps.push(Action::MakeFileSystem { slot, file_system });
        self.attach.push(attach(slot, "tmpfs for cgroups".to_owned(), path, Missing::Directory));
        self.attach.push(Action::AttachCgroups { slot, attributes });
    }

    /// A slot of its own, or, when there is none left, the passing one, for what is then made at the last moment.
    fn slot(&mut self) -> (u8, bool) {
        if usize::from(self.next) < SLOTS {
            self.next += 1;
            (self.next - 1, true)
        } else {
            (PASSING, false)
        }
    }
}

fn attach(slot: u8, what: String, path: CString, missing: Missing) -> Action {
    let strict = ["/proc", "/sys", "/dev"].iter().any(|directory| paths::is_within(&path, directory));
    Action::Attach { slot, what, target: Place { path, missing, strict } }
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
        let path = paths::plain(mount.destination())?;
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
