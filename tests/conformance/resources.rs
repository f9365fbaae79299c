//! Control groups: where the group is, every limit as the kernel has it, and a clear refusal of what this machine lacks.
//!
//! A limit is looked up on the host, in the file that the kernel has for it on v1 or v2. Where the file cannot be had, the
//! request must be refused in words, and nothing may be left.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Bundle, field, is_v2};

/// Where a limit is: v1's controller (empty for v2), the file, and its text.
type Place<'a> = (&'a str, &'a str, &'a str);

/// A container with these resources has these texts in its files; without a place on this machine, it is refused.
fn limited(fields: &[&str], resources: &Value, places: &[Place<'_>]) {
    let mut field = field(fields);
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["linux"]["resources"] = resources.clone();
    // Just below the root, which alone has time for realtime tasks to give.
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("/skep-{}", bundle.id));
    let there = |controller: &str| controller.is_empty() || Path::new("/sys/fs/cgroup").join(controller).exists();
    let here: Vec<_> =
        places.iter().filter(|(controller, ..)| controller.is_empty() == is_v2() && there(controller)).collect();
    if here.is_empty() || !here.iter().all(|(controller, file, _)| can_be_had(controller, file)) {
        let line = bundle.refusal();
        assert!(line.contains("cannot be set"), "{line}");
        assert!(!bundle.group("memory").exists(), "a group was made");
        return field.lacks(if is_v2() {
            "cgroup v2 has no such limit here"
        } else {
            "no such controller of cgroup v1"
        });
    }
    bundle.create();
    for (controller, file, expected) in here {
        let path = bundle.group(controller).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.lines().any(|line| line.trim() == *expected), "{}: {text}", path.display());
    }
}

/// Whether this kernel has a file that some lack: a group shows it, since the root has fewer.
fn can_be_had(controller: &str, file: &str) -> bool {
    let probe = format!("/sys/fs/cgroup/{controller}/skep-probe-{}-{file}", std::process::id());
    fs::create_dir(&probe).unwrap();
    let has = Path::new(&probe).join(file).exists();
    fs::remove_dir(&probe).unwrap();
    has
}

/// A block device of this machine.
fn block_device() -> (u64, u64) {
    let disks = ["vda", "sda", "nvme0n1", "loop0"];
    let text = disks.iter().find_map(|name| fs::read_to_string(format!("/sys/block/{name}/dev")).ok()).unwrap();
    let (major, minor) = text.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[test]
fn the_group_is_where_the_path_says() {
    let _field = field(&["linux.cgroupsPath"]);
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("/skep-{}/a/../b/./c", bundle.id));
    let pid = bundle.start();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let expected = format!(":/skep-{}/b/c", bundle.id);
    for line in groups.lines().filter(|line| is_v2() || !line.starts_with("0::")) {
        assert!(line.ends_with(&expected), "{groups}");
    }
    bundle.ok(&["delete", "--force", &bundle.id]);
    for root in if is_v2() { vec![""] } else { hierarchies() } {
        let top = Path::new("/sys/fs/cgroup").join(root).join(format!("skep-{}", bundle.id));
        assert!(!top.join("b/c").exists(), "the group is left");
        // Groups above it stay, as with runc.
        fs::remove_dir(top.join("b")).and_then(|()| fs::remove_dir(&top)).unwrap();
    }
    bundle.spec["linux"]["cgroupsPath"] = json!("/");
    assert!(bundle.refusal().contains("cgroupsPath"));
}

fn hierarchies() -> Vec<&'static str> {
    let all = ["memory", "cpu", "cpuacct", "pids", "freezer", "cpuset", "blkio", "devices", "systemd"];
    all.into_iter().filter(|name| Path::new("/sys/fs/cgroup").join(name).exists()).collect()
}

#[test]
fn memory_is_limited() {
    limited(
        &["linux.resources.memory.limit", "linux.resources.memory.reservation"],
        &json!({"memory": {"limit": 67_108_864, "reservation": 33_554_432}}),
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ("", "memory.max", "67108864"),
            ("", "memory.low", "33554432"),
        ],
    );
}

#[test]
fn swap_is_counted_with_memory() {
    limited(
        &["linux.resources.memory.swap"],
        &json!({"memory": {"limit": 67_108_864, "swap": 100_663_296}}),
        &[("memory", "memory.memsw.limit_in_bytes", "100663296"), ("", "memory.swap.max", "33554432")],
    );
}

#[test]
fn kernel_memory_cannot_be_limited_any_more() {
    limited(&["linux.resources.memory.kernel"], &json!({"memory": {"kernel": 16_777_216}}), &[]);
}

#[test]
fn tcp_memory_of_the_kernel() {
    limited(
        &["linux.resources.memory.kernelTCP"],
        &json!({"memory": {"kernelTCP": 16_777_216}}),
        &[("memory", "memory.kmem.tcp.limit_in_bytes", "16777216")],
    );
}

#[test]
fn swappiness() {
    limited(
        &["linux.resources.memory.swappiness"],
        &json!({"memory": {"swappiness": 7}}),
        &[("memory", "memory.swappiness", "7")],
    );
}

#[test]
fn the_oom_killer_can_be_kept_away() {
    limited(
        &["linux.resources.memory.disableOOMKiller"],
        &json!({"memory": {"limit": 67_108_864, "disableOOMKiller": true}}),
        &[("memory", "memory.oom_control", "oom_kill_disable 1")],
    );
}

#[test]
fn memory_is_counted_with_that_of_groups_below() {
    limited(
        &["linux.resources.memory.useHierarchy"],
        &json!({"memory": {"useHierarchy": true}}),
        &[("memory", "memory.use_hierarchy", "1"), ("", "memory.max", "max")],
    );
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["linux"]["resources"] = json!({"memory": {"useHierarchy": false}});
    assert!(bundle.refusal().contains("useHierarchy `false` cannot be set"));
}

#[test]
fn a_limit_below_the_usage_is_refused_when_asked_so() {
    let _field = field(&["linux.resources.memory.checkBeforeUpdate"]);
    let mut bundle = Bundle::new("head -c 30000000 /dev/zero | { tail -n 1; sleep 100; } | { read -r x; sleep 100; }");
    bundle.spec["linux"]["resources"] = json!({"memory": {"limit": 134_217_728}});
    bundle.start();
    let (usage, limit) = match is_v2() {
        true => ("memory.current", "memory.max"),
        false => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
    };
    let read = |file: &str| fs::read_to_string(bundle.group("memory").join(file)).unwrap().trim().to_owned();
    for _ in 0..500 {
        if read(usage).parse::<u64>().unwrap() > 20_000_000 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let update = bundle.file("update.json");
    fs::write(&update, r#"{"memory":{"limit":10485760,"checkBeforeUpdate":true}}"#).unwrap();
    let outcome = bundle.call(&["update", "--resources", update.to_str().unwrap(), &bundle.id]);
    assert_ne!(outcome.code, 0);
    assert!(outcome.stderr.contains("checkBeforeUpdate"), "{}", outcome.stderr);
    assert_eq!(read(limit), "134217728");
}

#[test]
fn cpu_time_is_shared_and_bounded() {
    limited(
        &[
            "linux.resources.cpu.shares",
            "linux.resources.cpu.quota",
            "linux.resources.cpu.period",
            "linux.resources.cpu.burst",
        ],
        &json!({"cpu": {"shares": 2048, "quota": 30_000, "period": 60_000, "burst": 5000}}),
        &[
            ("cpu", "cpu.shares", "2048"),
            ("cpu", "cpu.cfs_quota_us", "30000"),
            ("cpu", "cpu.cfs_period_us", "60000"),
            ("cpu", "cpu.cfs_burst_us", "5000"),
            ("", "cpu.weight", "174"),
            ("", "cpu.max", "30000 60000"),
            ("", "cpu.max.burst", "5000"),
        ],
    );
}

#[test]
fn idle_groups_run_when_nobody_else_does() {
    limited(
        &["linux.resources.cpu.idle"],
        &json!({"cpu": {"idle": 1}}),
        &[("cpu", "cpu.idle", "1"), ("", "cpu.idle", "1")],
    );
}

#[test]
fn realtime_tasks_have_a_bound_of_their_own() {
    limited(
        &["linux.resources.cpu.realtimeRuntime", "linux.resources.cpu.realtimePeriod"],
        &json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}}),
        &[("cpu", "cpu.rt_runtime_us", "1000"), ("cpu", "cpu.rt_period_us", "500000")],
    );
}

#[test]
fn cpus_and_memory_nodes() {
    limited(
        &["linux.resources.cpu.cpus", "linux.resources.cpu.mems"],
        &json!({"cpu": {"cpus": "0", "mems": "0"}}),
        &[
            ("cpuset", "cpuset.cpus", "0"),
            ("cpuset", "cpuset.mems", "0"),
            ("", "cpuset.cpus", "0"),
            ("", "cpuset.mems", "0"),
        ],
    );
    for list in ["0-18446744073709551615", "4000", "a", "1-0"] {
        let mut bundle = Bundle::new("echo ran");
        bundle.spec["linux"]["resources"] = json!({"cpu": {"cpus": list}});
        assert!(bundle.refusal().contains("cpuset-cpus"), "{list}");
    }
}

#[test]
fn weights_of_block_devices() {
    // Of BFQ where it is loaded, else of the kernel's own cost model, which has another scale.
    let bfq = is_v2() && can_be_had("", "io.bfq.weight");
    let of_v2 = if bfq { ("", "io.bfq.weight", "default 500") } else { ("", "io.weight", "default 4950") };
    limited(
        &["linux.resources.blockIO.weight"],
        &json!({"blockIO": {"weight": 500}}),
        &[("blkio", "blkio.bfq.weight", "500"), of_v2],
    );
    limited(&["linux.resources.blockIO.leafWeight"], &json!({"blockIO": {"leafWeight": 500}}), &[]);
}

/// A device has a weight only under the BFQ scheduler, which the test leaves as it is.
#[test]
fn weights_by_device() {
    let mut field = field(&["linux.resources.blockIO.weightDevice"]);
    let (major, minor) = block_device();
    let mut bundle = Bundle::new("cat /proc/self/cgroup");
    bundle.spec["linux"]["resources"] =
        json!({"blockIO": {"weightDevice": [{"major": major, "minor": minor, "weight": 300}]}});
    let outcome = bundle.run();
    if outcome.code != 0 {
        assert!(outcome.stderr.contains("blkio weight device") && outcome.stdout.is_empty(), "{}", outcome.stderr);
        assert!(!bundle.group("blkio").exists(), "the group is left");
        field.lacks("the disk has no scheduler with weights");
    }
    bundle.spec["linux"]["resources"] =
        json!({"blockIO": {"weightDevice": [{"major": 4000, "minor": 77, "weight": 300}]}});
    assert!(bundle.refusal().contains("blkio weight device"));
}

#[test]
fn throttles_of_block_devices() {
    let (major, minor) = block_device();
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let line = |rate: u64| format!("{major}:{minor} {rate}");
    limited(
        &[
            "linux.resources.blockIO.throttleReadBpsDevice",
            "linux.resources.blockIO.throttleWriteBpsDevice",
            "linux.resources.blockIO.throttleReadIOPSDevice",
            "linux.resources.blockIO.throttleWriteIOPSDevice",
        ],
        &json!({"blockIO": {
            "throttleReadBpsDevice": rate(1_048_576),
            "throttleWriteBpsDevice": rate(2_097_152),
            "throttleReadIOPSDevice": rate(100),
            "throttleWriteIOPSDevice": rate(200),
        }}),
        &[
            ("blkio", "blkio.throttle.read_bps_device", &line(1_048_576)),
            ("blkio", "blkio.throttle.write_bps_device", &line(2_097_152)),
            ("blkio", "blkio.throttle.read_iops_device", &line(100)),
            ("blkio", "blkio.throttle.write_iops_device", &line(200)),
            ("", "io.max", &format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200")),
        ],
    );
}

#[test]
fn huge_pages() {
    limited(
        &["linux.resources.hugepageLimits"],
        &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
        &[("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"), ("", "hugetlb.2MB.max", "4194304")],
    );
    let mut bundle = Bundle::new("echo ran");
    bundle.spec["linux"]["resources"] = json!({"hugepageLimits": [{"pageSize": "../../x", "limit": 1}]});
    assert!(bundle.refusal().contains("huge page size"));
}

#[test]
fn network_classes_and_priorities() {
    limited(
        &["linux.resources.network.classID"],
        &json!({"network": {"classID": 1_048_577}}),
        &[("net_cls", "net_cls.classid", "1048577")],
    );
    limited(
        &["linux.resources.network.priorities"],
        &json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}}),
        &[("net_prio", "net_prio.ifpriomap", "lo 5")],
    );
}

#[test]
fn processes_are_counted() {
    limited(
        &["linux.resources.pids.limit"],
        &json!({"pids": {"limit": 13}}),
        &[("pids", "pids.max", "13"), ("", "pids.max", "13")],
    );
}

/// No machine here has such a device: what can be tested is that a limit for it is not lost.
#[test]
fn remote_memory_access() {
    limited(&["linux.resources.rdma"], &json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}), &[]);
}

#[test]
fn any_file_of_v2() {
    let mut field = field(&["linux.resources.unified"]);
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["linux"]["resources"] = json!({"unified": {"memory.high": "50331648", "cgroup.max.depth": "4"}});
    if !is_v2() {
        assert!(
            bundle.refusal().contains("unified limit `cgroup.max.depth` cannot be set: this machine has cgroup v1")
        );
        return field.lacks("this machine has cgroup v1");
    }
    bundle.create();
    let read = |file: &str| fs::read_to_string(bundle.group("").join(file)).unwrap().trim().to_owned();
    assert_eq!((read("memory.high"), read("cgroup.max.depth")), ("50331648".into(), "4".into()));
    for name in ["../memory.max", "cgroup.procs", "memory.none"] {
        let mut bundle = Bundle::new("echo ran");
        bundle.spec["linux"]["resources"] = json!({"unified": {name: "1"}});
        assert!(bundle.refusal().contains("unified limit"), "{name}");
    }
}

#[test]
fn device_rules_decide_who_opens_what() {
    let _field = field(&["linux.resources.devices"]);
    let script = "true > /dev/kmsg && echo kmsg; true > /dev/null && echo null; true < /dev/zero && echo zero";
    let mut bundle = Bundle::new(&format!("{{ {script}; }} 2> /dev/null"));
    bundle.spec["linux"]["devices"] =
        json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 438}]);
    for (rules, expected) in [
        (json!([{"allow": false, "access": "rwm"}]), "null\nzero\n"),
        (
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]),
            "kmsg\nnull\nzero\n",
        ),
        (
            json!([{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}]),
            "null\nzero\n",
        ),
        (json!([{"allow": true, "access": "rwm"}]), "kmsg\nnull\nzero\n"),
    ] {
        bundle.spec["linux"]["resources"] = json!({"devices": rules});
        assert_eq!(bundle.run().stdout, expected, "{rules}");
    }
    for rule in
        [json!({"allow": true, "access": "x"}), json!({"allow": true, "type": "c", "major": 99999, "access": "r"})]
    {
        bundle.spec["linux"]["resources"] = json!({"devices": [rule]});
        assert!(bundle.refusal().contains("device rule"), "{rule}");
    }
}

/// With `--systemd-cgroup` the path is `slice:prefix:name`, and the group is a scope of systemd.
#[test]
fn systemd_can_make_the_group() {
    let _field = field(&["linux.cgroupsPath"]);
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("skep-test.slice:skep:{}", bundle.id));
    bundle.spec["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 20}});
    bundle.write();
    let errors = bundle.file("create.err");
    let create = ["--systemd-cgroup", "create", "--bundle", bundle.directory.to_str().unwrap(), &bundle.id];
    let mut create = bundle.runtime(&create);
    let status = create.stdout(Stdio::null()).stderr(fs::File::create(&errors).unwrap()).status().unwrap();
    let errors = fs::read_to_string(errors).unwrap();
    if !Path::new("/run/systemd/private").exists() {
        assert!(!status.success() && errors.contains("systemd cannot be reached"), "{errors}");
        return;
    }
    assert!(status.success(), "{errors}");
    let unit = format!("skep-{}.scope", bundle.id);
    let show = |property: &str| {
        let output = Command::new("systemctl").args(["show", "-P", property, &unit]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let place = format!("/skep.slice/skep-test.slice/{unit}");
    assert_eq!((show("ActiveState"), show("ControlGroup")), ("active".into(), place.clone()));
    assert_eq!((show("MemoryMax"), show("TasksMax")), ("67108864".into(), "20".into()));
    bundle.ok(&["start", &bundle.id]);
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    assert_eq!(groups.trim(), format!("0::{place}"));
    // A namespace of its own: the scope is what the container takes for the root.
    assert_eq!(bundle.exec("cat /proc/self/cgroup").stdout, "0::/\n");
    bundle.ok(&["update", "--memory", "33554432", "--memory-swap", "33554432", &bundle.id]);
    assert_eq!(show("MemoryMax"), "33554432");
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(bundle.state()["status"], "paused");
    bundle.ok(&["resume", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert_eq!(show("LoadState"), "not-found");
    assert!(!Path::new("/sys/fs/cgroup").join(place.trim_start_matches('/')).exists());
}
