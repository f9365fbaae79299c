//! What is in `/dev`: the six nodes that every program expects, links, mount points, and what was asked for.
//!
//! The parent makes the whole directory as a tmpfs of its own, before the container can see it: nodes cannot be made in a
//! user namespace, and a node made elsewhere would be the container's to replace.

use std::ffi::CString;

use failure::{Error, Result};
use init::step::Missing;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};
use rustix::fs::{Dev, FileType, makedev};

use super::action::{self, Action, Delivery, FileSystem};
use super::binds::Bind;
use super::{mounts, paths};
use crate::nested;

/// The six, as `/dev` entry, major and minor number.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links, as `/dev` entry and what it points to.
pub(crate) const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// A `/dev` to make.
#[derive(Debug)]
pub(crate) struct Devices {
    pub(crate) file_system: FileSystem,
    pub(crate) nodes: Vec<Node>,
    /// Mount points directly below.
    pub(crate) points: Vec<(CString, Missing)>,
    /// Whether it has the links.
    pub(crate) links: bool,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Below `/dev`, or below the file system that it is made in.
    pub(crate) name: CString,
    /// Directories that it needs, outermost first.
    pub(crate) directories: Vec<CString>,
    pub(crate) kind: FileType,
    pub(crate) number: Dev,
    pub(crate) mode: u32,
    /// In the container's ids.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The nodes of a container, by the place where they are made.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// In the tmpfs on `/dev`.
    pub(crate) inside: Vec<Node>,
    /// Anywhere else, with their whole path: once all is mounted.
    others: Vec<(CString, Node)>,
    /// Whether an image's own `/dev` gets the links.
    links: bool,
}

/// What is at `/dev` when all is mounted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A tmpfs that comes with its nodes.
    Own,
    /// A directory that only the container sees.
    Image,
    /// Something of the host's: it has its nodes, and none of ours may get into it.
    Host,
}

/// The six and those of the specification, which may redefine one of the six.
pub(crate) fn read(devices: &[LinuxDevice], mounts: &[Mount]) -> Result<Wanted> {
    let place = place(mounts);
    let mut wanted = Wanted { links: place == Place::Image, ..Wanted::default() };
    for (path, node) in all(devices)? {
        let below = path.as_bytes().strip_prefix(b"/dev/");
        let covered = mounts.iter().any(|mount| {
            let destination = mount.destination().to_string_lossy();
            destination != "/dev" && destination != "/" && paths::is_within(&path, destination.trim_end_matches('/'))
        });
        match (below, place) {
            (Some(_), Place::Host) if !covered => {}
            // In a user namespace the kernel makes no nodes, but named pipes.
            (Some(_), Place::Own) if !covered && (!nested::is_nested() || node.kind == FileType::Fifo) => {
                wanted.inside.push(node);
            }
            _ => wanted.others.push((path, node)),
        }
    }
    Ok(wanted)
}

/// The steps for nodes that are not in a tmpfs of ours, and for the links of an image's own `/dev`.
///
/// | root of | makes nodes by |
/// |---|---|
/// | the host, without a user namespace | mknod in the directory |
/// | the host, for a user namespace | a mount of a node that the parent made in a tmpfs apart |
/// | a user namespace | a mount of the host's node, which must be the one that is asked for |
pub(crate) fn others(wanted: Wanted, mapped: bool) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    let (pipes, nodes): (Vec<_>, Vec<_>) = wanted
        .others
        .into_iter()
        .partition(|(_, node)| node.kind == FileType::Fifo || (!mapped && !nested::is_nested()));
    for (path, node) in pipes {
        actions.push(Action::MakeDevice { place: entry(path)?, node });
    }
    if nested::is_nested() {
        for (path, node) in nodes {
            let bind = Bind::of_device(&path, node.kind, node.number)?;
            let (what, missing) = (format!("`{}`", bind.path.display()), bind.missing);
            actions.push(Action::Receive { slot: mounts::PASSING, delivery: Delivery::Bind(bind) });
            actions.push(mounts::attach(mounts::PASSING, what, path, missing));
        }
    } else if !nodes.is_empty() {
        attach_nodes(&mut actions, nodes)?;
    }
    if wanted.links {
        for (name, points_to) in LINKS {
            let place = entry(paths::c_string(&format!("/dev/{name}"))?)?;
            // An image's own ptmx may be the host's.
            let (points_to, replace) = (paths::c_string(points_to)?, name == "ptmx");
            actions.push(Action::MakeLink { place, points_to, replace });
        }
    }
    Ok(actions)
}

fn attach_nodes(actions: &mut Vec<Action>, nodes: Vec<(CString, Node)>) -> Result<()> {
    let options = b"mode\x000755\0".to_vec();
    let file_system = super::file_systems::plain(c"tmpfs", options, 0);
    let mut devices = Devices { file_system, nodes: Vec::new(), points: Vec::new(), links: false };
    let mut attach = Vec::new();
    for (number, (path, mut node)) in nodes.into_iter().enumerate() {
        node.name = paths::c_string(&number.to_string())?;
        node.directories.clear();
        let missing = Missing::Device { kind: node.kind, number: node.number };
        let target = action::Place { strict: paths::is_strict(&path), path, missing };
        let (name, what) = (node.name.clone(), "a device node".to_owned());
        attach.push(Action::AttachEntry { slot: mounts::NODES, name, what, target });
        devices.nodes.push(node);
    }
    actions.push(Action::Receive { slot: mounts::NODES, delivery: Delivery::Devices(devices) });
    actions.extend(attach);
    actions.push(Action::PutMaskAway { slot: mounts::NODES });
    Ok(())
}

fn entry(path: CString) -> Result<action::Entry> {
    let shown = path.to_string_lossy().into_owned();
    action::Entry::new(path).ok_or_else(|| Error::invalid(format!("`{shown}` cannot be a device")))
}

fn place(mounts: &[Mount]) -> Place {
    let at_dev = mounts.iter().rfind(|mount| {
        paths::destination(mount.destination()).is_ok_and(|path| path.as_bytes() == b"/dev")
            && !has_option(mount, &["remount"])
    });
    match at_dev {
        None => Place::Image,
        Some(mount) if has_option(mount, &["bind", "rbind"]) => Place::Host,
        Some(mount) => match mount.typ().as_deref() {
            Some("tmpfs") => Place::Own,
            Some("ramfs") => Place::Image,
            _ => Place::Host,
        },
    }
}

fn has_option(mount: &Mount, names: &[&str]) -> bool {
    mount.options().iter().flatten().any(|option| names.contains(&option.as_str()))
}

/// Every node with its path.
fn all(devices: &[LinuxDevice]) -> Result<Vec<(CString, Node)>> {
    let mut nodes: Vec<(CString, Node)> = Vec::with_capacity(devices.len() + NODES.len());
    for device in devices {
        let Some((path, node)) = node(device)? else { continue };
        match nodes.iter().find(|(known, _)| *known == path) {
            None => nodes.push((path, node)),
            Some((_, known)) if *known == node => {}
            Some(_) => {
                return Err(Error::invalid(format!("the device `{}` is given twice", path.to_string_lossy())));
            }
        }
    }
    for (name, major, minor) in NODES {
        let path = paths::c_string(&format!("/dev/{name}"))?;
        if !nodes.iter().any(|(known, _)| *known == path) {
            let node = Node {
                name: paths::c_string(name)?,
                directories: Vec::new(),
                kind: FileType::CharacterDevice,
                number: makedev(major, minor),
                mode: 0o666,
                uid: 0,
                gid: 0,
            };
            nodes.push((path, node));
        }
    }
    Ok(nodes)
}

/// None: one that every container has, of its own devpts.
fn node(device: &LinuxDevice) -> Result<Option<(CString, Node)>> {
    let path = paths::plain(device.path())?;
    let refuse = |reason: &str| Error::invalid(format!("the device `{}` {reason}", path.to_string_lossy()));
    let below = path.as_bytes().strip_prefix(b"/dev/").unwrap_or_default();
    let (first, _) = split_first(below);
    if below == b"ptmx" {
        return Ok(None);
    }
    if LINKS.iter().any(|(link, _)| link.as_bytes() == first) || first == b"pts" {
        return Err(refuse("is in the place of an entry that every container has"));
    }
    if matches!(path.as_bytes(), b"/" | b"/dev") || paths::is_within(&path, "/proc") {
        return Err(refuse("is in the place of a file system"));
    }
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(refuse("has the type `a`, which only rules can have")),
    };
    let part = |number: i64| u32::try_from(number).map_err(|_| refuse("has a device number out of range"));
    let node = Node {
        name: CString::new(below).map_err(|_| refuse("holds a zero byte"))?,
        directories: parents(below),
        kind,
        number: if kind == FileType::Fifo { 0 } else { makedev(part(device.major())?, part(device.minor())?) },
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    };
    Ok(Some((path, node)))
}

fn split_first(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..)),
        None => (path, None),
    }
}

/// `a` and `a/b` for `a/b/c`.
fn parents(path: &[u8]) -> Vec<CString> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    slashes.filter_map(|slash| CString::new(path.get(..slash)?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxDeviceBuilder;

    fn device(path: &str) -> LinuxDevice {
        LinuxDeviceBuilder::default().path(path).typ(LinuxDeviceType::C).major(10).minor(229).build().unwrap()
    }

    fn mounts(text: &str) -> Vec<Mount> {
        serde_json::from_str(text).unwrap()
    }

    const OWN: &str = r#"[{"destination": "/dev", "type": "tmpfs"}]"#;

    #[test]
    fn the_six_are_there_and_can_be_redefined() {
        let count = |devices: &[LinuxDevice]| read(devices, &mounts(OWN)).unwrap().inside.len();
        assert_eq!(count(&[]), 6);
        assert_eq!(count(&[device("/dev/fuse")]), 7);
        assert_eq!(count(&[device("/dev/null")]), 6);
        assert_eq!(count(&[device("/dev/ptmx")]), 6);
        assert_eq!(count(&[device("/dev/a"), device("/dev/a")]), 7);
    }

    #[test]
    fn nodes_in_directories_bring_them() {
        let wanted = read(&[device("/dev/snd/by/one")], &mounts(OWN)).unwrap();
        assert_eq!(wanted.inside[0].directories, [c"snd".to_owned(), c"snd/by".to_owned()]);
    }

    #[test]
    fn what_is_at_dev_decides_who_makes_nodes() {
        let placed = |text: &str| {
            let wanted = read(&[device("/dev/fuse"), device("/opt/fuse")], &mounts(text)).unwrap();
            (wanted.inside.len(), wanted.others.len(), wanted.links)
        };
        assert_eq!(placed(OWN), (7, 1, false));
        assert_eq!(placed("[]"), (0, 8, true));
        assert_eq!(placed(r#"[{"destination": "/dev", "type": "bind", "source": "/dev"}]"#), (0, 1, false));
        let covered = r#"[{"destination": "/dev", "type": "tmpfs"}, {"destination": "/opt", "type": "tmpfs"}]"#;
        assert_eq!(placed(covered), (7, 1, false));
    }

    #[test]
    fn an_image_gets_nodes_and_links_one_by_one() {
        let actions = others(read(&[], &[]).unwrap(), false).unwrap();
        assert_eq!(actions.iter().filter(|action| matches!(action, Action::MakeDevice { .. })).count(), 6);
        assert_eq!(actions.iter().filter(|action| matches!(action, Action::MakeLink { .. })).count(), 6);
        let actions = others(read(&[], &[]).unwrap(), true).unwrap();
        assert_eq!(actions.iter().filter(|action| matches!(action, Action::AttachEntry { .. })).count(), 6);
    }

    #[test]
    fn nodes_out_of_place_are_refused() {
        for path in ["/dev", "/proc/x", "/", "/dev/fd/3", "/dev/pts/1"] {
            assert!(read(&[device(path)], &[]).is_err(), "{path}");
        }
        let other = LinuxDeviceBuilder::default().path("/dev/a").typ(LinuxDeviceType::P).build().unwrap();
        assert!(read(&[device("/dev/a"), other], &[]).is_err());
    }
}
