//! What a container shows that is not its own: CRIU leaves it out of a checkpoint, and is told its place when it restores.
//!
//! ```text
//!   bind mounts               mnt[/data]         <source of the bundle>
//!   the control group         mnt[/sys/fs/cgroup/memory]   the directory of the group in each hierarchy
//!   masked paths              mnt[/proc/keys]    an empty file or directory made for it
//!   network, pid by path      net[4026531840]    the namespace that the bundle names, as a descriptor
//! ```
//! Both sides are made from a specification and the host, never from the checkpoint: a place that the bundle does not name
//! has no source, and CRIU refuses it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use runtime::cgroup::Cgroup;
use rustix::fs::{Mode, OFlags};

use super::message::Message;
use super::{descriptors, stage};

/// A mount of the container whose source is the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct External {
    /// Where it is in the container, as the kernel names it.
    pub(super) path: String,
    /// What is there.
    pub(super) source: Source,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A place of the host.
    Host(PathBuf),
    /// Nothing: the path is masked.
    Mask,
}

/// All mounts that may be external, by the specification; `group` is the container's.
pub(super) fn mounts(spec: &Spec, bundle: &Path, group: &Cgroup) -> Result<Vec<External>> {
    let mut found = Vec::new();
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        let path = plain(mount.destination())?;
        match mount.typ().as_deref().unwrap_or_default() {
            "cgroup" | "cgroup2" => found.extend(hierarchies(&path, group)),
            kind if kind == "bind" || is_bind(mount) => {
                let source = mount.source().as_deref().ok_or_else(|| Error::invalid("a bind has no source"))?;
                found.push(External { path, source: Source::Host(bundle.join(source)) });
            }
            _ => {}
        }
    }
    let masked = spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_deref());
    for path in masked.unwrap_or_default() {
        found.push(External { path: plain(Path::new(path))?, source: Source::Mask });
    }
    Ok(found)
}

fn is_bind(mount: &Mount) -> bool {
    mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind")
}

/// v2: the group. v1: a mount for each hierarchy, named as the host names it.
fn hierarchies(path: &str, group: &Cgroup) -> Vec<External> {
    let mut found: Vec<External> = Vec::new();
    for (controller, directory) in group.directories() {
        let below = Path::new(directory).strip_prefix("/sys/fs/cgroup").ok();
        let hierarchy = below.and_then(|below| below.components().next());
        let path = match hierarchy {
            Some(hierarchy) if !controller.is_empty() => format!("{path}/{}", hierarchy.as_os_str().to_string_lossy()),
            _ => path.to_owned(),
        };
        if found.iter().all(|known| known.path != path) {
            found.push(External { path, source: Source::Host(directory.into()) });
        }
    }
    found
}

/// Absolute and without `.` and `..`; as CRIU's syntax has brackets, there may be none.
fn plain(path: &Path) -> Result<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str().unwrap_or("]")),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    match parts.iter().any(|part| part.contains([']', '['])) {
        true => Err(Error::unsupported(format!("criu cannot be told of a mount on `{}`", path.display()))),
        false => Ok(format!("/{}", parts.join("/"))),
    }
}

/// For a checkpoint: those that are mounts in the container.
pub(super) fn leave_out(mounts: &[External], pid: i32, message: &mut Message) -> Result<()> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).context("cannot read the container's mounts")?;
    let places: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    for External { path, .. } in mounts.iter().filter(|mount| places.contains(&mount.path.as_str())) {
        message.bytes(37, format!("mnt[{path}]:{path}").as_bytes());
    }
    Ok(())
}

/// For a restore: every place with its source.
pub(super) fn bring_in(mounts: &[External], stage: &stage::Stage, message: &mut Message) {
    for External { path, source } in mounts {
        let source = match source {
            Source::Host(source) => source.clone(),
            Source::Mask => stage.mask(path),
        };
        message.bytes(37, format!("mnt[{path}]:{}", source.display()).as_bytes());
    }
}

/// A namespace that the container was put into.
#[derive(Debug)]
pub(super) struct Joined {
    path: PathBuf,
    kind: &'static str,
    key: &'static str,
}

/// The namespaces that the specification names by path.
pub(super) fn namespaces(spec: &Spec) -> Result<Vec<Joined>> {
    let all = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let mut found = Vec::new();
    for namespace in all {
        let (kind, key) = match (namespace.typ(), namespace.path()) {
            (LinuxNamespaceType::User, _) => {
                return Err(Error::unsupported(
                    "a container with user ids of its own cannot be checkpointed or restored: its device nodes can only be \
                     made outside its user namespace; use one without",
                ));
            }
            (_, None) => continue,
            (LinuxNamespaceType::Network, Some(_)) => ("net", "extRootNetNS"),
            (LinuxNamespaceType::Pid, Some(_)) => ("pid", "extRootPidNS"),
            (other, Some(_)) => {
                return Err(Error::unsupported(format!(
                    "criu cannot put a container into a given {other} namespace; let it have its own"
                )));
            }
        };
        found.extend(namespace.path().clone().map(|path| Joined { path, kind, key }));
    }
    Ok(found)
}

/// For a checkpoint: the namespaces are not the container's to keep.
pub(super) fn leave_out_namespaces(joined: &[Joined], pid: i32, message: &mut Message) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    for Joined { kind, key, .. } in joined {
        let inode =
            fs::metadata(format!("/proc/{pid}/ns/{kind}")).context("cannot look at the container's namespaces")?;
        message.bytes(37, format!("{kind}[{}]:{key}", inode.ino()).as_bytes());
    }
    Ok(())
}

/// For a restore: the namespaces of the bundle; they must live until CRIU was started.
pub(super) fn bring_in_namespaces(joined: &[Joined], message: &mut Message) -> Result<Vec<OwnedFd>> {
    let give = |Joined { path, key, .. }: &Joined| {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("cannot open the namespace `{}`", path.display()))?;
        descriptors::give(key, file, message)
    };
    joined.iter().map(give).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_as_the_kernel_names_them() {
        assert_eq!(plain(Path::new("/a/./b/../c/")).unwrap(), "/a/c");
        assert_eq!(plain(Path::new("data")).unwrap(), "/data");
        assert!(plain(Path::new("/a]:/etc")).is_err());
    }

    #[test]
    fn namespaces_by_path_are_told_by_their_keys() {
        let spec = |namespaces: &str| -> Spec {
            serde_json::from_str(&format!(r#"{{"ociVersion":"1.2.0","linux":{{"namespaces":{namespaces}}}}}"#)).unwrap()
        };
        let joined = namespaces(&spec(r#"[{"type":"network","path":"/n"},{"type":"mount"}]"#)).unwrap();
        assert_eq!(joined.iter().map(|joined| joined.key).collect::<Vec<_>>(), ["extRootNetNS"]);
        assert!(namespaces(&spec(r#"[{"type":"ipc","path":"/n"}]"#)).is_err());
        assert!(namespaces(&spec(r#"[{"type":"user"}]"#)).unwrap_err().to_string().contains("user ids"));
    }
}
