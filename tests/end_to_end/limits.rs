//! Limits: memory, processor time, processes; and what is said when one was hit.

use crate::harness::{IMAGE, Skep, process_status, retry};
use std::fs;
use std::time::{Duration, Instant};

/// Fills memory until it ends: `tail` keeps the whole of an input without line breaks.
const EAT_80_MB: &str = "head -c 80000000 /dev/zero | tail -n 1 | wc -c";

#[test]
fn out_of_memory_is_seen_and_said() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "--name", "hungry", "-m", "64m", IMAGE, "tail", "-n", "1", "/dev/zero"]);
    assert_eq!(output.code, 137, "{output:#?}");
    assert_eq!(skep.inspect("hungry", "{{.State.OOMKilled}}"), "true");
    assert_eq!(skep.inspect("hungry", "{{.State.ExitCode}}"), "137");
    assert!(output.stderr.contains("memory") && output.stderr.contains("64"), "which limit: {output:#?}");
}

#[test]
fn enough_memory_is_enough() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "--name", "sated", "-m", "300m", IMAGE, "sh", "-c", EAT_80_MB]);
    assert_eq!((output.code, output.stdout.trim()), (0, "80000000"), "{output:#?}");
    assert_eq!(skep.inspect("sated", "{{.State.OOMKilled}}"), "false");
}

#[test]
fn limits_are_in_the_kernel_as_given() {
    let skep = Skep::with_image();
    let options =
        ["-m", "64m", "--memory-reservation", "32m", "--pids-limit", "20", "--cpus", "0.5", "--cpu-shares", "512"];
    let id = skep.sleeper(&[&options[..], &["--cpuset-cpus", "0"]].concat());
    let group = |controller: &str, file: &str| {
        let v1 = format!("/sys/fs/cgroup/{controller}/skep/{id}/{file}");
        fs::read_to_string(&v1).unwrap_or_else(|error| panic!("{v1}: {error}")).trim().to_owned()
    };
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap() {
        let unified = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/skep/{id}/{file}")).unwrap();
        assert_eq!(unified("memory.max").trim(), "67108864");
        assert_eq!(unified("memory.low").trim(), "33554432");
        assert_eq!(unified("pids.max").trim(), "20");
        assert_eq!(unified("cpu.max").trim(), "50000 100000");
        return;
    }
    assert_eq!(group("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(group("memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(group("pids", "pids.max"), "20");
    assert_eq!(group("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(group("cpu", "cpu.shares"), "512");
    assert_eq!(group("cpuset", "cpuset.cpus"), "0");
    assert_eq!(process_status(skep.pid(&id), "Cpus_allowed_list"), "0");
}

#[test]
fn half_a_core_is_half_a_core() {
    let skep = Skep::with_image();
    let id = skep.ok(["run", "-d", "--cpus", "0.5", IMAGE, "sh", "-c", "while :; do :; done"]);
    let pid = skep.pid(&id);
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (start, before) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_secs(4));
    let share = (ticks() - before) as f64 / 100.0 / start.elapsed().as_secs_f64();
    // The upper bound is the promise; a busy machine may give less.
    assert!(share < 0.56, "the loop used {share:.2} of a core");
    assert!(share > 0.0, "the loop used nothing");
}

#[test]
fn a_fork_bomb_is_bounded() {
    let skep = Skep::with_image();
    let id = skep.ok(["run", "-d", "--pids-limit", "20", IMAGE, "sh", "-c", "b() { b | b & }; b; sleep 1000"]);
    std::thread::sleep(Duration::from_millis(500));
    let pids = ["/sys/fs/cgroup/pids/skep/", "/sys/fs/cgroup/skep/"].map(|top| format!("{top}{id}/pids.current"));
    let current = pids.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap();
    assert!(current.trim().parse::<u32>().unwrap() <= 20, "{current}");
    skep.ok(["kill", &id]);
    assert_eq!(skep.ok(["wait", &id]), "137");
}

#[test]
fn oom_score_adjustment() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--oom-score-adj", "500"]);
    assert_eq!(fs::read_to_string(format!("/proc/{}/oom_score_adj", skep.pid(&id))).unwrap().trim(), "500");
    skep.fails(125, ["run", "--rm", "--oom-score-adj", "2000", IMAGE, "true"]);
}

#[test]
fn swap_limit_needs_a_memory_limit() {
    let skep = Skep::with_image();
    skep.fails(125, ["run", "--rm", "--memory-swap", "100m", IMAGE, "true"]);
    skep.fails(125, ["run", "--rm", "-m", "100m", "--memory-swap", "50m", IMAGE, "true"]);
}

#[test]
fn statistics_show_use_and_limit() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "seen", "-m", "64m", "--pids-limit", "30"]);
    let row = skep.ok(["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", &id]);
    assert!(row.starts_with("seen "), "{row}");
    assert!(row.contains("64MiB") && row.ends_with(" 1"), "{row}");
}

#[test]
fn a_limit_hit_by_an_exec_is_noted_too() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["-m", "32m"]);
    let output = skep.run(["exec", &id, "tail", "-n", "1", "/dev/zero"]);
    assert_eq!(output.code, 137, "{output:#?}");
    retry(|| match skep.inspect(&id, "{{.State.Running}}").as_str() {
        "true" => Ok(()),
        other => Err(format!("the container itself goes on: running is {other}")),
    });
}
