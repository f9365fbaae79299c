//! Containers made by the root of a user namespace, who is nobody on the host: podman without root, containers in containers.
//!
//! Each test runs itself once more in a user and mount namespace, by `unshare`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use harness::Container;
use runtime::{DirectoryRoot, launch};
use serde_json::json;

const MARK: &str = "SKEP_TEST_NESTED";

/// Whether this is the inner run; the outer one waits for it here.
fn is_inside(test: &str, setup: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    // `unshare` asks these two for the maps; root of the host just writes them.
    let tools = std::env::temp_dir().join(format!("skep-nested-test-{}-{test}", std::process::id()));
    fs::create_dir(&tools).unwrap();
    for name in ["uid", "gid"] {
        let tool = tools.join(format!("new{name}map"));
        fs::write(&tool, format!("#!/bin/sh\necho \"$2 $3 $4\" > /proc/$1/{name}_map\n")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let map = format!("{},0,65536", harness::BASE);
    let namespace = format!(
        "exec unshare --user --mount --map-users {map} --map-groups {map} --setuid 0 --setgid 0 \
         \"$0\" --exact {test} --nocapture"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-e", "-c", &format!("{setup} {namespace}")])
        .arg(std::env::current_exe().unwrap())
        .env(MARK, "1")
        .env("PATH", path)
        .output()
        .unwrap();
    fs::remove_dir_all(&tools).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
    false
}

/// As `unshare --map-root-user` makes it for a user without privileges: one id, and no groups to set.
fn is_inside_alone(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
    false
}

#[test]
fn groups_that_nobody_may_set_stay() {
    if is_inside_alone("groups_that_nobody_may_set_stay") {
        let script = "id -u; cat /proc/self/setgroups; busybox grep Groups /proc/self/status";
        for mut container in [Container::with_host_ids(script), Container::new(script)] {
            let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
            let mapped = container.spec["linux"]["uidMappings"] != json!([]);
            container.spec["linux"]["uidMappings"] = if mapped { map.clone() } else { json!([]) };
            container.spec["linux"]["gidMappings"] = if mapped { map } else { json!([]) };
            let error = container.plan().err().unwrap().to_string();
            assert!(error.starts_with("additional groups cannot be set") || mapped, "{error}");
            container.spec["process"]["user"] = json!({"uid": 0, "gid": 0});
            container.spec["mounts"][2]["options"] = json!(["newinstance"]);
            let ended = run_as_it_is(&container);
            assert!(ended.output.starts_with("0\ndeny\nGroups:"), "{}", ended.output);
        }
    }
}

/// With the root as it is on the disk, given to the container's root.
fn run_directory(container: &Container) -> harness::Ended {
    let given = Command::new("chown").args(["-R", "100:100"]).arg(&container.root.path).status().unwrap();
    assert!(given.success());
    run_as_it_is(container)
}

fn run_as_it_is(container: &Container) -> harness::Ended {
    let root = DirectoryRoot::open(&container.root.path).unwrap();
    let (stdio, output) = harness::piped();
    let running = launch(container.plan().unwrap(), &root, stdio).unwrap().start().unwrap();
    let ended = harness::finish(&running, output);
    // Where one could be made at all.
    runtime::cgroup::Cgroup::remove_at(&container.cgroup).unwrap();
    ended
}

#[test]
fn devices_come_from_the_host() {
    if is_inside("devices_come_from_the_host", "") {
        let mut container =
            Container::with_host_ids("echo x > /dev/null && stat -c '%t:%T' /dev/null /dev/zero; id -u; ls /dev");
        container.spec["linux"]["devices"] = json!([{"path": "/dev/pipe", "type": "p"}]);
        let ended = container.run().unwrap();
        assert!(ended.output.starts_with("1:3\n1:5\n0\n"), "{}", ended.output);
    }
}

#[test]
fn a_namespace_in_a_namespace_works_too() {
    if is_inside("a_namespace_in_a_namespace_works_too", "") {
        let mut container = Container::new(
            "id -u; stat -c '%t:%T' /dev/null; cat /proc/self/uid_map; ls /sys/fs/cgroup | busybox wc -l",
        );
        container.spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100, "size": 1000}]);
        container.spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100, "size": 1000}]);
        let ended = run_directory(&container);
        assert!(ended.output.starts_with("0\n1:3\n         0        100       1000\n"), "{}", ended.output);
    }
}

#[test]
fn a_masked_host_lends_its_own_proc_and_sysfs() {
    // Another proc or sysfs that happens to be mounted here, without masks, would let the kernel make new ones.
    let setup = "grep -E ' - (proc|sysfs) ' /proc/self/mountinfo | cut -d' ' -f5 | grep -vxE '/proc|/sys' | \
                 while read -r other; do umount -l \"$other\"; done; \
                 mount -t tmpfs -o ro tmpfs /proc/fs; mount -t tmpfs -o ro tmpfs /sys/firmware;";
    if is_inside("a_masked_host_lends_its_own_proc_and_sysfs", setup) {
        let mut container = Container::with_host_ids(
            "busybox grep -c ' /sys/firmware ' /proc/self/mountinfo; busybox grep ' /sys ' /proc/self/mountinfo | busybox grep -c 'ro,'",
        );
        let namespaces = container.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
        container.spec["linux"]["maskedPaths"] = json!([]);
        container.spec["linux"]["readonlyPaths"] = json!([]);
        let ended = container.run().unwrap();
        assert_eq!(ended.output, "1\n1\n");
    }
}

#[test]
fn limits_that_cannot_be_set_are_an_error() {
    if is_inside("limits_that_cannot_be_set_are_an_error", "") {
        let mut container = Container::with_host_ids("true");
        container.spec["linux"]["resources"] = json!({"memory": {"limit": 100_000_000}});
        assert!(container.run().is_err());
    }
}

#[test]
fn access_times_of_what_the_creator_mounted_stay() {
    let setup = "mount -t tmpfs -o noatime tmpfs /mnt; chmod 777 /mnt;";
    if is_inside("access_times_of_what_the_creator_mounted_stay", setup) {
        let mut container =
            Container::with_host_ids("busybox grep ' /data ' /proc/self/mountinfo | busybox cut -d' ' -f6");
        let options = ["rbind", "rw", "relatime", "nosuid"];
        let mount = json!({"destination": "/data", "type": "bind", "source": "/mnt", "options": options});
        container.spec["mounts"].as_array_mut().unwrap().push(mount);
        assert_eq!(container.run().unwrap().output, "rw,nosuid,noatime\n");
    }
}
