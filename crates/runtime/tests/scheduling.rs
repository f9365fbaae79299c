//! Scheduling, I/O priority, processors, personality and memory policy of containers and of exec, on this kernel.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;

use harness::Container;
use serde_json::{Value, json};

/// The policy, the real-time priority and the nice value: fields 41, 40 and 19 of `stat`.
const SHOW: &str = "set -- $(cat /proc/self/stat); shift 18; echo nice $1; shift 21; echo priority $1; echo policy $2";

fn shown(change: impl Fn(&mut Value)) -> String {
    let mut outputs = Vec::new();
    for mut container in [Container::new(SHOW), Container::with_host_ids(SHOW)] {
        change(&mut container.spec["process"]);
        outputs.push(container.run().unwrap().output.replace('\n', " "));
    }
    assert_eq!(outputs[0], outputs[1]);
    outputs.remove(0)
}

#[test]
fn policies_are_set() {
    let scheduler = |scheduler: Value| shown(move |process| process["scheduler"] = scheduler.clone());
    assert_eq!(scheduler(json!({"policy": "SCHED_OTHER", "nice": 7})), "nice 7 priority 0 policy 0 ");
    assert_eq!(scheduler(json!({"policy": "SCHED_OTHER", "nice": -3})), "nice -3 priority 0 policy 0 ");
    assert_eq!(scheduler(json!({"policy": "SCHED_BATCH"})), "nice 0 priority 0 policy 3 ");
    assert_eq!(scheduler(json!({"policy": "SCHED_IDLE"})), "nice 0 priority 0 policy 5 ");
}

/// Kernels that ration real time by groups of v1 refuse it in one without a ration.
#[test]
fn real_time_is_for_groups_that_have_it() {
    let rationed = fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap();
    for (policy, number, priority) in [("SCHED_FIFO", 1, 3), ("SCHED_RR", 2, 99)] {
        let mut container = Container::new(SHOW);
        container.spec["process"]["scheduler"] = json!({"policy": policy, "priority": priority});
        match container.run() {
            Ok(ended) => {
                assert_eq!(ended.output, format!("nice 0\npriority {priority}\npolicy {number}\n"));
            }
            Err(error) => {
                let line = format!("cannot schedule the process with {policy}: operation not permitted");
                assert_eq!((error.to_string(), rationed), (line, true));
                assert!(harness::is_gone(&container.cgroup));
            }
        }
    }
}

#[test]
fn a_deadline_is_set() {
    let mut container = Container::new("exec cat /proc/self/sched");
    container.spec["process"]["scheduler"] =
        json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000, "period": 20_000_000});
    let output = container.run().unwrap().output;
    assert!(output.lines().any(|line| line.starts_with("policy") && line.ends_with('6')), "{output}");
}

#[test]
fn the_io_priority_is_set() {
    let mut container = Container::new("ionice");
    std::os::unix::fs::symlink("busybox", container.root.path.join("bin/ionice")).unwrap();
    for (class, shown) in [("BE", "best-effort: prio 7"), ("RT", "realtime: prio 7"), ("IDLE", "idle")] {
        container.spec["process"]["ioPriority"] = json!({"class": format!("IOPRIO_CLASS_{class}"), "priority": 7});
        assert_eq!(container.run().unwrap().output, format!("{shown}\n"));
    }
}

#[test]
fn the_personality_is_taken() {
    let mut container = Container::new("uname -m");
    std::os::unix::fs::symlink("busybox", container.root.path.join("bin/uname")).unwrap();
    container.spec["linux"]["personality"] = json!({"domain": "LINUX32"});
    let (expected, native) =
        if cfg!(target_arch = "x86_64") { ("i686\n", "x86_64\n") } else { ("armv8l\n", "aarch64\n") };
    assert_eq!(container.run().unwrap().output, expected);
    container.spec["linux"]["personality"] = json!({"domain": "LINUX"});
    assert_eq!(container.run().unwrap().output, native);
}

#[test]
fn memory_comes_from_the_nodes() {
    let mut container = Container::new("head -1 /proc/self/numa_maps");
    std::os::unix::fs::symlink("busybox", container.root.path.join("bin/head")).unwrap();
    for (policy, shown) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), " bind:0 "),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), " bind=static:0 "),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), " interleave:0 "),
        (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), " weighted interleave:0 "),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), " prefer:0 "),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), " prefer (many):0 "),
        (json!({"mode": "MPOL_LOCAL"}), " local "),
        (json!({"mode": "MPOL_DEFAULT"}), " default "),
    ] {
        if shown == " weighted interleave:0 " && harness::kernel() < (6, 9) {
            continue;
        }
        container.spec["linux"]["memoryPolicy"] = policy;
        let output = container.run().unwrap().output;
        assert!(output.contains(shown), "{shown}: {output}");
    }
    container.spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "1023"});
    let error = container.run().err().unwrap().to_string();
    assert!(error.starts_with("cannot set the memory policy MPOL_BIND 1023"), "{error}");
    assert!(harness::is_gone(&container.cgroup));
}

#[test]
fn exec_is_given_its_own() {
    let mut container = Container::new("sleep 60");
    container.spec["linux"]["personality"] = json!({"domain": "LINUX32"});
    container.spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
    container.spec["linux"]["resources"]["cpu"] = json!({"cpus": "0-1"});
    for name in ["uname", "head", "ionice", "grep"] {
        std::os::unix::fs::symlink("busybox", container.root.path.join("bin").join(name)).unwrap();
    }
    let (running, _output) = container.start().unwrap();
    let run = |script: &str, changes: Value| {
        let ended = container.execute(&running, script, |process| {
            for (name, value) in changes.as_object().unwrap() {
                process[name] = value.clone();
            }
        });
        ended.unwrap().output.replace(['\n', '\t'], " ")
    };
    let machine = if cfg!(target_arch = "x86_64") { "i686 " } else { "armv8l " };
    assert_eq!(run("uname -m", json!({})), machine);
    assert!(run("head -1 /proc/self/numa_maps", json!({})).contains(" bind:0 "));
    let priorities = json!({"scheduler": {"policy": "SCHED_BATCH", "nice": 4},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}});
    assert_eq!(run(&format!("{SHOW}; ionice"), priorities), "nice 4 priority 0 policy 3 idle ");
    let before = processors();
    let affinity = |value: Value| run("grep Cpus_allowed_list /proc/self/status", json!({"execCPUAffinity": value}));
    assert_eq!(affinity(json!({"initial": "0"})), "Cpus_allowed_list: 0-1 ");
    assert_eq!(affinity(json!({"initial": "0", "final": "1"})), "Cpus_allowed_list: 1 ");
    assert_eq!(affinity(json!({"final": "0"})), "Cpus_allowed_list: 0 ");
    assert_eq!(processors(), before);
    container.kill(&running);
}

fn processors() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_owned()
}

#[test]
fn impossible_values_fail_before_anything_is_made() {
    for (place, value) in [
        ("scheduler", json!({"policy": "SCHED_FIFO", "priority": 0})),
        ("scheduler", json!({"policy": "SCHED_ISO"})),
        ("ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8})),
    ] {
        let mut container = Container::new("true");
        container.spec["process"][place] = value.clone();
        assert!(container.plan().is_err(), "{place} {value}");
    }
    for (place, value) in [
        ("personality", json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]})),
        ("memoryPolicy", json!({"mode": "MPOL_BIND"})),
    ] {
        let mut container = Container::new("true");
        container.spec["linux"][place] = value.clone();
        assert!(container.plan().is_err(), "{place} {value}");
    }
}
