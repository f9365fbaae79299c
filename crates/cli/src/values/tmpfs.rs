//! `--tmpfs`: `/run`, `/run:size=64m,mode=1777,noexec`.

use super::volume::target_path;
use super::{Parsed, bytes};
use engine::request::{Mount, MountSource};

/// Options that a tmpfs takes besides size and mode.
const FLAGS: &[&str] = &[
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "sync",
    "async",
    "dirsync",
];
const VALUES: &[&str] = &["uid", "gid", "nr_inodes", "nr_blocks"];

/// One `--tmpfs`.
pub(crate) fn tmpfs(text: &str) -> Parsed<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = target_path(target)?;
    let (mut size, mut mode, mut others, mut read_only) = (None, None, Vec::new(), false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(bytes::size(value)?),
            Some(("mode", value)) => mode = Some(octal(value)?),
            Some((name, value)) if VALUES.contains(&name) && !value.is_empty() => others.push(option.to_owned()),
            None if option == "ro" => read_only = true,
            None if FLAGS.contains(&option) => others.push(option.to_owned()),
            _ => return Err(format!("invalid tmpfs option [\"{option}\"]")),
        }
    }
    let source = MountSource::Tmpfs { size, mode, options: others };
    Ok(Mount { source, target, read_only, propagation: None, non_recursive: false, no_copy: false })
}

/// Permissions, octal with or without a leading zero.
pub(crate) fn octal(text: &str) -> Parsed<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("invalid mode: '{text}' is not an octal number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let mount = tmpfs("/run:rw,noexec,size=64m,mode=1777,uid=5").unwrap();
        assert_eq!(mount.target, "/run");
        let options = vec!["rw".into(), "noexec".into(), "uid=5".into()];
        assert_eq!(mount.source, MountSource::Tmpfs { size: Some(64 << 20), mode: Some(0o1777), options });
        assert!(tmpfs("/run").is_ok() && tmpfs("/run:ro").unwrap().read_only);
        for text in ["run", "/", "/run:bogus", "/run:size=x", "/run:mode=9", "/run:uid="] {
            assert!(tmpfs(text).is_err(), "{text}");
        }
    }
}
