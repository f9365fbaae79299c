//! What of the host can be seen or reached at all: sockets, the store, cgroups, and the kernel's files.

use crate::harness::{Archive, IMAGE, Skep, busybox_layer};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// CVE-2020-15257: an abstract socket has no permissions, and is reachable from every container on the host's network.
#[test]
fn no_socket_can_be_reached_from_the_hosts_network() {
    let skep = Skep::with_image();
    let before = abstract_sockets(&fs::read_to_string("/proc/net/unix").unwrap());
    let id = skep.sleeper(&["--network", "host"]);
    let mut attached = skep.spawn(["exec", "-i", &id, "cat"]);
    skep.sleeper(&["-t"]);
    let seen = abstract_sockets(&skep.ok(["exec", &id, "cat", "/proc/net/unix"]));
    let new: Vec<_> = seen.iter().filter(|name| !before.contains(name) && name.contains("sk")).collect();
    assert!(new.is_empty(), "{new:?}");
    // And those with a path lie where nobody else comes.
    for socket in find(&skep.run_root(), &|status| status.mode() & 0o170_000 == 0o140_000) {
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600, "{socket}");
    }
    drop(attached.stdin.take());
    attached.wait().unwrap();
}

fn abstract_sockets(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|name| name.starts_with('@'))
        .map(str::to_owned)
        .collect()
}

/// CVE-2021-41091, CVE-2024-25621: a local user who can walk to a layer can run its set-user-id programs.
#[test]
fn nobody_walks_into_the_store() {
    let skep = Skep::with_image();
    let layer = busybox_layer().entry("bin/become", tar::EntryType::Regular, 0o4755, None, b"#!/bin/sh\n");
    let archive = Archive::new("setuid:1").layer(&layer).write(skep.file("setuid.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    skep.ok(["run", "-d", "-v", "data:/data", "setuid:1", "sleep", "1000"]);
    for top in [skep.root(), skep.run_root()] {
        let status = fs::metadata(&top).unwrap();
        assert_eq!((status.permissions().mode() & 0o7777, status.uid()), (0o700, 0), "{}", top.display());
        // Directories that are made anew do not depend on the caller's mask.
        for name in fs::read_dir(&top).unwrap() {
            let path = name.unwrap().path();
            let mode = fs::symlink_metadata(&path).unwrap().mode();
            assert!(mode & 0o022 == 0 || mode & 0o170_000 == 0o120_000, "{}: {mode:o}", path.display());
        }
    }
    let script = format!("find {} {} -perm /6000", skep.root().display(), skep.run_root().display());
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(output.stdout.is_empty() && !output.status.success(), "{output:?}");
}

/// CVE-2023-25809, and all of /proc and /sys: root in a container may not write what is not its own.
#[test]
fn the_kernels_files_are_hidden_or_read_only() {
    let skep = Skep::with_image();
    // What is writable by its mode and mount, opened for appending without writing a byte. Who opens /proc/pressure for
    // writing may only ask to be told of pressure.
    let script = "for f in $(find /proc /sys -xdev -type f -perm /222 ! -path '/proc/[0-9]*' ! -path '/proc/self/*' ! -path '/proc/pressure/*' ! -path '/proc/thread-self/*' 2>/dev/null); do \
                  (exec 3>>$f) 2>/dev/null && echo $f; done; find /sys/fs/cgroup -type f 2>/dev/null | while read f; do \
                  (exec 3>>$f) 2>/dev/null && echo $f; done; true";
    for options in
        [&[][..], &["--userns", "host"], &["--cgroupns", "host"], &["--userns", "host", "--cap-add", "SYS_RESOURCE"]]
    {
        let writable = skep.ok([&["run", "--rm"], options, &[IMAGE, "sh", "-c", script]].concat());
        assert_eq!(writable, "", "{options:?}");
    }
}

/// Files that let a container watch the machine: power (PLATYPUS), temperature, interrupts, keys, timers, memory.
#[test]
fn side_channels_and_secrets_of_the_kernel_are_covered() {
    let skep = Skep::with_image();
    let script = "find /sys -name energy_uj 2>/dev/null; find /sys -path '*powercap*' -type f 2>/dev/null; \
                  find /sys -path '*thermal_throttle*' -type f 2>/dev/null; find /sys/firmware -mindepth 1 2>/dev/null; \
                  for f in interrupts kcore keys latency_stats timer_list sched_debug; do cat /proc/$f 2>/dev/null | head -c 9; done; \
                  for d in acpi asound scsi; do ls /proc/$d 2>/dev/null; done; true";
    for options in [&[][..], &["--userns", "host"]] {
        assert_eq!(skep.ok([&["run", "--rm"], options, &[IMAGE, "sh", "-c", script]].concat()), "", "{options:?}");
        let id = skep.sleeper(options);
        assert_eq!(skep.ok(["exec", &id, "sh", "-c", script]), "", "exec, {options:?}");
    }
}

/// CVE-2022-0492: `release_agent` of a v1 hierarchy runs a program of the host.
#[test]
fn no_release_agent_can_be_written() {
    let skep = Skep::with_image();
    let script = "find / -name release_agent 2>/dev/null | while read f; do (echo /x > $f) 2>/dev/null && echo wrote $f; done; \
                  mkdir /tmp/c; mount -t cgroup -o memory cgroup /tmp/c 2>/dev/null && (echo /x > /tmp/c/release_agent) 2>/dev/null && echo wrote; true";
    for options in [&[][..], &["--cap-add", "SYS_ADMIN"], &["--userns", "host"]] {
        assert_eq!(skep.ok([&["run", "--rm"], options, &[IMAGE, "sh", "-c", script]].concat()), "", "{options:?}");
    }
}

fn find(directory: &Path, wanted: &dyn Fn(&fs::Metadata) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let status = fs::symlink_metadata(&path).unwrap();
        if status.is_dir() {
            found.extend(find(&path, wanted));
        } else if wanted(&status) {
            found.push(path.display().to_string());
        }
    }
    found
}
