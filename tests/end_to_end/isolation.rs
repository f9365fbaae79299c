//! The walls: namespaces, user ids, capabilities, filters, hidden paths, and what the host sees of it.

use crate::harness::{IMAGE, Skep, process_status};
use std::fs;

/// Docker's fourteen default capabilities as the kernel prints them.
const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";

fn namespace(pid: &str, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string()
}

#[test]
fn seven_fresh_namespaces() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let pid = skep.pid(&id).to_string();
    for name in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        assert_ne!(namespace(&pid, name), namespace("self", name), "{name}");
    }
}

#[test]
fn first_inside_and_an_ordinary_process_outside() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let inside = skep.ok(["exec", &id, "ps", "-o", "pid,comm"]);
    assert!(inside.lines().any(|line| line.split_whitespace().eq(["1", "sleep"])), "{inside}");
    let pid = skep.pid(&id);
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim(), "sleep");
    assert_eq!(process_status(pid, "NSpid").split_whitespace().last(), Some("1"));
}

#[test]
fn root_inside_is_nobody_outside() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let map = skep.ok(["exec", &id, "cat", "/proc/self/uid_map"]);
    let fields: Vec<u64> = map.split_whitespace().map(|field| field.parse().unwrap()).collect();
    assert_eq!((fields[0], fields[2]), (0, 65536), "{map}");
    assert!(fields[1] >= 65536, "{map}");
    let uids = process_status(skep.pid(&id), "Uid");
    assert_eq!(uids.split_whitespace().next().unwrap(), fields[1].to_string());
    let other = skep.sleeper(&[]);
    assert_ne!(skep.ok(["exec", &other, "cat", "/proc/self/uid_map"]), map, "each container has a range of its own");
    assert_eq!(skep.ok(["exec", &id, "cat", "/proc/self/gid_map"]), map);
}

#[test]
fn capabilities_and_filter_are_dockers() {
    let skep = Skep::with_image();
    let status = skep.ok(["run", "--rm", IMAGE, "cat", "/proc/self/status"]);
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let bounding = u64::from_str_radix(&own_status("CapBnd"), 16).unwrap();
    let wanted = format!("{:016x}", u64::from_str_radix(DEFAULT_CAPABILITIES, 16).unwrap() & bounding);
    assert_eq!(field("CapEff"), wanted);
    assert_eq!(field("CapPrm"), wanted);
    assert_eq!(field("CapBnd"), wanted);
    assert_eq!(field("CapInh"), "0000000000000000");
    assert_eq!(field("CapAmb"), "0000000000000000");
    assert_eq!(field("NoNewPrivs"), "0");
    assert_eq!(field("Seccomp"), "2");
}

fn own_status(field: &str) -> String {
    process_status(std::process::id() as i32, field)
}

#[test]
fn capabilities_follow_user_and_flags() {
    let skep = Skep::with_image();
    let effective = |options: &[&str]| {
        let mut arguments = vec!["run", "--rm"];
        arguments.extend(options);
        arguments.extend([IMAGE, "grep", "CapEff", "/proc/self/status"]);
        skep.ok(arguments).split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(effective(&["-u", "1000"]), "0000000000000000");
    assert_eq!(effective(&["--cap-drop", "ALL"]), "0000000000000000");
    assert_eq!(effective(&["--cap-drop", "all", "--cap-add", "NET_BIND_SERVICE"]), "0000000000000400");
    assert_eq!(effective(&["--cap-drop", "ALL", "--cap-add", "CAP_CHOWN"]), "0000000000000001");
    skep.fails(125, ["run", "--rm", "--cap-add", "FLYING", IMAGE, "true"]);
}

#[test]
fn security_options() {
    let skep = Skep::with_image();
    let run = |option: &str, script: &str| {
        skep.run(["run", "--rm", "--security-opt", option, IMAGE, "sh", "-c", script]).stdout
    };
    assert_eq!(run("no-new-privileges", "grep NoNewPrivs /proc/self/status"), "NoNewPrivs:\t1\n");
    assert_eq!(run("seccomp=unconfined", "grep Seccomp: /proc/self/status"), "Seccomp:\t0\n");
    let profile = skep.file("profile.json");
    let text =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    assert!(run(&option, "mkdir /tmp/x 2>&1 || echo refused").contains("refused"));
    fs::write(&profile, "{ not json").unwrap();
    let output = skep.run(["run", "--rm", "--security-opt", &option, IMAGE, "true"]);
    output.assert_one_line_error(125, &["profile.json"]);
}

#[test]
fn the_default_filter_refuses_what_dockers_refuses() {
    let skep = Skep::with_image();
    let script = "mount -t tmpfs none /tmp 2>&1 || echo no mount; unshare -U true 2>&1 || echo no namespaces; \
                  date -s 2000-01-01 2>&1";
    let output = skep.ok(["run", "--rm", IMAGE, "sh", "-c", script]);
    for refused in ["no mount", "no namespaces", "can't set date"] {
        assert!(output.contains(refused), "{output}");
    }
}

#[test]
fn kernel_paths_are_hidden_or_read_only() {
    let skep = Skep::with_image();
    let script = "cat /proc/kcore 2>/dev/null | wc -c; cat /proc/timer_list 2>/dev/null | wc -c; ls /proc/acpi 2>/dev/null | wc -l; ls /sys/firmware | wc -l; \
                  (echo b > /proc/sysrq-trigger) 2>/dev/null || echo read-only; \
                  (echo 1 > /proc/sys/kernel/panic) 2>/dev/null || echo read-only; \
                  (mkdir /sys/fs/x) 2>/dev/null || echo read-only";
    assert_eq!(skep.ok(["run", "--rm", IMAGE, "sh", "-c", script]), "0\n0\n0\n0\nread-only\nread-only\nread-only");
}

#[test]
fn no_descriptor_of_the_host_is_left_open() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    // `ls` itself holds the directory open, as number 3.
    for output in
        [skep.ok(["run", "--rm", IMAGE, "ls", "/proc/self/fd"]), skep.ok(["exec", &id, "ls", "/proc/self/fd"])]
    {
        assert_eq!(output.lines().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    }
    assert_eq!(fs::read_dir(format!("/proc/{}/fd", skep.pid(&id))).unwrap().count(), 3);
    let inside = skep.ok(["run", "--rm", "-w", "/proc/self/fd", IMAGE, "sh", "-c", "ls -l /proc/self/cwd"]);
    assert!(!inside.contains("skt-"), "{inside}");
}

#[test]
fn the_cgroup_is_the_root_of_what_can_be_seen() {
    let skep = Skep::with_image();
    let groups = skep.ok(["run", "--rm", "-m", "64m", IMAGE, "cat", "/proc/self/cgroup"]);
    for line in
        groups.lines().filter(|line| line.contains("memory") || line.contains("pids") || line.starts_with("0::/"))
    {
        assert!(line.ends_with(":/"), "{line}");
    }
}

#[test]
fn exec_joins_all_of_them_with_the_same_walls() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--cap-drop", "ALL", "-m", "64m"]);
    let pid = skep.pid(&id).to_string();
    for name in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        assert_eq!(
            skep.ok(["exec", &id, "readlink", &format!("/proc/self/ns/{name}")]),
            namespace(&pid, name),
            "{name}"
        );
    }
    let status = skep.ok(["exec", &id, "grep", "-E", "CapEff|CapInh|Seccomp:", "/proc/self/status"]);
    assert_eq!(status, "CapInh:\t0000000000000000\nCapEff:\t0000000000000000\nSeccomp:\t2");
    let privileged = skep.ok(["exec", "--privileged", &id, "grep", "CapEff", "/proc/self/status"]);
    assert!(!privileged.ends_with("0000000000000000"), "{privileged}");
    assert_eq!(
        skep.ok(["exec", "-u", "bee", "-w", "/tmp", "-e", "A=b", &id, "sh", "-c", "id -un; pwd; echo $A"]),
        "bee\n/tmp\nb"
    );
}

#[test]
fn containers_do_not_see_each_other() {
    let skep = Skep::with_image();
    let (first, second) = (skep.sleeper(&[]), skep.sleeper(&[]));
    skep.ok(["exec", &first, "sh", "-c", "echo secret > /tmp/note; echo secret > /dev/shm/note"]);
    assert_eq!(skep.run(["exec", &second, "cat", "/tmp/note"]).code, 1);
    assert_eq!(skep.run(["exec", &second, "cat", "/dev/shm/note"]).code, 1);
    assert_eq!(skep.ok(["exec", &second, "ps", "-o", "args"]).matches("sleep 1000").count(), 1);
}

#[test]
fn no_abstract_socket_is_made() {
    let skep = Skep::with_image();
    skep.sleeper(&["--network", "host"]);
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let abstract_ones = sockets.lines().filter(|line| line.contains(" @") && line.contains("skep"));
    assert_eq!(abstract_ones.count(), 0, "{sockets}");
}

#[test]
fn the_store_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let skep = Skep::with_image();
    skep.sleeper(&[]);
    for directory in [skep.root(), skep.run_root()] {
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700, "{}", directory.display());
    }
}
