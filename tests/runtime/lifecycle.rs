//! The life of a container by `create`, `start`, `kill`, `delete` and `run`, and what each refuses when.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::Bundle;

/// Waits until something holds; what tests wait for takes milliseconds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn status(bundle: &Bundle) -> String {
    bundle.state()["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_container_is_created_started_killed_and_deleted() {
    let bundle = Bundle::new("echo > /started; exec sleep 1000");
    let pid_file = bundle.file("pid");
    bundle.write();
    let place = bundle.directory.to_str().unwrap();
    let made = bundle.runtime(&["create", "-b", place, "--pid-file", pid_file.to_str().unwrap(), &bundle.id]);
    silently(made);
    assert_eq!(status(&bundle), "created");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), bundle.pid().to_string());
    assert!(!bundle.root().join("started").exists(), "the program must wait for its start");
    bundle.ok(&["start", &bundle.id]);
    eventually("the program runs", || bundle.root().join("started").exists());
    assert_eq!(status(&bundle), "running");
    let again = bundle.call(&["start", &bundle.id]);
    assert!(again.code == 1 && again.stderr.contains("cannot start an already running container"), "{}", again.stderr);
    let early = bundle.call(&["delete", &bundle.id]);
    assert!(early.stderr.contains("that is not stopped: running"), "{}", early.stderr);
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    eventually("it has stopped", || status(&bundle) == "stopped");
    assert_eq!(bundle.state()["pid"], 0);
    let late = bundle.call(&["kill", &bundle.id, "KILL"]);
    assert!(late.stderr.contains("container not running"), "{}", late.stderr);
    let late = bundle.call(&["start", &bundle.id]);
    assert!(late.stderr.contains("cannot start a container that has stopped"), "{}", late.stderr);
    bundle.ok(&["delete", &bundle.id]);
    assert!(!bundle.group("memory").exists(), "its control group is left");
    let gone = bundle.call(&["state", &bundle.id]);
    assert!(gone.code == 1 && gone.stderr.contains("does not exist"), "{}", gone.stderr);
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn a_created_container_can_be_deleted_and_its_id_used_again() {
    let bundle = Bundle::new("sleep 1000");
    bundle.create();
    let pid = bundle.pid();
    let place = bundle.directory.to_str().unwrap();
    let twice = bundle.call(&["create", "-b", place, &bundle.id]);
    assert!(twice.stderr.contains("container with given ID already exists"), "{}", twice.stderr);
    bundle.ok(&["delete", &bundle.id]);
    // Whoever inherited it may not have looked at its end yet.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the process that waited is left: {stat}");
    bundle.create();
    bundle.ok(&["delete", &bundle.id]);
}

#[test]
fn run_returns_the_programs_code_and_leaves_nothing() {
    let mut bundle = Bundle::new("exit 23");
    assert_eq!(bundle.run().code, 23);
    bundle.spec["process"]["args"] = json!(["sh", "-c", "kill -9 $$; sleep 1"]);
    // The first process of a namespace cannot kill itself; one without a namespace of its own can.
    bundle.without_namespace("pid");
    assert_eq!(bundle.run().code, 128 + 9);
    assert_eq!(fs::read_dir(bundle.file("state")).unwrap().count(), 0);
    assert!(!bundle.group("memory").exists());
}

#[test]
fn run_keeps_or_detaches_if_told_to() {
    let mut bundle = Bundle::new("exit 3");
    bundle.write();
    let place = bundle.directory.to_str().unwrap().to_owned();
    assert_eq!(bundle.call(&["run", "--keep", "--bundle", &place, &bundle.id]).code, 3);
    assert_eq!(status(&bundle), "stopped");
    bundle.ok(&["delete", &bundle.id]);
    bundle.spec["process"]["args"] = json!(["sleep", "1000"]);
    bundle.write();
    silently(bundle.runtime(&["run", "-d", "--bundle", &place, &bundle.id]));
    assert_eq!(status(&bundle), "running");
    bundle.ok(&["delete", "-f", &bundle.id]);
    assert!(!bundle.group("memory").exists());
}

#[test]
fn paths_may_be_relative() {
    let bundle = Bundle::new("exit 6");
    bundle.write();
    let name = bundle.directory.file_name().unwrap().to_str().unwrap().to_owned();
    let pid_file = format!("{name}/relative.pid");
    let mut run = bundle.runtime(&["run", "-b", &name, "--pid-file", &pid_file, &bundle.id]);
    let status = run.current_dir(bundle.directory.parent().unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(6));
    assert!(bundle.file("relative.pid").exists());
}

#[test]
fn signals_to_run_reach_the_program() {
    let bundle = Bundle::new("trap 'exit 42' TERM; echo > /ready; while :; do sleep 0.01; done");
    bundle.write();
    let mut run = bundle.runtime(&["run", "-b", bundle.directory.to_str().unwrap(), &bundle.id]).spawn().unwrap();
    eventually("the program runs", || bundle.root().join("ready").exists());
    // `timeout`, which stands in front, passes it on.
    let timeout = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(timeout, rustix::process::Signal::TERM).unwrap();
    let code = run.wait().unwrap().code();
    assert!(matches!(code, Some(42 | 124)), "{code:?}");
    eventually("run has cleared up", || fs::read_dir(bundle.file("state")).unwrap().count() == 0);
}

#[test]
fn kill_all_reaches_processes_that_the_first_left_behind() {
    let mut bundle = Bundle::new("sleep 1000 & exec sleep 1000");
    bundle.without_namespace("pid");
    bundle.start();
    let count = || bundle.ok(&["ps", "--format", "json", &bundle.id]).matches(',').count() + 1;
    eventually("there are two", || count() == 2);
    bundle.ok(&["kill", "--all", &bundle.id, "9"]);
    eventually("nobody is left", || bundle.ok(&["ps", "-f", "json", &bundle.id]) == "[]\n");
    bundle.ok(&["kill", "-a", &bundle.id, "9"]);
    bundle.ok(&["delete", &bundle.id]);
}

#[test]
fn ids_that_are_paths_are_refused() {
    let bundle = Bundle::new("true");
    bundle.write();
    for id in ["../x", "a/b", "..", "a b", ""] {
        let outcome = bundle.call(&["run", "-b", bundle.directory.to_str().unwrap(), id]);
        assert!(
            outcome.code == 1 && outcome.stderr.contains("invalid container ID format"),
            "{id}: {}",
            outcome.stderr
        );
    }
}

/// Runs a command whose container stays: its output must not be a pipe of ours.
pub(crate) fn silently(mut command: std::process::Command) {
    let status = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::inherit()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
