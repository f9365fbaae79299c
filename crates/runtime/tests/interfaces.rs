//! Network interfaces that move into containers, with names and addresses. In a network namespace of the test's own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::os::unix::fs::symlink;
use std::process::Command;

use harness::Container;
use rustix::thread::UnshareFlags;
use serde_json::{Value, json};

/// Runs `ip` in this thread's network namespace.
fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(done.success(), "ip {words}");
}

/// This thread stands for the host: what it moves is its own.
fn become_host() {
    sys::namespace::unshare(UnshareFlags::NEWNET).unwrap();
}

fn container(script: &str, devices: Value) -> Container {
    let mut container = Container::new(script);
    symlink("busybox", container.root.path.join("bin/ip")).unwrap();
    container.spec["linux"]["netDevices"] = devices;
    container
}

const SHOW: &str = "ip -o link | sed 's/@[^:]*//; s/^[0-9]*: //; s/:.*<.*UP.*>.*/ up/'; \
    ip -o addr | grep -v ' lo ' | sed 's/^[0-9]*: //; s/  */ /g; s/ scope.*//'";

#[test]
fn a_device_moves_with_its_addresses() {
    become_host();
    for (index, mut container) in [container(SHOW, json!({})), Container::with_host_ids(SHOW)].into_iter().enumerate() {
        let _ = symlink("busybox", container.root.path.join("bin/ip"));
        ip("link add left type veth peer name right");
        ip("link set right up");
        ip("addr add 10.7.0.2/24 brd + dev left");
        ip("addr add 10.7.0.9/32 dev left scope link");
        ip("addr add fd00::7/64 dev left");
        container.spec["linux"]["netDevices"] = json!({"left": {"name": "inside0"}});
        let ended = container.run().unwrap();
        let lines: Vec<_> = ended.output.lines().collect();
        assert!(lines.contains(&"lo up") && lines.contains(&"inside0 up"), "{index}: {lines:?}");
        assert!(lines.contains(&"inside0 inet 10.7.0.2/24 brd 10.7.0.255"), "{index}: {lines:?}");
        assert!(lines.contains(&"inside0 inet6 fd00::7/64"), "{index}: {lines:?}");
        assert!(!ended.output.contains("10.7.0.9"), "{index}: {lines:?}");
        // With the namespace the pair goes; it may take the kernel a moment.
        let _ = Command::new("ip").args(["link", "del", "right"]).stderr(std::process::Stdio::null()).status();
    }
}

#[test]
fn names_are_kept_or_found() {
    become_host();
    ip("link add left type veth peer name right");
    let container = container(SHOW, json!({"left": {}, "right": {"name": "net%d"}}));
    let output = container.run().unwrap().output;
    assert!(output.contains("left up\n") && output.contains("net0 up\n"), "{output}");
}

#[test]
fn impossible_moves_are_refused_before_anything_is_made() {
    become_host();
    ip("link add left type veth peer name right");
    for (devices, expected) in [
        (json!({"absent": {}}), "the network device `absent` cannot be moved: no such device"),
        (
            json!({"left": {"name": "much_too_long_a_name"}}),
            "`much_too_long_a_name` is no name of a network device: it has 1 to 15 bytes",
        ),
        (json!({"left": {"name": "x"}, "right": {"name": "x"}}), "two network devices are to have the name `x`"),
    ] {
        let error = container("true", devices).plan().err().unwrap().to_string();
        assert_eq!(error, expected);
    }
    let mut container = container("true", json!({"left": {}}));
    container.spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
    assert!(container.plan().is_err());
}

#[test]
fn a_name_that_is_taken_is_an_error() {
    become_host();
    ip("link add left type veth peer name right");
    let first = container("sleep 60", json!({"left": {}}));
    let (running, _output) = first.start().unwrap();
    let mut second = container("true", json!({"right": {"name": "left"}}));
    let path = format!("/proc/{}/ns/net", running.identity.pid);
    second.spec["linux"]["namespaces"][1] = json!({"type": "network", "path": path});
    let error = second.run().err().unwrap().to_string();
    assert_eq!(error, "cannot move the network device `right` into the container as `left`: file exists");
    assert!(harness::is_gone(&second.cgroup));
    // What could not move is still there.
    let kept = Command::new("ip").args(["link", "show", "right"]).output().unwrap();
    assert!(kept.status.success());
    first.kill(&running);
}
