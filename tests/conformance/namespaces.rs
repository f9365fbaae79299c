//! Namespaces, id maps, clocks, names, network devices, settings of the kernel, and what the process takes its memory from.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::harness::{Bundle, field};

const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap().to_owned()
}

const SHOW: &str = "for n in pid net mnt ipc uts user cgroup time; do readlink /proc/self/ns/$n; done";

#[test]
fn namespaces_are_new_or_the_runtimes() {
    let _field = field(&["linux.namespaces[].type"]);
    let mut bundle = Bundle::new(SHOW);
    bundle.with_user_namespace().namespace(json!({"type": "time"}));
    for (line, (_, name)) in bundle.output().lines().zip(KINDS) {
        assert_ne!(line, own(name));
    }
    let mut bundle = Bundle::new(SHOW);
    bundle.spec["linux"]["namespaces"] = json!([{"type": "mount"}]);
    for (line, (kind, name)) in bundle.output().lines().zip(KINDS) {
        assert_eq!(line == own(name), kind != "mount", "{kind}");
    }
    bundle.spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "mount"}]);
    assert!(bundle.refusal().contains("twice"));
    // Without a mount namespace nothing can be mounted, but a bare root works.
    bundle.spec["linux"]["namespaces"] = json!([{"type": "pid"}]);
    assert!(bundle.refusal().contains("mount namespace"));
    bundle.spec["mounts"] = json!([]);
    bundle.spec["process"]["args"] = json!(["sh", "-c", "echo $$; ls -d /bin"]);
    assert_eq!(bundle.output(), "1\n/bin\n");
}

#[test]
fn namespaces_are_joined_by_path() {
    let _field = field(&["linux.namespaces[].path"]);
    let mut first = Bundle::new("sleep 100");
    first.with_user_namespace().namespace(json!({"type": "time"}));
    let pid = first.start();
    let mut second = Bundle::new(SHOW);
    second.with_user_namespace();
    for (kind, name) in KINDS.iter().filter(|(kind, _)| *kind != "mount") {
        second.namespace(json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")}));
    }
    for (line, (kind, name)) in second.output().lines().zip(KINDS) {
        let there = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(line == there.to_str().unwrap(), kind != "mount", "{kind}");
    }
    second.namespace(json!({"type": "ipc", "path": format!("/proc/{pid}/ns/net")}));
    assert!(second.refusal().contains("is a net namespace, no ipc one"));
    second.namespace(json!({"type": "ipc", "path": "/etc/passwd"}));
    assert!(second.refusal().contains("is no namespace"));
    first.ok(&["delete", "--force", &first.id]);
}

#[test]
fn ids_are_mapped() {
    let _field = field(&["linux.uidMappings", "linux.gidMappings"]);
    let mut bundle = Bundle::new("cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; id -u");
    bundle.with_user_namespace();
    let base = bundle.spec["linux"]["uidMappings"][0]["hostID"].as_u64().unwrap();
    bundle.spec["linux"]["uidMappings"] = json!([
        {"containerID": 0, "hostID": base, "size": 10},
        {"containerID": 10, "hostID": base + 100, "size": 5},
    ]);
    let expected = format!(" 0 {base} 10\n 10 {} 5\n 0 {base} 65536\n0\n", base + 100);
    assert_eq!(bundle.output(), expected);
    bundle.spec["linux"]["uidMappings"][1]["containerID"] = json!(9);
    assert!(bundle.refusal().contains("overlap"));
    bundle.without_namespace("user");
    assert!(bundle.refusal().contains("user namespace"));
}

#[test]
fn clocks_have_offsets() {
    let _field = field(&["linux.timeOffsets"]);
    let mut bundle = Bundle::new("tr -s ' ' < /proc/self/timens_offsets; cut -d. -f1 /proc/uptime");
    bundle.namespace(json!({"type": "time"}));
    bundle.spec["linux"]["timeOffsets"] =
        json!({"monotonic": {"secs": 7, "nanosecs": 8}, "boottime": {"secs": 9_000_000}});
    let output = bundle.output();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..2], ["monotonic 7 8", "boottime 9000000 0"]);
    assert!(lines[2].parse::<u64>().unwrap() > 9_000_000);
    bundle.spec["linux"]["timeOffsets"] = json!({"realtime": {"secs": 7}});
    assert!(bundle.refusal().contains("realtime"));
    bundle.spec["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 7}});
    bundle.without_namespace("time");
    assert!(bundle.refusal().contains("time namespace"));
}

#[test]
fn the_container_has_its_names() {
    let _field = field(&["hostname", "domainname"]);
    let mut bundle = Bundle::new("hostname; cat /proc/sys/kernel/domainname");
    bundle.spec["hostname"] = json!("slartibartfast");
    bundle.spec["domainname"] = json!("foobarbaz.test");
    assert_eq!(bundle.output(), "slartibartfast\nfoobarbaz.test\n");
    bundle.without_namespace("uts");
    assert!(bundle.refusal().contains("uts namespace"));
}

#[test]
fn network_devices_move_in() {
    let mut field = field(&["linux.netDevices"]);
    if Command::new("ip").arg("-V").output().is_err() {
        field.lacks("the program `ip` to make devices with");
        return;
    }
    // The runtime stands in a network namespace of the test's own.
    let namespace = format!("skt-{}", std::process::id());
    let ip = |words: &str| assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
    let inside = |words: &str| ip(&format!("-n {namespace} {words}"));
    ip(&format!("netns add {namespace}"));
    inside("link add left type veth peer name right");
    inside("link set right up");
    inside("addr add 10.7.0.2/24 dev left");
    let mut bundle = Bundle::new(
        "ip -o addr show dev eth7 | grep -o 'inet [0-9./]*'; ip -o link show dev eth7 | grep -o '[<,]UP[,>]' | tr -d '<,>'",
    );
    bundle.spec["linux"]["netDevices"] = json!({"left": {"name": "eth7"}});
    bundle.write();
    // Not by `ip netns exec`, which mounts another /sys.
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).args(["timeout", "60"]).arg(crate::harness::binary());
    command.args(["runtime", "--root"]).arg(bundle.file("state"));
    let output = command.arg("run").arg("--bundle").arg(&bundle.directory).arg(&bundle.id).output().unwrap();
    ip(&format!("netns del {namespace}"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "inet 10.7.0.2/24\nUP\n", "{output:?}");
    bundle.spec["linux"]["netDevices"] = json!({"nowhere0": {}});
    assert!(bundle.refusal().contains("nowhere0"));
}

#[test]
fn settings_of_the_kernel_are_the_containers_own() {
    let _field = field(&["linux.sysctl"]);
    let mut bundle = Bundle::new("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
    bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel/msgmax": "4321"});
    assert_eq!(bundle.output(), "1\n4321\n");
    for name in ["kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern"] {
        bundle.spec["linux"]["sysctl"] = json!({name: "1"});
        bundle.refusal();
    }
    bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    bundle.without_namespace("network");
    assert!(bundle.refusal().contains("net namespace"));
}

#[test]
fn the_kernel_takes_another_personality() {
    let _field = field(&["linux.personality"]);
    let mut bundle = Bundle::new("uname -m");
    bundle.spec["linux"]["personality"] = json!({"domain": "LINUX32"});
    assert!(["i686\n", "armv8l\n"].contains(&bundle.output().as_str()));
    bundle.spec["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["X"]});
    assert!(bundle.refusal().contains("`X`"));
    bundle.spec["linux"]["personality"] = json!({"domain": "SOLARIS"});
    bundle.refusal();
}

#[test]
fn memory_has_a_policy() {
    let _field = field(&["linux.memoryPolicy"]);
    let mut bundle = Bundle::new("head -1 /proc/self/numa_maps | cut -d' ' -f2");
    bundle.spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    assert_eq!(bundle.output(), "bind=static:0\n");
    for wrong in [json!({"mode": "MPOL_BIND"}), json!({"mode": "MPOL_X"}), json!({"mode": "MPOL_BIND", "nodes": "a"})] {
        bundle.spec["linux"]["memoryPolicy"] = wrong;
        bundle.refusal();
    }
}

#[test]
fn shares_of_the_cache_need_resctrl() {
    let mut field = field(&["linux.intelRdt"]);
    let mut bundle = Bundle::new("true");
    bundle.spec["linux"]["intelRdt"] = json!({"closID": "gold", "l3CacheSchema": "L3:0=f"});
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !mounts.contains(" - resctrl ") {
        assert!(bundle.refusal().contains("resctrl"));
        field.lacks("resctrl");
    }
}
