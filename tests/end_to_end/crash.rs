//! `kill -9` at any moment: of the command, of the monitor, of a load, of a removal; two hundred times in all.
//!
//! After each, the next commands must work with the same names, and at the end nothing may be left. The moments are
//! random; a failure prints the delay that led to it.

use crate::harness::{IMAGE, Skep, busybox_archive, entries, machine_processes, process_status, retry};
use std::process::Child;
use std::time::{Duration, SystemTime};

/// A delay below `longest`, different in every run.
fn moment(longest: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    longest.mul_f64(f64::from(now % 10_007) / 10_007.0)
}

fn kill_after(mut child: Child, delay: Duration) {
    std::thread::sleep(delay);
    child.kill().ok();
    child.wait().unwrap();
}

/// How long a command takes when it may finish.
fn duration_of(skep: &Skep, arguments: &[&str]) -> Duration {
    let start = std::time::Instant::now();
    skep.run(arguments);
    start.elapsed()
}

/// Every container that runs is listed as running, and everything listed can be removed.
#[track_caller]
fn assert_listed_and_removable(skep: &Skep, what: &str) {
    let listed = skep.run(["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
    assert_eq!(listed.code, 0, "{what}: {listed:#?}");
    for line in listed.stdout.lines() {
        let (id, _) = line.split_once(' ').unwrap();
        let inspected = skep.run(["inspect", id]);
        // One with `--rm` may have gone by itself since.
        assert!(inspected.code == 0 || inspected.stderr.contains("no such"), "{what}: {inspected:#?}");
        let removed = skep.run(["rm", "-f", id]);
        assert_eq!(removed.code, 0, "{what}: {removed:#?}");
    }
}

#[test]
fn the_foreground_command() {
    let skep = Skep::with_image();
    let commands: [&[&str]; 3] = [
        &["run", "--rm", "--name", "victim", IMAGE, "true"],
        &["run", "--name", "victim", IMAGE, "sleep", "0.005"],
        &["run", "-d", "--name", "victim", IMAGE, "sleep", "1000"],
    ];
    let longest = duration_of(&skep, commands[0]).mul_f64(1.5);
    for round in 0..60 {
        let delay = moment(longest);
        kill_after(skep.spawn(commands[round % 3]), delay);
        let what = format!("round {round}, killed after {delay:?}");
        assert_listed_and_removable(&skep, &what);
        // The killed command's monitor may still be on its way: the name is free in the end, though perhaps not now.
        retry(|| {
            skep.run(["rm", "-f", "victim"]);
            let again = skep.run(["run", "--rm", "--name", "victim", IMAGE, "true"]);
            if again.code == 0 { Ok(()) } else { Err(format!("{what}: {again:#?}")) }
        });
    }
    skep.assert_clean();
}

#[test]
fn a_running_container_survives_its_command() {
    let skep = Skep::with_image();
    for round in 0..10 {
        let name = format!("survivor{round}");
        let child = skep.spawn(["run", "--name", &name, IMAGE, "sleep", "1000"]);
        retry(|| match skep.run(["inspect", "--format", "{{.State.Running}}", &name]).stdout.trim() {
            "true" => Ok(()),
            other => Err(format!("running: {other}")),
        });
        kill_after(child, moment(Duration::from_millis(5)));
        assert_eq!(skep.inspect(&name, "{{.State.Running}}"), "true");
        assert_eq!(skep.ok(["exec", &name, "echo", "alive"]), "alive");
    }
    assert_eq!(skep.ok(["ps", "-q"]).lines().count(), 10);
}

#[test]
fn the_monitor_of_a_running_container() {
    let skep = Skep::with_image();
    for round in 0..30 {
        let id = skep.sleeper(&[]);
        let pid = skep.pid(&id);
        let monitor: i32 = process_status(pid, "PPid").parse().unwrap();
        std::thread::sleep(moment(Duration::from_millis(5)));
        kill(monitor);
        // Its parent is dead, so a dead process may stay a zombie for as long as the machine's init is slow.
        let alive = || state_of(pid).is_some_and(|state| state != "Z");
        retry(|| {
            let status = skep.inspect(&id, "{{.State.Status}}");
            // Told truthfully: it is said to run exactly as long as its process is there.
            if (status == "running") == alive() {
                Ok(())
            } else {
                Err(format!("round {round}: `{status}`, alive: {}", alive()))
            }
        });
        assert_eq!(skep.run(["ps", "-a"]).code, 0);
        skep.ok(["rm", "-f", &id]);
        retry(|| if alive() { Err(format!("process {pid} outlives the removal")) } else { Ok(()) });
    }
    skep.assert_clean();
}

#[test]
fn the_monitor_while_it_starts_a_container() {
    let skep = Skep::with_image();
    let longest = duration_of(&skep, &["run", "--rm", IMAGE, "true"]).mul_f64(1.5);
    for round in 0..30 {
        let mut child = skep.spawn(["run", "--name", "victim", IMAGE, "sleep", "0.01"]);
        let delay = moment(longest);
        std::thread::sleep(delay);
        let command = child.id() as i32;
        for pid in machine_processes().into_iter().filter(|pid| parent_of(*pid) == Some(command)) {
            kill(pid);
        }
        retry(|| match child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err(format!("round {round}, after {delay:?}: the command waits for a monitor that is dead")),
        });
        assert_listed_and_removable(&skep, &format!("round {round}, monitor killed after {delay:?}"));
        skep.ok(["run", "--rm", "--name", "victim", IMAGE, "true"]);
    }
    skep.assert_clean();
}

#[test]
fn a_load() {
    let skep = Skep::new();
    let archive = busybox_archive();
    let load = ["load", "-q", "-i", archive.to_str().unwrap()];
    let longest = duration_of(&skep, &load);
    skep.ok(["rmi", IMAGE]);
    for round in 0..40 {
        let delay = moment(longest);
        kill_after(skep.spawn(load), delay);
        let what = format!("round {round}, killed after {delay:?}");
        assert_eq!(skep.run(["images"]).code, 0, "{what}");
        let again = skep.run(load);
        assert_eq!(again.code, 0, "{what}: {again:#?}");
        assert_eq!(skep.ok(["run", "--rm", IMAGE, "echo", "whole"]), "whole", "{what}");
        skep.ok(["rmi", IMAGE]);
        // Workers of the killed command may have lived a moment longer, so that its leavings were not free yet.
        retry(|| {
            skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
            skep.ok(["rmi", IMAGE]);
            let left = ["layers", "blobs/sha256", "leases"].map(|name| entries(&skep.root().join(name)));
            if left.iter().all(Vec::is_empty) { Ok(()) } else { Err(format!("{what}: {left:?}")) }
        });
    }
}

#[test]
fn a_removal() {
    let skep = Skep::with_image();
    let longest = {
        let id = skep.sleeper(&[]);
        duration_of(&skep, &["rm", "-f", &id]).mul_f64(1.2)
    };
    for round in 0..40 {
        let id = skep.sleeper(&["--name", "victim"]);
        skep.ok(["exec", &id, "sh", "-c", "mkdir -p /a/b/c; touch /a/b/c/d /a/e"]);
        let delay = moment(longest);
        kill_after(skep.spawn(["rm", "-f", "victim"]), delay);
        let what = format!("round {round}, killed after {delay:?}");
        assert_listed_and_removable(&skep, &what);
        let again = skep.run(["run", "--rm", "--name", "victim", IMAGE, "true"]);
        assert_eq!(again.code, 0, "{what}: {again:#?}");
    }
    skep.assert_clean();
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

fn parent_of(pid: i32) -> Option<i32> {
    field_of(pid, 1)?.parse().ok()
}

fn state_of(pid: i32) -> Option<String> {
    field_of(pid, 0)
}

/// A field of `/proc/<pid>/stat`, counted from the one behind the name.
fn field_of(pid: i32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(number).map(str::to_owned)
}
