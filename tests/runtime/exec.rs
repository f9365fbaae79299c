//! `exec`: whose process it is, where, with what, and how it ends.

use std::fs;

use serde_json::json;

use crate::harness::Bundle;
use crate::lifecycle::{eventually, silently, status};

fn running() -> Bundle {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.spec["process"]["cwd"] = json!("/tmp");
    bundle.start();
    bundle
}

#[test]
fn a_command_takes_the_specifications_process_and_the_flags_come_over_it() {
    let bundle = running();
    assert_eq!(bundle.exec("echo $PATH; pwd; id -u; exit 9").stdout, "/bin\n/tmp\n0\n");
    assert_eq!(bundle.exec("exit 9").code, 9);
    assert_eq!(bundle.exec("kill -9 $$").code, 137);
    let words = ["exec", "-u", "7:8", "-g", "9", "--cwd", "/", "-e", "A=1", "-e", "B=2", &bundle.id];
    let script = ["sh", "-c", "id -u; id -g; id -G; pwd; echo $A$B"];
    assert_eq!(bundle.ok(&[&words[..], &script[..]].concat()), "7\n8\n8 9\n/\n12\n");
    let caps = |words: &[&str]| {
        let status = bundle.ok(&[&["exec"], words, &[&*bundle.id, "grep", "CapEff", "/proc/self/status"]].concat());
        u64::from_str_radix(status.split_whitespace().last().unwrap(), 16).unwrap()
    };
    assert_eq!(caps(&["--cap", "CAP_CHOWN"]) & !caps(&[]), 1);
}

#[test]
fn a_whole_process_comes_from_a_file() {
    let bundle = running();
    let process = json!({
        "cwd": "/", "user": {"uid": 3, "gid": 4}, "env": ["PATH=/bin", "X=y"], "args": ["sh", "-c", "id -u; echo $X"],
        "noNewPrivileges": true,
    });
    let file = bundle.file("process.json");
    fs::write(&file, process.to_string()).unwrap();
    assert_eq!(bundle.ok(&["exec", "--process", file.to_str().unwrap(), &bundle.id]), "3\ny\n");
}

#[test]
fn detached_it_is_left_alone_and_its_number_is_written() {
    let bundle = running();
    let file = bundle.file("exec.pid");
    let words = ["exec", "-d", "--pid-file", file.to_str().unwrap(), &bundle.id, "sh", "-c", "echo > /done"];
    silently(bundle.runtime(&words));
    assert!(fs::read_to_string(&file).unwrap().parse::<i32>().unwrap() > 1);
    eventually("it ran", || bundle.root().join("done").exists());
}

#[test]
fn a_paused_container_takes_none() {
    let bundle = running();
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(status(&bundle), "paused");
    let refused = bundle.exec("true");
    assert!(refused.stderr.contains("cannot exec in a paused container"), "{}", refused.stderr);
    bundle.ok(&["resume", &bundle.id]);
    assert_eq!(bundle.exec("echo on").stdout, "on\n");
    let twice = bundle.call(&["resume", &bundle.id]);
    assert!(twice.stderr.contains("container not paused"), "{}", twice.stderr);
    bundle.ok(&["kill", &bundle.id, "9"]);
    eventually("it has stopped", || status(&bundle) == "stopped");
    let refused = bundle.exec("true");
    assert!(refused.stderr.contains("container not running"), "{}", refused.stderr);
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let bundle = running();
    bundle.ok(&["pause", &bundle.id]);
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    eventually("it has stopped", || status(&bundle) == "stopped");
    bundle.ok(&["delete", &bundle.id]);
    let bundle = running();
    bundle.ok(&["pause", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
}
