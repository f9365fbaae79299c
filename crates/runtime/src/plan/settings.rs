//! Kernel settings (sysctl): only those that belong to a namespace of the container.

use failure::{Error, Result};

use super::action::Action;
use super::namespaces::{self, Namespaces};
use super::paths;

/// Settings of the ipc namespace, but for `fs.mqueue.*`.
const OF_IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.msg_next_id",
];

/// The step that writes one.
pub(crate) fn set(name: &str, value: &str, namespaces: &Namespaces, proc: Option<u8>) -> Result<Action> {
    let name = dotted(name);
    let refuse = |reason: &str| Error::invalid(format!("the kernel setting `{name}` {reason}"));
    let kind = owner(&name).ok_or_else(|| refuse("is the whole machine's, not the container's"))?;
    if !namespaces.is_private(kind) {
        let kind = namespaces::names(kind);
        return Err(refuse(&format!("is the host's: the container has no {kind} namespace of its own")));
    }
    let slot = proc.ok_or_else(|| refuse("needs proc mounted on `/proc`"))?;
    let file = swapped(&name);
    if file.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(refuse("is no name of a setting"));
    }
    Ok(Action::SetKernelSetting { slot, path: paths::c_string(&format!("sys/{file}"))?, name, value: value.to_owned() })
}

/// `net.ipv4.conf.eth0/1.x` for both ways to write it: when the first separator is a slash, slashes separate.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']).and_then(|index| name.as_bytes().get(index)) {
        Some(b'/') => swapped(name),
        _ => name.to_owned(),
    }
}

/// Dots for slashes, and slashes for dots.
fn swapped(name: &str) -> String {
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// The kind of namespace that has the setting.
fn owner(name: &str) -> Option<u32> {
    if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        Some(namespaces::IPC)
    } else if name.starts_with("net.") {
        Some(namespaces::NETWORK)
    } else if name == "kernel.domainname" {
        Some(namespaces::UTS)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_belong_to_namespaces() {
        assert_eq!(owner("net.ipv4.ip_forward"), Some(namespaces::NETWORK));
        assert_eq!(owner("kernel.shmmax"), Some(namespaces::IPC));
        assert_eq!(owner("kernel.core_pattern"), None);
        assert_eq!(owner("vm.swappiness"), None);
    }

    #[test]
    fn both_spellings_are_one() {
        assert_eq!(dotted("net/ipv4/conf/eth0.1/forwarding"), "net.ipv4.conf.eth0/1.forwarding");
        assert_eq!(dotted("net.ipv4.ip_forward"), "net.ipv4.ip_forward");
    }
}
