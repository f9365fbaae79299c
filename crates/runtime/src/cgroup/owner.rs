//! Whom a group is handed over to, by the specification's "Cgroup ownership": the user that the program runs as, outside of
//! the container, and only where that user could do something with it.
//!
//! ```text
//!   v2, a new cgroup namespace, cgroup mounted writable     the directory and the files of /sys/kernel/cgroup/delegate
//!   anything else                                           nothing
//! ```

use oci_spec::runtime::{Mount, Spec};

/// The user, as the host numbers it; root has the group in any case.
pub(crate) fn of_specification(spec: &Spec, has_namespace: bool, user: u32) -> Option<u32> {
    let writable = |mount: &Mount| {
        let kind = mount.typ().as_deref().is_some_and(|kind| matches!(kind, "cgroup" | "cgroup2"));
        let mut options = mount.options().iter().flatten();
        // The last word counts.
        let read_only = options.rfind(|option| matches!(&***option, "ro" | "rw" | "rro" | "rrw"));
        kind && read_only.is_none_or(|option| option.ends_with('w'))
    };
    let mounted = spec.mounts().iter().flatten().any(writable);
    (user != 0 && has_namespace && mounted).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_handed_over_to_who_can_use_it() {
        let spec = |kind: &str, options: &str| -> Spec {
            let mount = format!(r#"{{"destination":"/sys/fs/cgroup","type":"{kind}","options":[{options}]}}"#);
            serde_json::from_str(&format!(r#"{{"ociVersion":"1.3.0","mounts":[{mount}]}}"#)).unwrap()
        };
        assert_eq!(of_specification(&spec("cgroup", r#""nosuid""#), true, 1000), Some(1000));
        assert_eq!(of_specification(&spec("cgroup2", r#""ro","rw""#), true, 1000), Some(1000));
        assert_eq!(of_specification(&spec("cgroup", r#""ro""#), true, 1000), None);
        assert_eq!(of_specification(&spec("tmpfs", ""), true, 1000), None);
        assert_eq!(of_specification(&spec("cgroup", ""), false, 1000), None);
        assert_eq!(of_specification(&spec("cgroup", ""), true, 0), None);
    }
}
