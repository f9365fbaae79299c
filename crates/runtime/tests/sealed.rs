//! The engine's own binary, out of reach: the test runs itself anew.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

#[test]
fn the_binary_cannot_be_written_through_proc() {
    let binary = std::env::current_exe().unwrap();
    let inner = ["--exact", "inside", "--ignored"];
    let status = Command::new(&binary).args(inner).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn inside() {
    runtime::sealed::ensure().unwrap();
    assert!(std::env::var_os("SKEP_SEALED").is_some(), "it was executed anew");
    // While it runs nobody can write to it anyway; the mount is what lasts.
    let mount = rustix::fs::statvfs("/proc/self/exe").unwrap();
    assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    // Once is enough.
    runtime::sealed::ensure().unwrap();
}
