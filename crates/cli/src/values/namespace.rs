//! `--pid --ipc --uts --cgroupns --userns`: whose namespace.

use super::Parsed;
use engine::request::{NamespaceMode, UserNamespaceMode};

/// `--pid`: empty or `private`, `host`, `container:NAME`.
pub(crate) fn pid(text: &str) -> Parsed<NamespaceMode> {
    with_container(text).ok_or_else(|| "--pid: invalid PID mode: it is private, host or container:NAME".into())
}

/// `--ipc`: empty, `private` or `shareable`, `host`, `container:NAME`.
pub(crate) fn ipc(text: &str) -> Parsed<NamespaceMode> {
    match text {
        "shareable" => Ok(NamespaceMode::Private),
        "none" => Err("--ipc: `none` is not supported yet; `private` shares nothing either".into()),
        _ => with_container(text)
            .ok_or_else(|| "--ipc: invalid IPC mode: it is private, shareable, host or container:NAME".into()),
    }
}

/// `--uts`: empty, `private` or `host`.
pub(crate) fn uts(text: &str) -> Parsed<NamespaceMode> {
    host_or_own(text).ok_or_else(|| "--uts: invalid UTS mode: it is private or host".into())
}

/// `--cgroupns`: empty, `private` or `host`.
pub(crate) fn cgroup(text: &str) -> Parsed<NamespaceMode> {
    host_or_own(text).ok_or_else(|| "--cgroupns: invalid CGROUP mode: it is private or host".into())
}

/// `--userns`: empty (its own, unless something else needs the host's), `private`, `host`.
pub(crate) fn user(text: &str) -> Parsed<UserNamespaceMode> {
    match text {
        "" => Ok(UserNamespaceMode::Automatic),
        "private" | "auto" => Ok(UserNamespaceMode::Private),
        "host" => Ok(UserNamespaceMode::Host),
        _ => Err("--userns: invalid USER mode: it is private or host".into()),
    }
}

fn host_or_own(text: &str) -> Option<NamespaceMode> {
    match text {
        "" | "private" => Some(NamespaceMode::Private),
        "host" => Some(NamespaceMode::Host),
        _ => None,
    }
}

fn with_container(text: &str) -> Option<NamespaceMode> {
    let container = text.strip_prefix("container:").filter(|name| !name.is_empty());
    host_or_own(text).or_else(|| container.map(|name| NamespaceMode::Container(name.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(pid("host"), Ok(NamespaceMode::Host));
        assert_eq!(pid("container:x"), Ok(NamespaceMode::Container("x".into())));
        assert_eq!(ipc("shareable"), Ok(NamespaceMode::Private));
        assert_eq!(uts(""), Ok(NamespaceMode::Private));
        assert_eq!(user("host"), Ok(UserNamespaceMode::Host));
        for wrong in ["foo", "container:"] {
            assert!(pid(wrong).is_err() && ipc(wrong).is_err() && uts(wrong).is_err() && user(wrong).is_err());
        }
        assert!(uts("container:x").is_err() && cgroup("container:x").is_err());
    }
}
