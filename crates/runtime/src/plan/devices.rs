//! What is in `/dev`: the six nodes that every program expects, links, mount points, and what was asked for.
//!
//! The parent makes the whole directory as a tmpfs of its own, before the container can see it: nodes cannot be made in a
//! user namespace, and a node made elsewhere would be the container's to replace.

use std::ffi::CString;

use failure::{Error, Result};
use init::step::Missing;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{Dev, FileType, makedev};

use super::action::FileSystem;
use super::paths;

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
}

/// A device node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Below `/dev`.
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

/// The six and those of the specification, which may redefine one of the six.
pub(crate) fn nodes(wanted: &[LinuxDevice]) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = wanted.iter().map(node).collect::<Result<_>>()?;
    for (index, node) in nodes.iter().enumerate() {
        if nodes.iter().take(index).any(|earlier| earlier.name == node.name) {
            return Err(Error::invalid(format!("the device `/dev/{}` is given twice", node.name.to_string_lossy())));
        }
    }
    for (name, major, minor) in NODES {
        if !nodes.iter().any(|node| node.name.as_bytes() == name.as_bytes()) {
            nodes.push(Node {
                name: paths::c_string(name)?,
                directories: Vec::new(),
                kind: FileType::CharacterDevice,
                number: makedev(major, minor),
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    Ok(nodes)
}

fn node(device: &LinuxDevice) -> Result<Node> {
    let path = paths::plain(device.path())?;
    let refuse = |reason: &str| Error::invalid(format!("the device `{}` {reason}", path.to_string_lossy()));
    let below = path.as_bytes().strip_prefix(b"/dev/").ok_or_else(|| refuse("is not below `/dev`"))?;
    let (first, _) = split_first(below);
    if LINKS.iter().any(|(link, _)| link.as_bytes() == first)
        || matches!(first, b"pts" | b"shm" | b"mqueue" | b"console")
    {
        return Err(refuse("is in the place of an entry that every container has"));
    }
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(refuse("has the type `a`, which only rules can have")),
    };
    let part = |number: i64| u32::try_from(number).map_err(|_| refuse("has a device number out of range"));
    Ok(Node {
        name: CString::new(below).map_err(|_| refuse("holds a zero byte"))?,
        directories: parents(below),
        kind,
        number: if kind == FileType::Fifo { 0 } else { makedev(part(device.major())?, part(device.minor())?) },
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
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

    #[test]
    fn the_six_are_there_and_can_be_redefined() {
        assert_eq!(nodes(&[]).unwrap().len(), 6);
        assert_eq!(nodes(&[device("/dev/fuse")]).unwrap().len(), 7);
        assert_eq!(nodes(&[device("/dev/null")]).unwrap().len(), 6);
    }

    #[test]
    fn nodes_in_directories_bring_them() {
        let nodes = nodes(&[device("/dev/snd/by/one")]).unwrap();
        assert_eq!(nodes[0].directories, [CString::new("snd").unwrap(), CString::new("snd/by").unwrap()]);
    }

    #[test]
    fn nodes_out_of_place_are_refused() {
        for path in ["/etc/x", "/dev", "/dev/../etc/x", "/dev/fd/3", "/dev/console"] {
            assert!(nodes(&[device(path)]).is_err(), "{path}");
        }
        assert!(nodes(&[device("/dev/a"), device("/dev/a")]).is_err());
    }
}
