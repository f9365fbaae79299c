//! What of the host can be seen or reached at all: sockets, the store, cgroups, and the kernel's files.

use crate::harness::{Archive, IMAGE, Skep, busybox_layer, machine_processes};
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

/// CVE-2025-47291: a container is in its own group of every hierarchy that is limited, whatever its ids; and sees no other.
#[test]
fn every_process_is_in_the_containers_own_group() {
    let skep = Skep::with_image();
    for options in [&["-m", "64m"][..], &["-m", "64m", "--userns", "host"], &["-m", "64m", "--privileged"]] {
        let id = skep.sleeper(options);
        let groups = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let first = groups(&skep.pid(&id).to_string());
        let own = |line: &&str| line.contains(&format!("/skep/{id}"));
        assert!(
            first.lines().any(|line| own(&line) && (line.contains("memory") || line.starts_with("0::"))),
            "{first}"
        );
        let mut executed = skep.spawn(["exec", "-i", &id, "cat"]);
        let outside = crate::harness::retry(|| {
            let mut found = machine_processes().into_iter().map(|pid| pid.to_string()).filter(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                command == b"cat\0" && group.contains(&id)
            });
            found.next().ok_or("the process of exec is not in the group")
        });
        assert_eq!(groups(&outside).lines().filter(own).count(), first.lines().filter(own).count());
        let inside = skep.ok(["exec", &id, "cat", "/proc/self/cgroup"]);
        assert!(!inside.contains(&id), "{inside}");
        drop(executed.stdin.take());
        executed.wait().unwrap();
    }
}

/// CVE-2026-53488, CVE-2026-53492: words of an image decide nothing about the host.
#[test]
fn labels_and_variables_of_an_image_decide_nothing() {
    let skep = Skep::with_image();
    let uri = "binary:///bin/sh?-c=touch%20/tmp/skep-attack";
    let labels = [
        "containerd.io/restart.status",
        "containerd.io/restart.loguri",
        "containerd.io/restart.logpath",
        "cdi.k8s.io/devices",
        "io.containers.autoupdate",
        "run.oci.keep_original_groups",
        "run.oci.handler",
        "org.criu.config",
        "skep.privileged",
    ];
    let labels: serde_json::Map<_, _> = labels.iter().map(|label| ((*label).to_owned(), uri.into())).collect();
    let env = [
        "PATH=/bin",
        "SKEP_ROOT=/tmp/elsewhere",
        "SKEP_SEALED=1",
        "LD_PRELOAD=/attack.so",
        "NVIDIA_VISIBLE_DEVICES=all",
        "_LIBCONTAINER_INITPIPE=3",
    ];
    let config = serde_json::json!({"Labels": labels, "Env": env, "StopSignal": "SIGKILL; rm -rf /", "Healthcheck": {"Test": ["CMD", "/bin/sh"]}});
    let archive = Archive::new("worded:1").layer(&busybox_layer()).config(config).write(skep.file("worded.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    let plain = skep.ok(["create", IMAGE, "true"]);
    let created = skep.run(["create", "--stop-signal", "TERM", "worded:1", "true"]);
    if created.code == 0 {
        let id = created.stdout.trim();
        let (mut one, mut other) = (skep.json(id)["HostConfig"].clone(), skep.json(&plain)["HostConfig"].clone());
        for config in [&mut one, &mut other] {
            config.as_object_mut().unwrap().remove("ContainerIDFile");
        }
        assert_eq!(one, other, "the image changed what the host grants");
        assert_eq!(skep.run(["start", "-a", id]).code, 0);
        assert_eq!(skep.json(id)["RestartCount"], 0);
    }
    assert!(!Path::new("/tmp/skep-attack").exists());
}
