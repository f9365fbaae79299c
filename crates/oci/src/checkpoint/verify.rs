//! Whether what CRIU has made is what the bundle asks for: looked at while all processes stand still, before they run.
//!
//! | of            | must be |
//! |---------------|---------|
//! | every process of the container | in its control group, without capabilities beyond the bounding set, with `no_new_privs` |
//! |               | and a seccomp filter if the bundle has them, in the namespaces that the bundle says |
//! | its mounts    | masked and read-only where the bundle says |
//!
//! A checkpoint holds the privileges of its processes, and CRIU gives them what it holds. Without this a changed checkpoint
//! would be a way to everything on the host.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use runtime::capabilities::Set;
use runtime::cgroup::Cgroup;

/// Compares the processes of the container, of which `pid` is the first, with the specification.
///
/// # Errors
/// They have more than it gives them: the line says what.
pub(super) fn check(pid: i32, spec: &Spec, group: &Cgroup) -> Result<()> {
    let members = group.processes()?;
    let pids = everyone(pid, spec)?;
    for pid in &pids {
        if !members.contains(pid) {
            return Err(refused("has a process outside its control group"));
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot look at a restored process")?;
        check_process(&status, spec)?;
        check_namespaces(*pid, spec)?;
    }
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).context("cannot read the restored mounts")?;
    check_mounts(&table, spec, |path| fs::symlink_metadata(format!("/proc/{pid}/root{path}")).is_ok())
}

fn refused(what: &str) -> Error {
    Error::invalid(format!("the checkpoint {what}: it is not of a container of this bundle"))
}

/// All processes of its pid namespace, wherever their control groups are; without one of its own, those of the group.
fn everyone(pid: i32, spec: &Spec) -> Result<Vec<i32>> {
    let own = crate::bundle::has_own(spec, LinuxNamespaceType::Pid);
    let wanted = fs::read_link(format!("/proc/{pid}/ns/pid")).context("cannot look at the restored process")?;
    let entries = fs::read_dir("/proc").context("cannot list the processes")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let same = |number: &i32| fs::read_link(format!("/proc/{number}/ns/pid")).is_ok_and(|found| found == wanted);
    Ok(if own { numbers.filter(same).collect() } else { vec![pid] })
}

fn check_process(status: &str, spec: &Spec) -> Result<()> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(':')).map(str::trim).unwrap_or_default()
    };
    let process = spec.process().as_ref();
    let given = process.and_then(|process| process.capabilities().as_ref()?.bounding().as_ref()).map(Set::from_oci);
    let given = given.unwrap_or(Set::EMPTY);
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let bits = u64::from_str_radix(field(name), 16).map_err(|_| refused("has capabilities that cannot be read"))?;
        let more = Set::from_bits(bits).difference(given);
        if !more.is_empty() {
            return Err(refused(&format!("has a process with more capabilities than the bundle gives ({more})")));
        }
    }
    if process.and_then(oci_spec::runtime::Process::no_new_privileges).unwrap_or(false) && field("NoNewPrivs") != "1" {
        return Err(refused("has a process that may gain privileges (criu keeps `no_new_privs` from 3.18 on)"));
    }
    if spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some()) && field("Seccomp") != "2" {
        return Err(refused("has a process without a seccomp filter"));
    }
    Ok(())
}

/// One of its own must not be ours; one by path must be that.
fn check_namespaces(pid: i32, spec: &Spec) -> Result<()> {
    let all = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for namespace in all {
        let Some(name) = file(namespace.typ()) else { continue };
        let inode = |path: String| fs::metadata(path).map(|found| found.ino()).context("cannot look at a namespace");
        let found = inode(format!("/proc/{pid}/ns/{name}"))?;
        let right = match namespace.path() {
            Some(path) => found == inode(path.display().to_string())?,
            None => found != inode(format!("/proc/self/ns/{name}"))?,
        };
        if !right {
            return Err(refused(&format!("has a process in another {name} namespace than the bundle says")));
        }
    }
    Ok(())
}

/// Its name below `/proc/PID/ns`. CRIU makes a time namespace only for clocks that differ.
fn file(kind: LinuxNamespaceType) -> Option<&'static str> {
    Some(match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => return None,
    })
}

fn check_mounts(table: &str, spec: &Spec, exists: impl Fn(&str) -> bool) -> Result<()> {
    let linux = spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default();
    for path in masked.iter().chain(read_only) {
        let mut lines = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let closed = |fields: Vec<&str>| {
            fields.get(4) == Some(&path.as_str()) && fields.get(5).is_some_and(|options| options.starts_with("ro"))
        };
        if exists(path) && !lines.any(closed) {
            return Err(refused(&format!("does not protect `{path}`")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        serde_json::from_str(
            r#"{"ociVersion":"1.2.0","process":{"cwd":"/","user":{"uid":0,"gid":0},"noNewPrivileges":true,
                "capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"]}},
                "linux":{"maskedPaths":["/proc/keys"],"readonlyPaths":["/proc/sys"]}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_process_may_not_have_more_than_the_bundle_gives() {
        let status = |bounding: &str, privileges: &str| {
            format!(
                "CapInh:\t0\nCapPrm:\t21\nCapEff:\t21\nCapBnd:\t{bounding}\nCapAmb:\t0\nNoNewPrivs:\t{privileges}\nSeccomp:\t0\n"
            )
        };
        check_process(&status("21", "1"), &spec()).unwrap();
        let failed = check_process(&status("200021", "1"), &spec()).unwrap_err().to_string();
        assert!(failed.contains("SYS_ADMIN"), "{failed}");
        assert!(check_process(&status("21", "0"), &spec()).is_err());
        assert!(check_process("", &spec()).is_err());
    }

    #[test]
    fn protected_paths_are_protected() {
        let table = "1 2 0:4 / / rw - ext4 x rw\n2 1 0:5 /f /proc/keys ro,nosuid - tmpfs x rw\n\
                     3 1 0:5 /sys /proc/sys ro - proc proc rw\n";
        check_mounts(table, &spec(), |_| true).unwrap();
        check_mounts("", &spec(), |_| false).unwrap();
        assert!(check_mounts(&table.replace("/proc/sys ro", "/proc/sys rw"), &spec(), |_| true).is_err());
        let failed = check_mounts(&table.replace("/proc/keys", "/proc/other"), &spec(), |_| true).unwrap_err();
        assert!(failed.to_string().contains("/proc/keys"), "{failed}");
    }
}
