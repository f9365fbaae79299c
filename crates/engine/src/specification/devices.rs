//! Device nodes, and the rules of the device cgroup.
//!
//! The usual nodes (null, zero, full, random, urandom, tty) are the runtime's. Here are those of `--device`, and with
//! `--privileged` all of the host's. The rules hold with a user namespace too: no node can be made in one, but an image
//! may bring some.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::config::ContainerConfig;
use crate::request::Device;

/// Below /dev, but no devices of the machine, or the container's own.
const NOT_THE_HOSTS: [&str; 9] = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev", "hugepages"];
/// What every container has from the runtime.
const USUAL: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "core"];
/// How deep directories of devices are searched.
const DEPTH: usize = 4;

/// The nodes that the container has beside the usual ones.
pub(super) fn devices(config: &ContainerConfig) -> Result<Vec<LinuxDevice>> {
    let mut list = Vec::new();
    if config.security.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), DEPTH, &mut list);
        let usual = |path: &Path| USUAL.iter().any(|name| path == Path::new("/dev").join(name));
        list.retain(|device| !usual(device.path()));
    }
    for device in &config.security.devices {
        list.extend(asked_for(device)?);
    }
    Ok(list)
}

/// The rules: Docker's defaults, and the asked-for nodes.
pub(super) fn rules(config: &ContainerConfig) -> Result<Vec<LinuxDeviceCgroup>> {
    if config.security.privileged {
        return Ok(vec![rule(true, LinuxDeviceType::A, None, None, "rwm")]);
    }
    let mut list = vec![rule(false, LinuxDeviceType::A, None, None, "rwm")];
    list.push(rule(true, LinuxDeviceType::C, None, None, "m"));
    list.push(rule(true, LinuxDeviceType::B, None, None, "m"));
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        list.push(rule(true, LinuxDeviceType::C, Some(major), Some(minor), "rwm"));
    }
    list.push(rule(true, LinuxDeviceType::C, Some(136), None, "rwm"));
    for device in &config.security.devices {
        for node in asked_for(device)? {
            list.push(rule(true, node.typ(), Some(node.major()), Some(node.minor()), &device.permissions));
        }
    }
    for text in &config.security.device_cgroup_rules {
        list.push(parse_rule(text)?);
    }
    Ok(list)
}

fn asked_for(device: &Device) -> Result<Vec<LinuxDevice>> {
    let unusable = || format!("`--device {}`", device.host.display());
    let metadata = fs::metadata(&device.host).with_context(unusable)?;
    let mut list = Vec::new();
    if metadata.is_dir() {
        collect(&device.host, Path::new(&device.container), DEPTH, &mut list);
    } else {
        list.extend(node(&metadata, PathBuf::from(&device.container)));
    }
    if list.is_empty() {
        return Err(Error::invalid(format!("{} is no device; name a device node or a directory of them", unusable())));
    }
    Ok(list)
}

/// All nodes of a directory of the host, as they are to be called in the container.
fn collect(directory: &Path, target: &Path, depth: usize, list: &mut Vec<LinuxDevice>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if NOT_THE_HOSTS.iter().any(|other| name.as_os_str() == *other) {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        if metadata.is_dir() && depth > 0 {
            collect(&entry.path(), &target.join(&name), depth - 1, list);
        } else {
            list.extend(node(&metadata, target.join(&name)));
        }
    }
}

fn node(metadata: &fs::Metadata, path: PathBuf) -> Option<LinuxDevice> {
    let kind = metadata.file_type();
    let kind = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => LinuxDeviceType::C,
        (_, true) => LinuxDeviceType::B,
        _ => return None,
    };
    let mut device = LinuxDevice::default();
    device.set_path(path);
    device.set_typ(kind);
    device.set_major(i64::from(rustix::fs::major(metadata.rdev())));
    device.set_minor(i64::from(rustix::fs::minor(metadata.rdev())));
    device.set_file_mode(Some(metadata.mode() & 0o7777));
    device.set_uid(Some(0));
    device.set_gid(Some(0));
    Some(device)
}

/// `c 1:3 rwm`, with `*` for any number.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || Error::invalid(format!("`--device-cgroup-rule {text}` is not like `c 1:3 rwm`"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let &[kind, numbers, access] = words.as_slice() else { return Err(wrong()) };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| wrong()),
    };
    if access.is_empty() || !access.bytes().all(|letter| matches!(letter, b'r' | b'w' | b'm')) {
        return Err(wrong());
    }
    Ok(rule(true, kind, number(major)?, number(minor)?, access))
}

fn rule(allow: bool, kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow);
    rule.set_typ(Some(kind));
    rule.set_major(major);
    rule.set_minor(minor);
    rule.set_access(Some(access.to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = parse_rule("c 10:* rw").unwrap();
        assert_eq!((rule.typ(), rule.major(), rule.minor()), (Some(LinuxDeviceType::C), Some(10), None));
        for bad in ["", "c 1:3", "x 1:3 r", "c 1 r", "c a:b r", "c 1:3 q"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_device_of_the_host_is_described() {
        let device = Device { host: "/dev/null".into(), container: "/dev/nothing".into(), permissions: "rw".into() };
        let nodes = asked_for(&device).unwrap();
        assert_eq!((nodes[0].major(), nodes[0].minor()), (1, 3));
        assert_eq!(nodes[0].path(), Path::new("/dev/nothing"));
        let file = Device { host: "/etc/passwd".into(), ..device };
        assert!(asked_for(&file).is_err());
    }
}
