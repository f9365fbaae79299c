//! What is mounted in a container: Docker's defaults, its files in /etc, its volumes.

use std::path::{Path, PathBuf};

use failure::{Error, Result};
use oci_spec::runtime::Mount as SpecMount;

use crate::config::{ConfigMount, ContainerConfig};
use crate::request::{Mount, MountSource, NamespaceMode};
use crate::{Home, etc_files, volumes};

/// Bytes of /dev/shm when nothing else was asked for.
const SHM_SIZE: u64 = 64 << 20;

/// All mounts in the order of mounting.
pub(super) fn mounts(home: &Home, config: &ContainerConfig) -> Result<Vec<SpecMount>> {
    let taken = |target: &str| config.mounts.iter().any(|entry| entry.mount.target == target);
    let mut list = Vec::with_capacity(10 + config.mounts.len());
    for mount in system(config) {
        if !mount.destination().to_str().is_some_and(taken) {
            list.push(mount);
        }
    }
    for name in etc_files::NAMES {
        let target = format!("/etc/{name}");
        if !taken(&target) {
            let source = etc_files::path(home, config, name);
            list.push(bind(config, &source, &target, vec!["rbind".into(), "rprivate".into()]));
        }
    }
    for entry in &config.mounts {
        list.push(own(home, config, entry)?);
    }
    Ok(list)
}

/// /proc, /dev, /sys and what is in them.
fn system(config: &ContainerConfig) -> Vec<SpecMount> {
    let writable = config.security.privileged;
    let access = if writable { "rw" } else { "ro" };
    let size = format!("size={}", config.shm_size.unwrap_or(SHM_SIZE));
    let mut list = vec![
        kernel("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        kernel("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        kernel(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        kernel("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", access]),
        kernel("cgroup", "cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", access]),
        kernel("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    list.push(match &config.namespaces.ipc {
        NamespaceMode::Host => bind(config, Path::new("/dev/shm"), "/dev/shm", vec!["bind".into(), "rprivate".into()]),
        _ => kernel("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]),
    });
    list
}

/// A mount of the container's own: volume, directory, memory.
fn own(home: &Home, config: &ContainerConfig, entry: &ConfigMount) -> Result<SpecMount> {
    let mount = &entry.mount;
    match &mount.source {
        MountSource::Bind { path, .. } => Ok(bind(config, path, &mount.target, bind_options(mount))),
        MountSource::Volume(_) | MountSource::Anonymous => {
            let name = entry
                .volume
                .as_deref()
                .ok_or_else(|| Error::internal(format!("the volume at `{}` has no name", mount.target)))?;
            Ok(bind(config, &volumes::data(home, name), &mount.target, bind_options(mount)))
        }
        MountSource::Tmpfs { size, mode, options } => {
            let mut all: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
            for option in options {
                // An option that lifts one of the defaults takes its place.
                all.retain(|default| *option != default.replacen("no", "", 1));
                all.push(option.clone());
            }
            all.extend(size.map(|size| format!("size={size}")));
            all.extend(mode.map(|mode| format!("mode={mode:o}")));
            all.extend(mount.read_only.then(|| "ro".to_owned()));
            Ok(of("tmpfs", Path::new("tmpfs"), &mount.target, all))
        }
    }
}

fn bind_options(mount: &Mount) -> Vec<String> {
    let recursive = if mount.non_recursive { "bind" } else { "rbind" };
    let propagation = mount.propagation.as_deref().unwrap_or("rprivate");
    let access = if mount.read_only { "ro" } else { "rw" };
    vec![recursive.to_owned(), propagation.to_owned(), access.to_owned()]
}

/// A bind of a path of the host. Where the container has a user namespace its ids are mapped as the root's are: files
/// keep the ids that they have on disk.
fn bind(config: &ContainerConfig, source: &Path, target: &str, mut options: Vec<String>) -> SpecMount {
    if config.has_user_namespace() {
        let recursive = options.iter().any(|option| option == "rbind");
        options.push(if recursive { "ridmap" } else { "idmap" }.to_owned());
    }
    of("bind", source, target, options)
}

fn kernel(kind: &str, source: &str, target: &str, options: &[&str]) -> SpecMount {
    of(kind, Path::new(source), target, options.iter().map(|option| (*option).to_owned()).collect())
}

fn of(kind: &str, source: &Path, target: &str, options: Vec<String>) -> SpecMount {
    let mut mount = SpecMount::default();
    mount.set_destination(PathBuf::from(target));
    mount.set_typ(Some(kind.to_owned()));
    mount.set_source(Some(source.to_owned()));
    mount.set_options(Some(options));
    mount
}
