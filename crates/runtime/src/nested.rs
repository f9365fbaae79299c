//! Whether this process is the root of a user namespace only: podman without root, a container that runs containers.
//!
//! There the kernel makes no device nodes, and no proc or sysfs that would show what the creator of the namespace hid. What is
//! refused is copied from the tree of this process instead, which its creator has allowed it to see.

use std::sync::OnceLock;

/// The inode of the first user namespace: fixed in the kernel.
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Whether it is; asked once.
pub(crate) fn is_nested() -> bool {
    static NESTED: OnceLock<bool> = OnceLock::new();
    *NESTED
        .get_or_init(|| rustix::fs::stat("/proc/self/ns/user").is_ok_and(|found| found.st_ino != FIRST_USER_NAMESPACE))
}

/// Whether groups can be set in this process's user namespace and those below it. Who made it without privileges had to
/// give that up: else he could leave a group that is kept from something.
pub(crate) fn may_set_groups() -> bool {
    !is_nested() || std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() != "deny")
}

/// Whether this process's user namespace has the group.
pub(crate) fn has_group(id: u32) -> bool {
    if !is_nested() {
        return true;
    }
    let map = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    contains(&map, id)
}

fn contains(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, size] if (first..first + size).contains(&u64::from(id)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_say_which_groups_there_are() {
        let map = "         0       1000          1\n        10     100000          5\n";
        assert!(contains(map, 0) && contains(map, 14));
        assert!(!contains(map, 5) && !contains(map, 15));
    }
}
