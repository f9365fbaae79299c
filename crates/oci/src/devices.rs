//! Device rules that every container gets around those of its specification, as runc has them.
//!
//! ```text
//!   deny all                                      a container without rules has no devices, rather than all
//!   the specification's rules
//!   allow mknod; null zero full random urandom tty ptmx, terminals     what the default file systems need
//! ```

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{
    LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxResources, LinuxResourcesBuilder, Spec,
};

/// Character devices that are always allowed: major and minor, all minors if none.
const ALLOWED: [(i64, Option<i64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    // Terminals.
    (136, None),
];

/// Puts the rules around those of a specification.
pub(crate) fn complete(spec: &mut Spec) -> Result<()> {
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut resources = linux.resources().clone().map_or_else(no_resources, Ok)?;
    let mut rules = vec![rule(false, LinuxDeviceType::A, (None, None), "rwm")?];
    rules.extend(resources.devices().clone().unwrap_or_default());
    rules.push(rule(true, LinuxDeviceType::C, (None, None), "m")?);
    rules.push(rule(true, LinuxDeviceType::B, (None, None), "m")?);
    for (major, minor) in ALLOWED {
        rules.push(rule(true, LinuxDeviceType::C, (Some(major), minor), "rwm")?);
    }
    resources.set_devices(Some(rules));
    linux.set_resources(Some(resources));
    Ok(())
}

fn no_resources() -> Result<LinuxResources> {
    LinuxResourcesBuilder::default().build().map_err(|wrong| Error::internal(wrong.to_string()))
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    (major, minor): (Option<i64>, Option<i64>),
    access: &str,
) -> Result<LinuxDeviceCgroup> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access.to_owned());
    if let Some(major) = major {
        rule = rule.major(major);
    }
    if let Some(minor) = minor {
        rule = rule.minor(minor);
    }
    rule.build().map_err(|wrong| Error::internal(wrong.to_string())).context("cannot write a device rule")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_begin_with_nothing_and_end_with_the_defaults() {
        let text = r#"{"ociVersion":"1.0.0","linux":{"resources":{"devices":[{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}}}"#;
        let mut spec: Spec = serde_json::from_str(text).unwrap();
        complete(&mut spec).unwrap();
        let rules = spec.linux().as_ref().unwrap().resources().as_ref().unwrap().devices().clone().unwrap();
        assert!(!rules[0].allow());
        assert_eq!(rules[1].major(), Some(10));
        assert_eq!(rules.last().unwrap().major(), Some(136));
        assert_eq!(rules.len(), 1 + 1 + 2 + ALLOWED.len());
    }
}
