//! Control groups by the rules of the OCI specification, as root: on v1 natively, on v2 and under systemd in the VM.
//!
//! Every test makes groups below its own `/skep-test-...`, or a scope of such a name, and removes them.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "a test stops where it fails")]

#[path = "harness/group.rs"]
mod group;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use failure::Kind;
use group::{Fixture, resources, until};
use runtime::cgroup::{Cgroup, Controller, Driver, MemoryEvent, Path};

const ROOT: &str = "/sys/fs/cgroup";
/// Set for a copy of this program in a group of its own.
const INSIDE: &str = "SKEP_TEST_INSIDE_GROUP";

fn is_v2() -> bool {
    fs::exists(format!("{ROOT}/cgroup.controllers")).unwrap()
}

fn is_systemd() -> bool {
    fs::exists("/run/systemd/private").unwrap()
}

fn specified(path: &str) -> Path {
    Path::of_specification(Some(std::path::Path::new(path)), "abc", Driver::Cgroupfs).unwrap()
}

fn message(result: failure::Result<Cgroup>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn every_hierarchy_is_joined() {
    let mut fixture = Fixture::specified("all");
    let group = fixture.create("{}").unwrap();
    let directories = group.directories();
    if is_v2() {
        assert_eq!(directories.len(), 1);
    } else {
        assert!(directories.iter().any(|(name, _)| *name == "name=systemd"), "{directories:?}");
    }
    let pid = fixture.spawn(&group, "exec sleep 1000");
    let mine = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for line in mine.lines().filter(|line| is_v2() || !line.starts_with("0::")) {
        assert!(line.ends_with(&format!(":{}", fixture.path.as_str())), "{mine}");
    }
}

#[test]
fn an_empty_group_is_used_as_it_is() {
    let mut fixture = Fixture::specified("existing");
    let first = fixture.create(r#"{"pids":{"limit":7}}"#).unwrap();
    let second = fixture.create(r#"{"memory":{"limit":67108864}}"#).unwrap();
    assert_eq!(second.stats().unwrap().pids_limit, Some(7));
    drop(first);
    // A limit that is refused leaves the group to whoever made it.
    let error = fixture.create(r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":77,"rate":1}]}}"#);
    assert!(error.is_err());
    assert_eq!(second.stats().unwrap().pids_limit, Some(7));
    fixture.spawn(&second, "exec sleep 1000");
    assert_eq!(fixture.create("{}").unwrap_err().kind(), Kind::Conflict);
    second.freeze().unwrap();
    second.kill_all().unwrap();
}

#[test]
fn what_this_machine_lacks_is_refused_before_anything_is_made() {
    let mut cases = vec![
        (r#"{"cpu":{"cpus":"4000"}}"#, "cpuset-cpus `4000` is not available"),
        (r#"{"cpu":{"cpus":"0-18446744073709551615"}}"#, "is no list of numbers"),
        (r#"{"hugepageLimits":[{"pageSize":"2MB/..","limit":1}]}"#, "huge page size"),
        (r#"{"memory":{"kernel":1048576}}"#, "kernel memory limit `1m` cannot be set"),
        (r#"{"network":{"classID":1048577}}"#, "network class `0x100001` cannot be set"),
        (r#"{"network":{"priorities":[{"name":"lo","priority":1}]}}"#, "network priority `lo"),
        (r#"{"blockIO":{"leafWeight":10}}"#, "blkio leaf weight `10` cannot be set"),
        (r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":9999999,"access":"r"}]}"#, "device rule minor"),
    ];
    if is_v2() {
        cases.push((r#"{"memory":{"swappiness":1}}"#, "memory swappiness `1` cannot be set"));
        cases.push((r#"{"memory":{"disableOOMKiller":true}}"#, "oom-kill-disable `true` cannot be set"));
        cases.push((r#"{"memory":{"kernelTCP":4096}}"#, "kernel TCP memory limit `4k` cannot be set"));
        cases.push((r#"{"cpu":{"realtimeRuntime":4}}"#, "cpu realtime runtime `4` cannot be set"));
        cases.push((r#"{"unified":{"cgroup.procs":"1"}}"#, "is no limit"));
    } else {
        cases.push((
            r#"{"unified":{"memory.high":"1"}}"#,
            "unified limit `memory.high` cannot be set: this machine has",
        ));
        cases.push((r#"{"cpu":{"shares":1}}"#, "from 2 to 262144"));
        cases.push((
            r#"{"devices":[{"allow":true,"type":"c","major":1,"access":"r"},{"allow":false,"type":"c","major":1,"minor":3,"access":"r"}]}"#,
            "cannot cut it out",
        ));
        let hugetlb = fs::exists(format!("{ROOT}/hugetlb")).unwrap();
        if !hugetlb {
            cases.push((
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":2097152}]}"#,
                "huge page limit `2097152` cannot be set",
            ));
        }
        if !fs::exists(format!("{ROOT}/rdma")).unwrap() {
            cases.push((r#"{"rdma":{"mlx5":{"hcaHandles":3}}}"#, "rdma limit `mlx5 hca_handle=3` cannot be set"));
        }
    }
    for (index, (json, expected)) in cases.into_iter().enumerate() {
        let fixture = Fixture::specified(&format!("lacking{index}"));
        let message = message(fixture.create(json));
        assert!(message.contains(expected), "{json}: {message}");
        assert!(!message.contains('\n'));
        assert!(fixture.nothing_was_made(), "{json} made a group");
    }
}

#[test]
fn small_limits_are_the_specification_s_to_give() {
    let fixture = Fixture::specified("small");
    let group = fixture.create(r#"{"memory":{"limit":524288}}"#).unwrap();
    assert_eq!(group.stats().unwrap().memory_limit, Some(524_288));
}

#[test]
fn rarer_limits() {
    let fixture = Fixture::specified("rarer");
    let json = r#"{"cpu":{"shares":2048,"quota":50000,"period":100000,"burst":10000},
        "memory":{"limit":67108864,"reservation":33554432,"useHierarchy":true}}"#;
    let group = fixture.create(json).unwrap();
    if is_v2() {
        assert_eq!(fixture.read("", "cpu.weight"), "174");
        assert_eq!(fixture.read("", "cpu.max.burst"), "10000");
        assert_eq!(fixture.read("", "memory.low"), "33554432");
        group.update(&resources(r#"{"cpu":{"idle":1}}"#)).unwrap();
        assert_eq!(fixture.read("", "cpu.idle"), "1");
        group.update(&resources(r#"{"cpu":{"idle":0,"shares":1024}}"#)).unwrap();
        assert_eq!((fixture.read("", "cpu.idle"), fixture.read("", "cpu.weight")), ("0".into(), "100".into()));
        let unified = r#"{"unified":{"memory.high":"50331648","cgroup.max.depth":"3","pids.max":"9\n"}}"#;
        group.update(&resources(unified)).unwrap();
        assert_eq!(fixture.read("", "memory.high"), "50331648");
        assert_eq!(fixture.read("", "cgroup.max.depth"), "3");
        assert_eq!(fixture.read("", "pids.max"), "9");
        let missing = group.update(&resources(r#"{"unified":{"memory.strange":"1"}}"#)).unwrap_err().to_string();
        assert!(missing.contains("no `memory.strange`"), "{missing}");
    } else {
        assert_eq!(fixture.read("cpu", "cpu.shares"), "2048");
        assert_eq!(fixture.read("cpu", "cpu.cfs_burst_us"), "10000");
        assert_eq!(fixture.read("memory", "memory.soft_limit_in_bytes"), "33554432");
        group
            .update(&resources(r#"{"memory":{"disableOOMKiller":true,"swappiness":10,"kernelTCP":1048576}}"#))
            .unwrap();
        assert!(fixture.read("memory", "memory.oom_control").contains("oom_kill_disable 1"));
        assert_eq!(fixture.read("memory", "memory.swappiness"), "10");
        assert_eq!(fixture.read("memory", "memory.kmem.tcp.limit_in_bytes"), "1048576");
        group.update(&resources(r#"{"cpu":{"idle":1}}"#)).unwrap();
        assert_eq!(fixture.read("cpu", "cpu.idle"), "1");
    }
}

#[test]
fn an_update_that_is_used_up_already_is_refused_when_asked_so() {
    let mut fixture = Fixture::specified("used");
    let group = fixture.create(r#"{"memory":{"limit":67108864}}"#).unwrap();
    fixture.spawn(&group, "head -c 30000000 /dev/zero | { tail -n 1; sleep 1000; } | { read -r x; sleep 1000; }");
    until("20 MB", || group.stats().unwrap().memory_usage > 20_000_000);
    let json = r#"{"memory":{"limit":8388608,"checkBeforeUpdate":true}}"#;
    let error = group.update(&resources(json)).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains("already, and checkBeforeUpdate is set"), "{error}");
    assert_eq!(group.stats().unwrap().memory_limit, Some(67_108_864));
    group.kill_all().unwrap();
}

#[test]
fn device_rules_are_changed_while_processes_run() {
    let mut fixture = Fixture::specified("devices");
    let group = fixture.create(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
    let usable = |device: &str| {
        let mut probe = Fixture::beside(&fixture);
        probe.spawn(&group, &format!("true < {device}"));
        probe.wait().success()
    };
    // What every container has.
    assert!(usable("/dev/null") && usable("/dev/zero"));
    assert!(!usable("/dev/kmsg"));
    group.update(&resources(r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#)).unwrap();
    assert!(usable("/dev/kmsg") && usable("/dev/null"));
    group.update(&resources(r#"{"devices":[{"allow":false}]}"#)).unwrap();
    assert!(!usable("/dev/kmsg") && usable("/dev/null"));
    // All but one: open for a moment on v1, while nobody runs.
    let json = r#"{"devices":[{"allow":true},{"allow":false,"type":"c","major":1,"minor":11,"access":"rwm"}]}"#;
    group.update(&resources(json)).unwrap();
    assert!(!group.is_frozen().unwrap());
    assert!(usable("/dev/tty0") || !fs::exists("/dev/tty0").unwrap());
    if is_v2() {
        assert!(!usable("/dev/kmsg"));
        let directory = fs::File::open(group.directories()[0].1).unwrap();
        assert_eq!(sys::bpf::device_programs(std::os::fd::AsFd::as_fd(&directory)).unwrap(), 1);
    }
    assert!(group.update(&resources(r#"{"devices":[{"allow":true,"access":"q"}]}"#)).is_err());
    drop(fixture.path.clone());
    fixture.spawn(&group, "true");
}

#[test]
fn everything_is_counted() {
    let mut fixture = Fixture::specified("counted");
    let group = fixture.create(r#"{"pids":{"limit":9}}"#).unwrap();
    fixture.spawn(&group, "x=$(head -c 300000 /dev/zero | tr '\\0' a); while :; do :; done");
    until("memory", || group.metrics().unwrap().memory.usage.usage > 300_000);
    until("the shell alone", || group.metrics().unwrap().pids.current == 1);
    group.update(&resources(r#"{"cpu":{"quota":1000,"period":20000}}"#)).unwrap();
    until("throttling", || group.metrics().unwrap().cpu.throttling.throttled_periods > 0);
    until("time of the program", || group.metrics().unwrap().cpu.usage.user > 0);
    let metrics = group.metrics().unwrap();
    assert!(metrics.cpu.usage.total > 0);
    assert!(metrics.cpu.throttling.periods >= metrics.cpu.throttling.throttled_periods);
    assert!(metrics.memory.usage.usage > 0 && metrics.memory.usage.limit > 0);
    assert!(!metrics.memory.raw.is_empty());
    assert_eq!((metrics.pids.current, metrics.pids.limit), (1, 9));
    if is_v2() {
        assert!(metrics.memory.swap.limit >= metrics.memory.usage.limit);
    } else {
        assert!(!metrics.cpu.usage.percpu.is_empty() && metrics.memory.usage.max > 0);
        assert!(!metrics.cpuset.cpus.is_empty());
        assert_eq!(metrics.cpu.usage.percpu.len(), metrics.cpu.usage.percpu_user.len());
    }
    group.kill_all().unwrap();
}

#[test]
fn want_of_memory_is_told() {
    let mut fixture = Fixture::specified("watched");
    let group = fixture.create(r#"{"memory":{"limit":16777216,"swap":16777216}}"#).unwrap();
    let mut watch = group.watch_memory().unwrap();
    fixture.spawn(&group, "head -c 60000000 /dev/zero | tail -n 1 | wc -c; exec sleep 1000");
    let end = Instant::now() + Duration::from_secs(60);
    while wait_for(&watch) && watch.take_event().unwrap() != MemoryEvent::OutOfMemory {
        assert!(Instant::now() < end, "no event");
    }
    group.kill_all().unwrap();
    let _ = fixture.wait();
    group.remove().unwrap();
    let mut last = MemoryEvent::Nothing;
    while last != MemoryEvent::Ended {
        assert!(wait_for(&watch), "the end is not told");
        last = watch.take_event().unwrap();
    }
}

fn wait_for(watch: &runtime::cgroup::OomWatch) -> bool {
    let mut polled = [rustix::event::PollFd::new(watch, rustix::event::PollFlags::IN)];
    let time = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&time)).unwrap() == 1
}

#[test]
fn groups_that_a_container_made_go_with_it() {
    let mut fixture = Fixture::specified("nested");
    let group = fixture.create("{}").unwrap();
    let directories: Vec<String> = group.directories().iter().map(|(_, at)| (*at).to_owned()).collect();
    for directory in &directories {
        fs::create_dir_all(format!("{directory}/a/b/c")).unwrap();
    }
    let deep = if is_v2() { directories[0].clone() } else { fixture.directory("freezer") };
    fixture.spawn(&group, &format!("sleep 1000 & echo $! > {deep}/a/b/c/cgroup.procs; wait"));
    until("a process below", || !fs::read_to_string(format!("{deep}/a/b/c/cgroup.procs")).unwrap().is_empty());
    until("both", || group.processes().unwrap().len() == 2);
    group.freeze().unwrap();
    group.kill_all().unwrap();
    let _ = fixture.wait();
    group.remove().unwrap();
    assert!(Cgroup::open(&fixture.path).is_err());
}

/// A copy of this program, in groups of its own in two hierarchies, says where a relative path leads it.
#[test]
fn a_relative_path_is_below_the_own_group() {
    if std::env::var_os(INSIDE).is_some() {
        println!("path {}", serde_json::to_string(&specified("x/y")).unwrap());
        return;
    }
    let mut fixture = Fixture::specified("relative");
    let group = fixture.create("{}").unwrap();
    let program = std::env::current_exe().unwrap();
    let out = std::env::temp_dir().join(format!("skep-relative-{}", std::process::id()));
    let script = format!(
        "{INSIDE}=1 exec {} --exact a_relative_path_is_below_the_own_group --nocapture > {}",
        program.display(),
        out.display()
    );
    fixture.spawn(&group, &script);
    assert!(fixture.wait().success());
    let text = fs::read_to_string(&out).unwrap();
    fs::remove_file(out).unwrap();
    let line = text.lines().find_map(|line| line.split_once("path ").map(|(_, json)| json)).unwrap();
    let path: Path = serde_json::from_str(line).unwrap();
    let below = Cgroup::create(&path, &resources(r#"{"pids":{"limit":5}}"#), &[Controller::Devices]).unwrap();
    for (name, directory) in below.directories() {
        if is_v2() {
            // Beside the own group, which has processes.
            assert!(directory.ends_with(&format!("{}/x/y", fixture.parent)), "{directory}");
        } else {
            assert!(directory.ends_with(&format!("{}/x/y", fixture.path.as_str())), "{name}: {directory}");
        }
    }
    below.remove().unwrap();
    if is_v2() {
        fs::remove_dir(format!("{ROOT}{}/x", fixture.parent)).unwrap();
    }
}

#[test]
fn a_v2_group_can_be_handed_over() {
    if !is_v2() {
        eprintln!("skipped: v1");
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let fixture = Fixture::specified("owned");
    let group = fixture.create("{}").unwrap();
    group.give_to(4242).unwrap();
    let owner = |name: &str| fs::metadata(format!("{}/{name}", group.directories()[0].1)).unwrap().uid();
    for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        assert_eq!(owner(name), 4242, "{name}");
    }
    for name in ["cgroup.freeze", "memory.max", "cgroup.events"] {
        assert_eq!(owner(name), 0, "{name}");
    }
}

#[test]
fn below_threads_there_is_no_memory_limit() {
    if !is_v2() {
        eprintln!("skipped: v1");
        return;
    }
    let outer = Fixture::specified("threaded");
    let group = outer.create("{}").unwrap();
    let directory = group.directories()[0].1.to_owned();
    // A threaded sibling makes the group a domain of threads, and what is made below it invalid.
    fs::create_dir(format!("{directory}/threads")).unwrap();
    fs::write(format!("{directory}/threads/cgroup.type"), "threaded").unwrap();
    let below = specified(&format!("{}/below", outer.path.as_str()));
    let error = Cgroup::create(&below, &resources(r#"{"memory":{"limit":67108864}}"#), &[]).unwrap_err().to_string();
    assert!(error.contains("cannot be set"), "{error}");
    assert!(Cgroup::open(&below).is_err());
    let made = Cgroup::create(&below, &resources(r#"{"pids":{"limit":5}}"#), &[]).unwrap();
    assert_eq!(fs::read_to_string(format!("{directory}/below/cgroup.type")).unwrap().trim(), "threaded");
    made.remove().unwrap();
}

fn show(unit: &str, property: &str) -> String {
    let output = Command::new("systemctl").args(["show", "-P", property, unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn scope(name: &str) -> Path {
    let asked = format!("skep-test.slice:skep:{name}-{}", std::process::id());
    Path::of_specification(Some(std::path::Path::new(&asked)), "abc", Driver::Systemd).unwrap()
}

#[test]
fn without_systemd_a_scope_is_refused() {
    if is_systemd() {
        return;
    }
    let path = scope("refused");
    let error = Cgroup::create(&path, &resources("{}"), &[Controller::Devices]).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    assert!(error.to_string().starts_with("systemd cannot be reached"), "{error}");
    assert!(Cgroup::open(&path).is_err());
}

#[test]
fn systemd_makes_a_scope_and_ends_it() {
    if !is_systemd() {
        eprintln!("skipped: no systemd");
        return;
    }
    let path = scope("life");
    let unit = path.unit().unwrap().to_owned();
    let json = r#"{"memory":{"limit":67108864,"swap":134217728},"cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0"},
        "pids":{"limit":20},"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    let mut group = Cgroup::create(&path, &resources(json), &[Controller::Devices]).unwrap();
    let mut fixture = Fixture::of(path.clone());
    let pid = fixture.spawn(&group, "exec sleep 1000");
    group.settle(pid).unwrap();
    until("the process alone", || group.processes().unwrap() == [pid]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(show(&unit, "ActiveState"), "active");
    assert_eq!(show(&unit, "Slice"), "skep-test.slice");
    assert_eq!(show(&unit, "Delegate"), "yes");
    assert_eq!(show(&unit, "MemoryMax"), "67108864");
    assert_eq!(show(&unit, "MemorySwapMax"), "67108864");
    assert_eq!(show(&unit, "CPUWeight"), "100");
    assert_eq!(show(&unit, "CPUQuotaPerSecUSec"), "500ms");
    assert_eq!(show(&unit, "TasksMax"), "20");
    assert_eq!(show(&unit, "AllowedCPUs"), "0");
    assert_eq!(show(&unit, "DevicePolicy"), "strict");
    assert_eq!(show(&unit, "ControlGroup"), path.as_str());
    assert_eq!(fixture.read("", "memory.max"), "67108864");
    assert_eq!(fixture.read("", "cpuset.cpus"), "0");
    assert!(fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().contains(path.as_str()));

    group.update(&resources(r#"{"memory":{"limit":33554432,"swap":33554432},"pids":{"limit":30}}"#)).unwrap();
    assert_eq!((show(&unit, "MemoryMax"), show(&unit, "TasksMax")), ("33554432".into(), "30".into()));
    assert_eq!((fixture.read("", "memory.max"), fixture.read("", "memory.swap.max")), ("33554432".into(), "0".into()));
    // systemd writes its files anew; ours stay what they were.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    assert_eq!((fixture.read("", "memory.max"), fixture.read("", "pids.max")), ("33554432".into(), "30".into()));
    assert_eq!(fixture.read("", "cpu.max"), "50000 100000");

    let error = Cgroup::create(&path, &resources("{}"), &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    let group = Cgroup::open(&path).unwrap();
    group.freeze().unwrap();
    group.kill_all().unwrap();
    let _ = fixture.wait();
    group.remove().unwrap();
    Cgroup::remove_at(&path).unwrap();
    assert_eq!(show(&unit, "LoadState"), "not-found");
    assert!(Cgroup::open(&path).is_err());
}

#[test]
fn what_systemd_or_a_file_refuses_leaves_no_scope() {
    if !is_systemd() {
        return;
    }
    let path = scope("refusal");
    let unit = path.unit().unwrap().to_owned();
    for json in [
        r#"{"cpu":{"cpus":"4000"}}"#,
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":77,"rate":1}]}}"#,
        r#"{"unified":{"memory.strange":"1"}}"#,
    ] {
        assert!(Cgroup::create(&path, &resources(json), &[]).is_err(), "{json}");
        assert_eq!(show(&unit, "LoadState"), "not-found", "{json}");
        assert!(Cgroup::open(&path).is_err(), "{json}");
    }
}
