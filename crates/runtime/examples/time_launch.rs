//! How long a container takes from its plan to the end of its program: `time_launch [ROUNDS]`, as root. Prints minimum and
//! median of each part in microseconds, for tuning; compare with the floor program in the same minute.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::time::Instant;

use harness::{Container, wait};
use runtime::cgroup::Cgroup;
use runtime::{Exec, Stdio, exec, launch};

fn null() -> Stdio {
    let open = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into();
    Stdio::Files { stdin: open(), stdout: open(), stderr: open() }
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let mut container = Container::new("");
    container.spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    let mut parts: [Vec<f64>; 6] = Default::default();
    for _ in 0..rounds {
        let mut last = Instant::now();
        let start = last;
        let mut times = Vec::new();
        let mut lap = || {
            let now = Instant::now();
            times.push((now - last).as_secs_f64() * 1e6);
            last = now;
        };
        let plan = container.plan().unwrap();
        lap();
        let launched = launch(plan, &container.root, null()).unwrap();
        lap();
        let running = launched.start().unwrap();
        lap();
        assert_eq!(wait(&running), 0);
        lap();
        Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
        lap();
        times.push((Instant::now() - start).as_secs_f64() * 1e6);
        for (part, time) in parts.iter_mut().zip(times) {
            part.push(time);
        }
    }
    for (name, part) in ["plan", "launch", "start", "wait", "remove cgroup", "whole"].iter().zip(&mut parts) {
        report(name, part);
    }
    report("exec of true", &mut time_exec(rounds));
}

fn time_exec(rounds: usize) -> Vec<f64> {
    let container = Container::new("sleep 1000");
    let (running, _output) = container.start().unwrap();
    let mut process = container.spec["process"].clone();
    process["args"] = serde_json::json!(["/bin/true"]);
    let process = serde_json::from_value(process).unwrap();
    let spec = container.spec();
    let times = (0..rounds).map(|_| {
        let start = Instant::now();
        let request = Exec {
            target: &running.identity,
            cgroup: &container.cgroup,
            process: &process,
            linux: spec.linux().as_ref().unwrap(),
            filter: None,
            seccomp_cache: None,
            preserved: 0,
            container: None,
        };
        assert_eq!(wait(&exec(&request, null()).unwrap()), 0);
        start.elapsed().as_secs_f64() * 1e6
    });
    let times = times.collect();
    container.kill(&running);
    times
}

fn report(name: &str, times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    println!("{name:16} min {:7.0}  median {:7.0}", times[0], times[times.len() / 2]);
}
