//! `-v`: `[SOURCE:]TARGET[:OPTIONS]`.
//!
//! ```text
//!   /host/path:/target[:ro]     a directory or file of the host, made if it is not there
//!   ./path:/target              the same, from the current directory
//!   name:/target                a named volume
//!   /target                     a volume of this container only
//! ```
//! Options: `ro rw nocopy z Z` and a propagation. `z` and `Z` set labels of SELinux and have nothing to do without it.

use super::Parsed;
use engine::request::{Mount, MountSource};
use std::path::{Path, PathBuf};

/// The propagations of mount(8).
pub(crate) const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// One `-v`.
pub(crate) fn volume(text: &str) -> Parsed<Mount> {
    let wrong = |reason: &str| format!("invalid volume specification: '{text}': {reason}");
    let mut parts: Vec<&str> = text.split(':').collect();
    // A lone second part is options only where it cannot be a target: `-v /target:ro` is Docker's mistake, too.
    let options = if parts.len() == 3 { parts.pop() } else { None };
    let (source, target) = match parts.as_slice() {
        [target] => (None, *target),
        [source, target] => (Some(*source), *target),
        _ => return Err(wrong("write [SOURCE:]TARGET[:OPTIONS]")),
    };
    if source == Some("") {
        return Err(wrong("empty section between colons"));
    }
    let source = match source {
        None => MountSource::Anonymous,
        Some(source) if source.starts_with(['/', '.', '~']) => {
            MountSource::Bind { path: absolute(source)?, create: true }
        }
        Some(name) => MountSource::Volume(volume_name(name)?),
    };
    let target = target_path(target).map_err(|reason| wrong(&reason))?;
    let mut mount = Mount { source, target, read_only: false, propagation: None, non_recursive: false, no_copy: false };
    for option in options.unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" if !matches!(mount.source, MountSource::Bind { .. }) => mount.no_copy = true,
            _ if PROPAGATIONS.contains(&option) && matches!(mount.source, MountSource::Bind { .. }) => {
                mount.propagation = Some(option.into());
            }
            _ => return Err(wrong(&format!("invalid mode: {option}"))),
        }
    }
    Ok(mount)
}

/// A path of the host, from the current directory if it is relative.
pub(crate) fn absolute(path: &str) -> Parsed<PathBuf> {
    std::path::absolute(path).map_err(|error| format!("path '{path}': {error}"))
}

/// Where something is mounted in a container.
pub(crate) fn target_path(target: &str) -> Parsed<String> {
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    let names = Path::new(target).components().filter_map(|part| match part {
        std::path::Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let clean: String = names.flat_map(|name| ["/", name]).collect();
    if target.split('/').any(|part| part == "..") {
        return Err(format!("invalid mount path: '{target}' must not contain '..'"));
    }
    if clean.is_empty() { Err("destination can't be '/'".into()) } else { Ok(clean) }
}

/// The name of a volume.
pub(crate) fn volume_name(name: &str) -> Parsed<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let good = name.len() >= 2 && name.bytes().all(plain) && name.as_bytes()[0].is_ascii_alphanumeric();
    if good {
        return Ok(name.into());
    }
    Err(format!(
        "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &str, target: &str) -> Mount {
        let source = MountSource::Bind { path: path.into(), create: true };
        Mount {
            source,
            target: target.into(),
            read_only: false,
            propagation: None,
            non_recursive: false,
            no_copy: false,
        }
    }

    #[test]
    fn binds() {
        assert_eq!(volume("/a:/b"), Ok(bind("/a", "/b")));
        assert_eq!(volume("/a:/b/../c").ok(), None);
        assert_eq!(volume("/a:/b/:ro"), Ok(Mount { read_only: true, ..bind("/a", "/b") }));
        let shared = Mount { propagation: Some("rshared".into()), ..bind("/a", "/b") };
        assert_eq!(volume("/a:/b:z,rshared,rw"), Ok(shared));
        let here = std::env::current_dir().unwrap().join("x");
        assert_eq!(volume("./x:/b"), Ok(bind(here.to_str().unwrap(), "/b")));
    }

    #[test]
    fn volumes() {
        let named = Mount { source: MountSource::Volume("data".into()), no_copy: true, ..bind("", "/b") };
        assert_eq!(volume("data:/b:nocopy"), Ok(named));
        let own = Mount { source: MountSource::Anonymous, ..bind("", "/b") };
        assert_eq!(volume("/b"), Ok(own));
    }

    #[test]
    fn mistakes() {
        for text in
            ["a:b:c:d", "", ":/b", "/a:", "/a:b", "/a:/", "/", "d:/x", "/a:/b:bogus", "/a:/b:nocopy", "na/me:/b"]
        {
            assert!(volume(text).is_err(), "{text}");
        }
    }
}
