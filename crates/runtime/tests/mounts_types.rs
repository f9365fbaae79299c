//! File systems of every type that this kernel has, and what is mounted in their place.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::Container;
use serde_json::{Value, json};

fn with(mut container: Container, mount: Value) -> Container {
    container.spec["mounts"].as_array_mut().unwrap().push(mount);
    container
}

/// `type` and options of what is on `/data`, as mountinfo has them behind the dash.
fn found(container: &mut Container) -> Result<String, String> {
    container.spec["process"]["args"] = json!(["cat", "/proc/self/mountinfo"]);
    let ended = container.run().map_err(|failed| failed.to_string())?;
    let line = ended.output.lines().rfind(|line| line.split(' ').nth(4) == Some("/data")).map(str::to_owned);
    Ok(line.unwrap().split(" - ").nth(1).unwrap().to_owned())
}

#[test]
fn every_type_without_a_device_can_be_mounted() {
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    // These want an address, a descriptor or a source of their own, or cannot be mounted by anybody.
    let special = ["sockfs", "pipefs", "bdev", "cpuset", "cgroup", "cgroup2", "overlay", "autofs", "fuse", "fuseblk"];
    for kind in known.lines().filter_map(|line| line.strip_prefix("nodev")).map(str::trim) {
        if special.contains(&kind) {
            continue;
        }
        let mount = json!({"destination": "/data", "type": kind, "source": "what", "options": ["nosuid", "ro"]});
        let text =
            found(&mut with(Container::with_host_ids(""), mount)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(text.starts_with(&format!("{kind} ")), "{kind}: {text}");
        if matches!(kind, "tmpfs" | "ramfs") {
            assert!(text.starts_with(&format!("{kind} what ")), "{text}");
        }
    }
}

#[test]
fn a_user_namespace_has_the_same_types() {
    for kind in ["proc", "sysfs", "mqueue", "devpts", "tmpfs", "ramfs", "bpf", "debugfs", "tracefs"] {
        let mount = json!({"destination": "/data", "type": kind, "source": kind});
        let text = found(&mut with(Container::new(""), mount)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(text.starts_with(&format!("{kind} ")), "{kind}: {text}");
    }
}

#[test]
fn types_that_there_are_not_are_named() {
    let mount = json!({"destination": "/data", "type": "nosuchfs", "source": "x"});
    let failed = found(&mut with(Container::with_host_ids(""), mount)).unwrap_err();
    assert!(failed.contains("no file system of type `nosuchfs`"), "{failed}");
    for kind in ["none", ""] {
        let mount = json!({"destination": "/data", "type": kind, "source": "x"});
        assert!(with(Container::with_host_ids(""), mount).plan().unwrap_err().to_string().contains("type"));
    }
}

/// A loop device with a file system on it; let go at the end.
struct Loop(String);

impl Loop {
    fn new(image: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(image).output().ok()?;
        output.status.success().then(|| Self(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_is_mounted_with_its_options() {
    let container = Container::with_host_ids("");
    let image = container.root.path.join("image");
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&image).status();
    let Some(device) = made.ok().filter(|status| status.success()).and_then(|_| Loop::new(&image)) else {
        return;
    };
    let mount = json!({"destination": "/data", "type": "ext4", "source": device.0, "options": ["noatime", "data=journal", "sync"]});
    let text = found(&mut with(container, mount)).unwrap();
    assert!(text.starts_with(&format!("ext4 {} rw,sync", device.0)) && text.contains("data=journal"), "{text}");
    for container in [Container::with_host_ids(""), Container::new("")] {
        let mount = json!({"destination": "/data", "type": "ext4", "source": device.0, "options": ["ro"]});
        let text = found(&mut with(container, mount)).unwrap();
        assert!(text.starts_with(&format!("ext4 {} ro", device.0)), "{text}");
    }
    let mount = json!({"destination": "/data", "type": "ext4", "source": device.0, "options": ["nonsense=1"]});
    let failed = found(&mut with(Container::with_host_ids(""), mount)).unwrap_err();
    assert!(failed.contains("nonsense"), "{failed}");
    let mount = json!({"destination": "/data", "type": "ext4", "source": "/nonexistent"});
    assert!(found(&mut with(Container::with_host_ids(""), mount)).is_err());
}

#[test]
fn an_overlay_has_lower_and_upper_directories() {
    for layers in [2, 40] {
        let container = Container::with_host_ids("");
        let base = container.root.path.join("overlay-of-a-test-with-a-long-name");
        let mut lower = Vec::new();
        for number in 0..layers {
            let layer = base.join(format!("layer-{number}"));
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join(format!("file-{number}")), "").unwrap();
            lower.push(layer.to_str().unwrap().to_owned());
        }
        for name in ["upper", "work"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        let options = [
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", base.join("upper").display()),
            format!("workdir={}", base.join("work").display()),
        ];
        let mount = json!({"destination": "/data", "type": "overlay", "source": "overlay", "options": options});
        let mut container = with(container, mount);
        container.spec["process"]["args"] = json!(["sh", "-c", "ls /data | busybox wc -l; echo x > /data/new"]);
        let ended = match container.run() {
            // Kernels before 6.7.
            Err(failed) if layers > 2 && failed.to_string().contains("too long") => continue,
            ended => ended.unwrap(),
        };
        assert_eq!(ended.output, format!("{layers}\n"));
        assert_eq!(fs::read_to_string(base.join("upper/new")).unwrap(), "x\n");
    }
}

#[test]
fn proc_takes_its_options() {
    let mut container = Container::with_host_ids("");
    container.spec["mounts"][0]["options"] = json!(["hidepid=2", "gid=7", "subset=pid", "nosuid"]);
    // What the masks would cover is not there.
    container.spec["process"]["args"] =
        json!(["sh", "-c", "ls /proc | busybox grep -c meminfo; busybox grep ' /proc ' /proc/self/mountinfo"]);
    let text = container.run().unwrap().output;
    assert!(text.starts_with("0\n"), "{text}");
    for word in ["hidepid=invisible", "gid=7", "subset=pid"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn a_group_that_nobody_has_is_left_out_of_devpts() {
    let mut container = Container::new("busybox grep ' /dev/pts ' /proc/self/mountinfo");
    container.spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": harness::BASE, "size": 1}]);
    container.spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": harness::BASE, "size": 1}]);
    container.spec["process"]["user"] = json!({"uid": 0, "gid": 0});
    let text = container.run().unwrap().output;
    assert!(text.contains("devpts") && !text.contains("gid="), "{text}");
    let text = Container::new("busybox grep ' /dev/pts ' /proc/self/mountinfo").run().unwrap().output;
    assert!(text.contains("gid="), "{text}");
}

#[test]
fn a_terminal_can_be_of_a_bound_devpts() {
    let mut container = Container::with_host_ids("true");
    container.spec["process"]["terminal"] = json!(true);
    container.spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
    assert!(container.plan().is_err());
    container.spec["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"destination": "/dev/pts", "type": "bind", "source": "/dev/pts", "options": ["bind"]}));
    assert!(container.plan().is_ok());
}

#[test]
fn the_hosts_sysfs_and_queues_come_without_namespaces_for_them() {
    for mut container in [Container::new(""), Container::with_host_ids("")] {
        let namespaces = container.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| !["network", "ipc"].contains(&namespace["type"].as_str().unwrap()));
        container.spec["process"]["args"] = json!(["sh", "-c", "ls /sys/class/net; stat -f -c %T /dev/mqueue /sys"]);
        let text = container.run().unwrap().output;
        let mut names: Vec<_> =
            fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            assert!(text.contains(name.to_str().unwrap()), "{text}");
        }
        assert!(text.contains("sysfs"), "{text}");
    }
}

#[test]
fn labels_need_selinux() {
    // With SELinux the label is real, and tested elsewhere.
    if Path::new("/sys/fs/selinux").exists() {
        return;
    }
    let mut container = Container::with_host_ids("true");
    container.spec["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    assert!(container.plan().unwrap_err().to_string().contains("SELinux"));
}

#[test]
fn the_cgroup_view_is_the_containers_own_with_the_hosts_namespace_too() {
    for private in [true, false] {
        let mut container = Container::with_host_ids("");
        if !private {
            let namespaces = container.spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "cgroup");
        }
        container.spec["process"]["args"] = json!([
            "sh",
            "-c",
            "find() { busybox find \"$@\"; }; find /sys/fs/cgroup -name cgroup.procs | while read f; do \
               (echo $$ > $f) 2>/dev/null && echo written $f; done; \
             find /sys/fs/cgroup -mindepth 1 -type d | while read d; do (mkdir $d/x) 2>/dev/null && echo made $d; done; \
             busybox cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs 2>/dev/null | busybox sort -u | busybox head -1"
        ]);
        assert_eq!(container.run().unwrap().output, "1\n", "{private}");
    }
}

#[test]
fn two_hundred_mounts_of_all_kinds() {
    for mut container in [Container::with_host_ids(""), Container::new("")] {
        let source = container.root.path.join("data");
        for number in 0..200 {
            let place = format!("/m/{number}");
            container.spec["mounts"].as_array_mut().unwrap().push(match number % 3 {
                0 => json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]}),
                1 => json!({"destination": place, "type": "bind", "source": source, "options": ["rbind", "ro"]}),
                _ => json!({"destination": place, "type": "mqueue", "source": "mqueue"}),
            });
        }
        container.spec["process"]["args"] =
            json!(["sh", "-c", "busybox grep -c ' /m/' /proc/self/mountinfo; ls /dev/pts"]);
        assert_eq!(container.run().unwrap().output, "200\nptmx\n");
    }
}
