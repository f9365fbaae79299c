//! File systems by their type: what the kernel is told to make them, and whose right it is to make them.
//!
//! A new mount is `fsopen(type)`, `source`, the options in their order, and the attributes of the mount. What is not in the tables
//! here is made by the host's root with the options as they are, whatever type the kernel knows.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use failure::{Error, Result};
use sys::mount::READ_ONLY;

use super::action::FileSystem;
use super::id_maps::IdMaps;
use super::namespaces::{self, Namespaces};
use super::options::{self, Options};
use super::paths;

/// Types that the root of a user namespace makes for itself, with the namespace that each shows; 0: none.
const OWNERS: [(&str, u32); 7] = [
    ("proc", namespaces::PID),
    ("sysfs", namespaces::NETWORK),
    ("mqueue", namespaces::IPC),
    ("devpts", 0),
    ("tmpfs", 0),
    ("ramfs", 0),
    ("binfmt_misc", 0),
];

/// Those that can be copied from the host, and from where.
const COPIES: [(&CStr, u32, &CStr); 3] =
    [(c"proc", namespaces::PID, c"/proc"), (c"sysfs", 0, c"/sys"), (c"mqueue", namespaces::IPC, c"/dev/mqueue")];

/// Types that have a label of their own, or none.
const UNLABELED: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// The namespace of a type that the container makes itself.
pub(crate) fn owner(kind: &str) -> Option<u32> {
    OWNERS.iter().find(|(name, _)| *name == kind).map(|(_, namespace)| *namespace)
}

/// The host's place to copy, unless it would show a namespace that is not the container's.
pub(crate) fn instead(kind: &CStr, namespaces: &Namespaces) -> Option<CString> {
    let (_, namespace, place) = COPIES.iter().find(|(name, ..)| *name == kind)?;
    (*namespace == 0 || !namespaces.is_private(*namespace)).then(|| (*place).to_owned())
}

/// What the kernel is told for a mount of the specification.
///
/// # Errors
/// The type cannot be one.
pub(crate) fn new(kind: &str, source: Option<&Path>, options: &Options) -> Result<FileSystem> {
    if kind.is_empty() || kind == "none" {
        return Err(Error::invalid("the mount has no type, and is no bind; give it a `type`, or the option `bind`"));
    }
    let mut run = Vec::new();
    if let Some(source) = source.filter(|source| !source.as_os_str().is_empty()) {
        if source.as_os_str().as_bytes().contains(&0) {
            return Err(Error::invalid("the source of the mount holds a zero byte"));
        }
        options::push(&mut run, b"source", source.as_os_str().as_bytes());
    }
    // A device that cannot be written can be mounted only so; what has no device may have other mounts that can be written.
    if u64::from(options.new_mount_attributes()) & READ_ONLY != 0 && owner(kind).is_none() && !is_virtual(kind) {
        options::push(&mut run, b"ro", b"");
    }
    run.extend_from_slice(&options.whole);
    run.extend_from_slice(&options.own);
    let mut file_system = plain(c"", run, options.new_mount_attributes());
    file_system.kind = paths::c_string(kind)?;
    file_system.propagation = options.new_mount_propagation();
    Ok(file_system)
}

/// One with these options and nothing else.
pub(crate) fn plain(kind: &CStr, options: Vec<u8>, attributes: u32) -> FileSystem {
    FileSystem { kind: kind.to_owned(), options, attributes, propagation: 0, instead: None }
}

/// The options without ids that the container's user namespace does not have: a devpts whose `gid=5` nobody has keeps the
/// group that opens a terminal.
pub(crate) fn mapped_options(run: &[u8], maps: Option<&IdMaps>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(run.len());
    for (name, value) in init::step::pairs(run) {
        let id = value.to_str().ok().and_then(|value| value.parse().ok());
        let mapped = match (name.to_bytes(), id, maps) {
            (b"gid", Some(id), Some(maps)) => maps.host_group(id).is_some(),
            (b"uid", Some(id), Some(maps)) => maps.host_user(id).is_some(),
            (b"gid", Some(id), None) => crate::nested::has_group(id),
            _ => true,
        };
        if mapped {
            options::push(&mut kept, name.to_bytes(), value.to_bytes());
        }
    }
    kept
}

/// Labels the files of a new file system, where files have labels.
///
/// # Errors
/// This kernel has no SELinux.
pub(crate) fn add_label(kind: &str, label: Option<&str>, options: &mut Options) -> Result<()> {
    let Some(label) = label.filter(|label| !label.is_empty()) else { return Ok(()) };
    if UNLABELED.contains(&kind) || options.has(b"context") {
        return Ok(());
    }
    if !Path::new("/sys/fs/selinux").exists() {
        return Err(Error::unsupported(format!("the mount label `{label}` needs SELinux, which this kernel lacks")));
    }
    let label = paths::c_string(label)?;
    options::push(&mut options.own, b"context", label.as_bytes());
    Ok(())
}

/// Whether the kernel's list says that the type has no device; one that is not loaded yet may have one.
fn is_virtual(kind: &str) -> bool {
    let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    list.lines().any(|line| line.strip_prefix("nodev").is_some_and(|name| name.trim() == kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, source: &str, words: &str) -> Vec<String> {
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        let made = new(kind, Some(Path::new(source)), &options::parse(&words).unwrap()).unwrap();
        made.options().map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_kernel_is_told_the_source_and_the_options() {
        assert_eq!(told("tmpfs", "shm", "ro,nosuid,sync,size=4k"), ["source=shm", "sync=", "size=4k"]);
        assert_eq!(told("ext4", "/dev/x", "ro,data=ordered"), ["source=/dev/x", "ro=", "data=ordered"]);
        assert!(new("", None, &Options::default()).is_err());
    }

    #[test]
    fn labels_need_selinux() {
        let mut options = Options::default();
        assert!(add_label("proc", Some("system_u:object_r:x"), &mut options).is_ok());
        assert!(add_label("tmpfs", None, &mut options).is_ok());
        assert!(options.own.is_empty());
        if !Path::new("/sys/fs/selinux").exists() {
            assert!(add_label("tmpfs", Some("system_u:object_r:x"), &mut options).is_err());
        }
    }
}
