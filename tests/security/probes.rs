//! What exploits of the kernel begin with, tried in a default container: refused, for root and for others.
//!
//! A static C program makes the calls itself and prints each errno, so that no library's manners are in the way.

use crate::harness::{IMAGE, Skep, sh};
use std::collections::BTreeMap;
use std::path::PathBuf;

const EPERM: &str = "1";
const ENOSYS: &str = "38";

/// Refused with EPERM (or, where the C library must believe that an old kernel is there, ENOSYS) to everybody.
const REFUSED: [&str; 34] = [
    "af_alg",
    "af_vsock",
    "user_namespace_unshare",
    "mount_namespace_unshare",
    "network_namespace_unshare",
    "user_namespace_clone",
    "clone3",
    "setns",
    "io_uring_setup",
    "io_uring_register",
    "keyctl",
    "add_key",
    "request_key",
    "bpf_map",
    "perf_event_open",
    "userfaultfd",
    "mount",
    "fsopen",
    "open_tree",
    "move_mount",
    "pivot_root",
    "umount",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "open_by_handle_at",
    "reboot",
    "swapon",
    "settimeofday",
    "clock_settime",
    "acct",
    "quotactl",
    "lookup_dcookie",
];

/// The program of one test, removed with it.
struct Probe(PathBuf);

impl Probe {
    fn build(name: &str) -> Self {
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{}-{name}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/security/probe.c");
        sh(&format!("cc -static -O1 -w -o {} {source}", program.display()));
        Self(program)
    }

    /// For `-v`: it is `/probe` inside.
    fn bind(&self) -> String {
        format!("{}:/probe:ro", self.0.display())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn parse(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[test]
fn what_exploits_begin_with_is_refused() {
    let skep = Skep::with_image();
    let probe = Probe::build("refused");
    let bind = probe.bind();
    for options in [&[][..], &["-u", "bee"], &["--userns", "host"], &["--network", "host"], &["--init"]] {
        let output = skep.ok([&["run", "--rm", "-v", &bind], options, &[IMAGE, "/probe"]].concat());
        let seen = parse(&output);
        let refused = |name: &&str| matches!(seen.get(name), Some(&EPERM | &ENOSYS));
        let open: Vec<_> = REFUSED.iter().filter(|name| !refused(name)).map(|name| (name, seen.get(name))).collect();
        assert!(open.is_empty(), "{options:?} has: {open:?}");
        assert_eq!((seen["ordinary_socket"], seen["ordinary_fork"]), ("0", "0"), "{options:?}");
    }
    let id = skep.sleeper(&["-v", &bind]);
    let output = skep.ok(["exec", &id, "/probe"]);
    let seen = parse(&output);
    assert!(REFUSED.iter().all(|name| matches!(seen.get(name), Some(&EPERM | &ENOSYS))), "exec: {seen:?}");
}

#[test]
fn without_the_filter_own_ids_and_capabilities_still_hold() {
    let skep = Skep::with_image();
    let probe = Probe::build("unconfined");
    let output = skep.ok(["run", "--rm", "--security-opt", "seccomp=unconfined", "-v", &probe.bind(), IMAGE, "/probe"]);
    let seen = parse(&output);
    let held = [
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "open_by_handle_at",
        "reboot",
        "swapon",
        "settimeofday",
        "clock_settime",
        "acct",
        "mount",
        "pivot_root",
        "umount",
    ];
    let open: Vec<_> = held.iter().filter(|name| seen.get(*name).is_none_or(|errno| *errno == "0")).collect();
    assert!(open.is_empty(), "{open:?} in {seen:?}");
}
