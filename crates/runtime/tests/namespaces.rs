//! Namespaces of every kind on this kernel: new, joined by path, and those of the host; clocks, names and id maps.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::os::unix::fs::symlink;

use harness::{BASE, Container, is_gone};
use serde_json::{Value, json};

fn namespaces(container: &mut Container) -> &mut Vec<Value> {
    container.spec["linux"]["namespaces"].as_array_mut().unwrap()
}

fn without(container: &mut Container, kind: &str) {
    namespaces(container).retain(|namespace| namespace["type"] != kind);
}

fn with_path(container: &mut Container, kind: &str, path: &str) {
    without(container, kind);
    namespaces(container).push(json!({"type": kind, "path": path}));
}

fn tools(container: &Container, names: &[&str]) {
    for name in names {
        symlink("busybox", container.root.path.join("bin").join(name)).unwrap();
    }
}

/// No mount namespace, and so nothing that is mounted.
fn bare(script: &str) -> Container {
    let mut container = Container::with_host_ids(script);
    without(&mut container, "mount");
    container.spec["mounts"] = json!([]);
    container.spec["linux"]["maskedPaths"] = json!([]);
    container.spec["linux"]["readonlyPaths"] = json!([]);
    container
}

const EVERY: [(&str, &str); 8] = [
    ("user", "user"),
    ("mount", "mnt"),
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

#[test]
fn every_kind_but_mount_is_joined_by_path() {
    let mut first = Container::new("sleep 60");
    namespaces(&mut first).push(json!({"type": "time"}));
    first.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000}});
    let (running, _output) = first.start().unwrap();
    let file = |name: &str| format!("/proc/{}/ns/{name}", running.identity.pid);
    let script =
        "for n in user pid net ipc uts cgroup time mnt; do readlink /proc/self/ns/$n; done; cat /proc/1/comm; id -u";
    let mut second = Container::new(script);
    for (kind, name) in EVERY.iter().filter(|(kind, _)| *kind != "mount") {
        with_path(&mut second, kind, &file(name));
    }
    let ended = second.run().unwrap();
    let lines: Vec<_> = ended.output.lines().collect();
    for (line, name) in lines.iter().zip(["user", "pid", "net", "ipc", "uts", "cgroup", "time"]) {
        assert_eq!(*line, fs::read_link(file(name)).unwrap().to_str().unwrap());
    }
    assert_ne!(lines[7], fs::read_link(file("mnt")).unwrap().to_str().unwrap());
    assert_eq!(lines[8..], ["sleep", "0"]);
    // Its own pid and mount namespaces belong to the joined user namespace.
    let mut third = Container::new("echo $$; cat /proc/self/uid_map; stat -c %u /bin; hostname");
    with_path(&mut third, "user", &file("user"));
    third.spec["linux"]["uidMappings"] = json!([]);
    third.spec["linux"]["gidMappings"] = json!([]);
    let ended = third.run().unwrap();
    let words: Vec<_> = ended.output.split_whitespace().collect();
    assert_eq!(words, ["1", "0", &BASE.to_string(), "65536", "0", "cell"]);
    // Mappings that are not its own are a mistake.
    third.spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
    let error = third.plan().err().unwrap().to_string();
    assert!(error.starts_with("the id mappings are not those of the user namespace"), "{error}");
    first.kill(&running);
}

#[test]
fn exec_goes_into_a_joined_user_namespace() {
    let first = Container::new("sleep 60");
    let (running, _output) = first.start().unwrap();
    let mut second = Container::new("sleep 60");
    with_path(&mut second, "user", &format!("/proc/{}/ns/user", running.identity.pid));
    second.spec["linux"]["uidMappings"] = json!([]);
    second.spec["linux"]["gidMappings"] = json!([]);
    second.spec["process"]["user"] = json!({"uid": 33, "gid": 33});
    let (child, _output) = second.start().unwrap();
    let ended = second.execute(&child, "readlink /proc/self/ns/user; id -u; stat -c %u /proc/self/", |_| {}).unwrap();
    let joined = fs::read_link(format!("/proc/{}/ns/user", running.identity.pid)).unwrap();
    assert_eq!(ended.output, format!("{}\n33\n33\n", joined.display()));
    second.kill(&child);
    first.kill(&running);
}

#[test]
fn wrong_files_are_refused_before_anything_is_made() {
    for (kind, path, expected) in [
        ("network", "/proc/self/ns/uts", "`/proc/self/ns/uts` is a uts namespace, no net one"),
        ("user", "/proc/self/ns/mnt", "`/proc/self/ns/mnt` is a mnt namespace, no user one"),
        ("mount", "/proc/self/ns/user", "`/proc/self/ns/user` is a user namespace, no mnt one"),
        ("time", "/proc/self/ns/pid", "`/proc/self/ns/pid` is a pid namespace, no time one"),
        ("ipc", "/etc/passwd", "`/etc/passwd` is no namespace"),
        ("pid", "ns/pid", "`ns/pid` is not an absolute path of a namespace"),
    ] {
        let mut container = Container::with_host_ids("true");
        with_path(&mut container, kind, path);
        assert_eq!(container.plan().err().unwrap().to_string(), expected);
    }
    let mut container = Container::new("true");
    namespaces(&mut container).push(json!({"type": "pid"}));
    assert_eq!(container.plan().err().unwrap().to_string(), "the pid namespace is given twice");
}

#[test]
fn a_time_namespace_has_its_own_clocks() {
    let script = "cat /proc/self/timens_offsets; cat /proc/uptime; readlink /proc/self/ns/time";
    for mut container in [Container::new(script), Container::with_host_ids(script)] {
        namespaces(&mut container).push(json!({"type": "time"}));
        container.spec["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 86_400, "nanosecs": 5}, "boottime": {"secs": 1_000_000_000}});
        let output = container.run().unwrap().output;
        let words: Vec<_> = output.split_whitespace().collect();
        assert_eq!(words[..6], ["monotonic", "86400", "5", "boottime", "1000000000", "0"]);
        assert!(words[6].split('.').next().unwrap().parse::<u64>().unwrap() > 1_000_000_000, "{output}");
        assert_ne!(words[8], fs::read_link("/proc/self/ns/time").unwrap().to_str().unwrap());
        container.spec["linux"]["timeOffsets"] = json!({});
        let output = container.run().unwrap().output;
        assert_ne!(output.lines().last().unwrap(), fs::read_link("/proc/self/ns/time").unwrap().to_str().unwrap());
        container.spec["linux"]["timeOffsets"] = json!({"tai": {"secs": 1}});
        let error = container.plan().err().unwrap().to_string();
        assert_eq!(error, "no clock `tai` has an offset; use `monotonic` or `boottime`");
    }
    let mut container = Container::new("true");
    container.spec["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}});
    assert!(container.plan().is_err());
}

#[test]
fn exec_has_the_clocks_of_the_container() {
    let mut container = Container::new("sleep 60");
    namespaces(&mut container).push(json!({"type": "time"}));
    container.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 2_000_000_000}});
    let (running, _output) = container.start().unwrap();
    let output = container.execute(&running, "cat /proc/uptime", |_| {}).unwrap().output;
    assert!(output.split('.').next().unwrap().parse::<u64>().unwrap() > 2_000_000_000, "{output}");
    container.kill(&running);
}

#[test]
fn what_is_left_out_is_the_hosts() {
    let mut container =
        Container::with_host_ids("for n in pid net ipc uts cgroup user time; do readlink /proc/self/ns/$n; done");
    container.spec["linux"]["namespaces"] = json!([{"type": "mount"}]);
    container.spec.as_object_mut().unwrap().remove("hostname");
    let output = container.run().unwrap().output;
    for (line, name) in output.lines().zip(["pid", "net", "ipc", "uts", "cgroup", "user", "time"]) {
        assert_eq!(line, fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap());
    }
    container.spec["hostname"] = json!("other");
    let error = container.plan().err().unwrap().to_string();
    assert_eq!(error, "a host name needs a uts namespace of the container's own");
}

#[test]
fn without_a_mount_namespace_the_root_is_changed_and_nothing_is_mounted() {
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut container = bare("ls /; pwd; cat /data/own; echo new > /data/new; echo $$");
    fs::write(container.root.path.join("data/own"), "its own\n").unwrap();
    container.spec["process"]["cwd"] = json!("/data");
    let ended = container.run().unwrap();
    assert_eq!(ended.output, "bin\ndata\ndev\netc\nproc\nsys\ntmp\n/data\nits own\n1\n", "{}", ended.code);
    assert_eq!(fs::read_to_string(container.root.path.join("data/new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    // exec has the same root.
    let container = bare("sleep 60");
    let (running, _output) = container.start().unwrap();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(fs::read_link(format!("/proc/{}/ns/mnt", running.identity.pid)).unwrap(), own);
    assert_eq!(
        container.execute(&running, "ls /; pwd", |_| {}).unwrap().output,
        "bin\ndata\ndev\netc\nproc\nsys\ntmp\n/\n"
    );
    container.kill(&running);
    let mut container = Container::with_host_ids("true");
    without(&mut container, "mount");
    let error = container.plan().err().unwrap().to_string();
    assert!(error.starts_with("`mounts` of the specification needs a mount namespace"), "{error}");
}

#[test]
fn a_mount_namespace_is_joined_and_left_as_it_is() {
    let first = Container::with_host_ids("sleep 60");
    let (running, _output) = first.start().unwrap();
    let table = || fs::read_to_string(format!("/proc/{}/mountinfo", running.identity.pid)).unwrap();
    let before = table();
    let mut second = bare("sleep 60");
    fs::write(second.root.path.join("data/second"), "").unwrap();
    namespaces(&mut second).push(json!({"type": "mount", "path": format!("/proc/{}/ns/mnt", running.identity.pid)}));
    let (child, _output) = second.start().unwrap();
    let namespace = |pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(namespace(child.identity.pid), namespace(running.identity.pid));
    assert_eq!(second.execute(&child, "ls /data", |_| {}).unwrap().output, "second\n");
    assert_eq!(first.execute(&running, "ls /data", |_| {}).unwrap().output, "");
    assert_eq!(table(), before);
    second.kill(&child);
    first.kill(&running);
}

#[test]
fn a_joined_uts_namespace_is_given_the_name() {
    let first = Container::new("sleep 60");
    let (running, _output) = first.start().unwrap();
    let mut second = Container::new("hostname; cat /proc/sys/kernel/domainname");
    with_path(&mut second, "uts", &format!("/proc/{}/ns/uts", running.identity.pid));
    second.spec["hostname"] = json!("renamed");
    second.spec["domainname"] = json!("example.org");
    assert_eq!(second.run().unwrap().output, "renamed\nexample.org\n");
    assert_eq!(first.execute(&running, "hostname", |_| {}).unwrap().output, "renamed\n");
    second.spec.as_object_mut().unwrap().remove("hostname");
    assert_eq!(second.run().unwrap().output, "renamed\nexample.org\n");
    first.kill(&running);
}

#[test]
fn maps_have_many_ranges() {
    let mut container = Container::new("wc -l < /proc/self/uid_map; id -u; stat -c %u /data");
    tools(&container, &["wc"]);
    let ranges: Vec<_> =
        (0..340).map(|number| json!({"containerID": number * 2, "hostID": BASE + number * 3, "size": 2})).collect();
    container.spec["linux"]["uidMappings"] = json!(ranges);
    container.spec["linux"]["gidMappings"] = json!(ranges);
    container.spec["process"]["user"] = json!({"uid": 679, "gid": 679});
    let error = container.plan().err().map(|error| error.to_string()).unwrap_or_default();
    // 340 lines of this length are more than a page.
    assert!(error.ends_with("340 ranges, on one page of text"), "{error}");
    let fewer = &ranges[..200];
    container.spec["linux"]["uidMappings"] = json!(fewer);
    container.spec["linux"]["gidMappings"] = json!(fewer);
    container.spec["process"]["user"] = json!({"uid": 399, "gid": 0});
    assert_eq!(container.run().unwrap().output, "200\n399\n0\n");
}

#[test]
fn root_need_not_be_mapped() {
    let mut container =
        Container::new("id -u; id -g; cat /proc/self/uid_map; grep CapEff /proc/self/status; mkdir /x 2>&1");
    tools(&container, &["mkdir"]);
    container.spec["linux"]["uidMappings"] = json!([{"containerID": 1000, "hostID": BASE, "size": 10}]);
    container.spec["linux"]["gidMappings"] = json!([{"containerID": 1000, "hostID": BASE, "size": 10}]);
    container.spec["process"]["user"] = json!({"uid": 1005, "gid": 1001});
    container.spec["mounts"][2]["options"] = json!(["newinstance"]);
    let words = container.run().unwrap().output;
    let words: Vec<_> = words.split_whitespace().collect();
    assert_eq!(words[..7], ["1005", "1001", "1000", &BASE.to_string(), "10", "CapEff:", "0000000000000000"]);
    container.spec["process"]["user"] = json!({"uid": 5, "gid": 1001});
    let error = container.plan().err().unwrap().to_string();
    assert_eq!(error, "the id mappings lack the user 5 of the process; map it, or user 0");
    assert!(is_gone(&container.cgroup));
}
