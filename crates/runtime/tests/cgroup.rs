//! Control groups on this kernel, as root: every test makes groups below its own `/skep-test-...` and removes them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test stops where it fails")]

#[path = "harness/group.rs"]
mod group;

use std::fs;
use std::process::Command;

use group::{Fixture, resources, until};
use runtime::cgroup::{Cgroup, Controller, Path};

const V1: &str = "/sys/fs/cgroup";
/// Set for the process that sees a v2 tree at the usual place.
const INSIDE_V2: &str = "SKEP_TEST_INSIDE_V2";

fn v1() -> bool {
    let v1 = fs::metadata(format!("{V1}/memory")).is_ok();
    if !v1 {
        eprintln!("skipped: this machine has no v1 hierarchies");
    }
    v1
}

#[test]
fn limits_are_set_and_changed() {
    if !v1() {
        return;
    }
    let fixture = Fixture::of_engine("limits");
    let json = r#"{"memory":{"limit":67108864,"swap":134217728},"cpu":{"shares":512,"quota":50000,"period":100000},
        "pids":{"limit":20}}"#;
    let group = fixture.create_with(json, &[]).unwrap();
    assert!(group.warnings().is_empty(), "{:?}", group.warnings());
    assert_eq!(fixture.read("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(fixture.read("memory", "memory.memsw.limit_in_bytes"), "134217728");
    assert_eq!(fixture.read("cpu", "cpu.shares"), "512");
    assert_eq!(fixture.read("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(fixture.read("pids", "pids.max"), "20");

    // Above the old sum of memory and swap, then below the old memory: each has only one possible order.
    for (limit, swap) in
        [(268_435_456_i64, 268_435_456_i64), (33_554_432, 41_943_040), (-1, -1), (8_388_608, 8_388_608)]
    {
        let json = format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#);
        group.update(&resources(&json)).unwrap();
        let stats = group.stats().unwrap();
        assert_eq!(stats.memory_limit, u64::try_from(limit).ok());
    }
    group.update(&resources(r#"{"cpu":{"quota":-1},"pids":{"limit":-1}}"#)).unwrap();
    assert_eq!(fixture.read("cpu", "cpu.cfs_quota_us"), "-1");
    assert_eq!(group.stats().unwrap().pids_limit, None);
    // The period cannot fall below a thousandth of a second, nor the quota.
    group.update(&resources(r#"{"cpu":{"quota":1000,"period":1000}}"#)).unwrap();
    group.update(&resources(r#"{"cpu":{"quota":400000,"period":1000000}}"#)).unwrap();
}

#[test]
fn processes_join_stand_still_and_die() {
    let mut fixture = Fixture::of_engine("life");
    let group = fixture.create_with("{}", &[]).unwrap();
    let pid = fixture.spawn(&group, "sleep 1000 & wait");
    until("the shell's child", || group.processes().unwrap().len() == 2);
    assert!(group.processes().unwrap().contains(&pid));
    assert_eq!(group.stats().unwrap().pids, 2);
    assert!(group.stats().unwrap().memory_usage > 0);
    assert!(group.stats().unwrap().cpu_nanoseconds > 0);

    assert!(!group.is_frozen().unwrap());
    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap());
    assert!(Cgroup::open(&fixture.path).unwrap().is_frozen().unwrap());
    group.thaw().unwrap();
    assert!(!group.is_frozen().unwrap());

    // A paused container can be killed too.
    group.freeze().unwrap();
    let busy = group.remove().unwrap_err();
    assert!(busy.to_string().contains("still has processes"), "{busy}");
    group.kill_all().unwrap();
    assert!(!fixture.wait().success());
    group.remove().unwrap();
    group.remove().unwrap();
    assert!(Cgroup::open(&fixture.path).is_err());
    group.kill_all().unwrap();
}

#[test]
fn a_storm_of_forks_is_killed_whole() {
    let mut fixture = Fixture::of_engine("storm");
    let group = fixture.create_with(r#"{"pids":{"limit":40}}"#, &[]).unwrap();
    fixture.spawn(&group, "bomb() { bomb | bomb & }; while :; do bomb; done");
    until("the storm", || group.stats().unwrap().pids > 20);
    assert!(group.stats().unwrap().pids <= 40);
    group.kill_all().unwrap();
    until("silence", || group.processes().unwrap().is_empty());
    let _ = fixture.wait();
    group.remove().unwrap();
}

#[test]
fn want_of_memory_kills_and_is_counted() {
    let mut fixture = Fixture::of_engine("oom");
    let group = fixture.create_with(r#"{"memory":{"limit":16777216,"swap":16777216}}"#, &[]).unwrap();
    assert_eq!(group.oom_kills().unwrap(), 0);
    // `tail` keeps a line of any length in memory.
    fixture.spawn(&group, "head -c 60000000 /dev/zero | tail -n 1 | wc -c");
    let _ = fixture.wait();
    assert!(group.oom_kills().unwrap() >= 1);
}

#[test]
fn a_refused_limit_leaves_nothing() {
    if !v1() {
        return;
    }
    let cases = [
        (r#"{"cpu":{"cpus":"4000"}}"#, "cpuset-cpus `4000` is not available"),
        (r#"{"memory":{"limit":4096}}"#, "at least 6 MiB"),
        (r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":77,"rate":1}]}}"#, "no such block device"),
        (r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#, "huge page limit `1` cannot be set"),
    ];
    for (index, (json, expected)) in cases.into_iter().enumerate() {
        let fixture = Fixture::of_engine(&format!("refused{index}"));
        let message = fixture.create_with(json, &[]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains('\n'));
        assert!(Cgroup::open(&fixture.path).is_err(), "{json} left a group");
    }
    let fixture = Fixture::of_engine("unset");
    let group = fixture.create_with(r#"{"blockIO":{"weight":500}}"#, &[]).unwrap();
    let missing = !fs::exists(format!("{V1}/blkio{}/blkio.bfq.weight", fixture.path.as_str())).unwrap()
        && !fs::exists(format!("{V1}/blkio{}/blkio.weight", fixture.path.as_str())).unwrap();
    assert_eq!(group.warnings().len(), usize::from(missing), "{:?}", group.warnings());
}

#[test]
fn memory_in_use_is_not_taken_away() {
    if !v1() {
        return;
    }
    let mut fixture = Fixture::of_engine("busy");
    let group = fixture.create_with(r#"{"memory":{"limit":67108864,"swap":67108864}}"#, &[]).unwrap();
    fixture.spawn(&group, "head -c 30000000 /dev/zero | { tail -n 1; sleep 1000; } | { read -r x; sleep 1000; }");
    until("30 MB", || group.stats().unwrap().memory_usage > 25_000_000);
    let error = group.update(&resources(r#"{"memory":{"limit":8388608,"swap":8388608}}"#)).unwrap_err();
    assert!(error.to_string().contains("memory limit `8m` cannot be set: the container uses more"), "{error}");
}

#[test]
fn an_empty_leftover_is_replaced_and_a_used_group_is_not() {
    let mut fixture = Fixture::of_engine("leftover");
    let first = fixture.create_with(r#"{"pids":{"limit":5}}"#, &[]).unwrap();
    let nested = Path::new(&format!("{}/deep/deeper", fixture.path.as_str())).unwrap();
    Cgroup::create(&nested, &resources("{}"), &[]).unwrap();
    let second = fixture.create_with("{}", &[]).unwrap();
    assert_eq!(second.stats().unwrap().pids_limit, None);
    drop(first);

    fixture.spawn(&second, "exec sleep 1000");
    let error = fixture.create_with("{}", &[]).unwrap_err();
    assert_eq!(error.kind(), failure::Kind::Conflict, "{error}");
    assert_eq!(second.processes().unwrap().len(), 1);
}

#[test]
fn a_cpuset_can_be_joined() {
    if !v1() {
        return;
    }
    let mut fixture = Fixture::of_engine("cpuset");
    let group = fixture.create_with(r#"{"cpu":{"cpus":"0"}}"#, &[Controller::Blkio]).unwrap();
    let pid = fixture.spawn(&group, "exec sleep 1000");
    assert_eq!(fixture.read("cpuset", "cpuset.cpus"), "0");
    assert_eq!(
        fixture.read("cpuset", "cpuset.mems"),
        fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.mems").unwrap().trim()
    );
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"));
    assert!(
        fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .unwrap()
            .contains(&format!("blkio:{}", fixture.path.as_str()))
    );
}

#[test]
fn device_rules_of_v1() {
    if !v1() {
        return;
    }
    let mut fixture = Fixture::of_engine("devices");
    let rules =
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}]}"#;
    let group = fixture.create_with(rules, &[Controller::Devices]).unwrap();
    assert_eq!(fixture.read("devices", "devices.list"), "c 1:3 rwm");
    fixture.spawn(&group, "true < /dev/null && ! true < /dev/zero");
    assert!(fixture.wait().success());
}

/// In a mount namespace of its own, where the v2 tree that this machine has beside v1 is at the usual place.
#[test]
fn version_two() {
    if std::env::var_os(INSIDE_V2).is_some() {
        return inside_v2();
    }
    if !fs::exists(format!("{V1}/unified/cgroup.procs")).unwrap() {
        eprintln!("skipped: this machine has no v2 tree beside v1");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let script = format!("mount --bind {V1}/unified {V1} && exec {} --exact version_two", program.display());
    let status = Command::new("unshare").args(["-m", "sh", "-c", &script]).env(INSIDE_V2, "1").output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
}

fn inside_v2() {
    let mut fixture = Fixture::of_engine("v2");
    let rules = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}"#;
    let group = fixture.create_with(rules, &[Controller::Devices]).unwrap();
    fixture.spawn(&group, "true < /dev/null && true < /dev/zero && ! true > /dev/zero && ! true < /dev/full");
    assert!(fixture.wait().success());

    let pid = fixture.spawn(&group, "sleep 1000 & wait");
    until("the shell's child", || group.processes().unwrap().len() == 2);
    assert!(group.processes().unwrap().contains(&pid));
    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap());
    group.kill_all().unwrap();
    let _ = fixture.wait();
    group.remove().unwrap();

    // A controller that v1 holds is not to be had here: the limit is named, and nothing is left.
    let error = fixture.create_with(r#"{"memory":{"limit":67108864}}"#, &[]).unwrap_err();
    assert!(error.to_string().contains("memory limit `64m` cannot be set: this kernel has no `memory.max`"), "{error}");
    assert!(Cgroup::open(&fixture.path).is_err());
}

/// On a machine with nothing but v2.
#[test]
fn limits_of_version_two() {
    let controllers = fs::read_to_string(format!("{V1}/cgroup.controllers")).unwrap_or_default();
    if !controllers.contains("memory") {
        eprintln!("skipped: v2 does not have the memory controller on this machine");
        return;
    }
    let mut fixture = Fixture::of_engine("limits2");
    let json = r#"{"memory":{"limit":33554432,"swap":33554432},"cpu":{"shares":1024,"quota":50000,"cpus":"0"},"pids":{"limit":20}}"#;
    let group = fixture.create_with(json, &[]).unwrap();
    assert!(group.warnings().is_empty(), "{:?}", group.warnings());
    assert_eq!(fixture.read("", "memory.max"), "33554432");
    assert_eq!(fixture.read("", "memory.swap.max"), "0");
    assert_eq!(fixture.read("", "cpu.weight"), "100");
    assert_eq!(fixture.read("", "cpu.max"), "50000 100000");
    assert_eq!(fixture.read("", "cpuset.cpus"), "0");
    assert_eq!(fixture.read("", "pids.max"), "20");
    group.update(&resources(r#"{"cpu":{"period":50000},"memory":{"limit":67108864,"swap":100663296}}"#)).unwrap();
    assert_eq!(fixture.read("", "cpu.max"), "50000 50000");
    assert_eq!(fixture.read("", "memory.swap.max"), "33554432");
    group.update(&resources(r#"{"memory":{"limit":33554432,"swap":33554432}}"#)).unwrap();

    fixture.spawn(&group, "head -c 80000000 /dev/zero | tail -n 1 | wc -c");
    let _ = fixture.wait();
    assert!(group.oom_kills().unwrap() >= 1);
    let stats = group.stats().unwrap();
    assert_eq!((stats.memory_limit, stats.pids_limit), (Some(33_554_432), Some(20)));
    assert!(stats.cpu_nanoseconds > 0);

    let refused = Fixture::of_engine("refused2");
    let message = refused.create(r#"{"cpu":{"cpus":"4000"}}"#).unwrap_err().to_string();
    assert!(message.contains("is not available"), "{message}");
    assert!(Cgroup::open(&refused.path).is_err());
}
