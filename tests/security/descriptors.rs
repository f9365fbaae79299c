//! Descriptors of the host: none comes along into a container, and none can be a working directory (CVE-2024-21626).

use crate::harness::{IMAGE, Skep, entries};
use std::process::Command;

/// What a process of the container has open, and where it stands.
const LOOK: &str =
    "for fd in /proc/$$/fd/*; do echo -n \"${fd##*/} \"; readlink $fd || echo; done; readlink /proc/$$/cwd";

/// The shell itself has 0 to 2; the directory that its pattern read is closed again.
#[track_caller]
fn assert_only_streams(seen: &str, of: &str) {
    let mut lines: Vec<_> = seen.lines().map(str::trim).collect();
    assert_eq!(lines.pop(), Some("/"), "{of}: the working directory: {seen}");
    for line in &lines {
        let (number, target) = line.split_once(' ').unwrap_or((line, ""));
        assert!(matches!(number, "0" | "1" | "2") || target.is_empty(), "{of}: {seen}");
        let harmless = ["pipe:", "/dev/null", "/dev/pts/", "/dev/console", "socket:"];
        assert!(target.is_empty() || harmless.iter().any(|start| target.starts_with(start)), "{of}: {seen}");
    }
}

#[test]
fn only_three_streams_come_along() {
    let skep = Skep::with_image();
    for options in
        [&[][..], &["--init"], &["-t"], &["-i"], &["--privileged"], &["--userns", "host"], &["--network", "host"]]
    {
        let seen = skep.run([&["run", "--rm"], options, &[IMAGE, "sh", "-c", LOOK]].concat());
        assert_eq!(seen.code, 0, "{seen:#?}");
        assert_only_streams(&seen.stdout.replace('\r', ""), &format!("run {options:?}"));
        let id = skep.ok([&["run", "-d"], options, &[IMAGE, "sleep", "1000"]].concat());
        for how in [&[][..], &["-t"], &["-i"], &["--privileged"], &["-u", "bee"]] {
            let seen = skep.run([&["exec"], how, &[&id, "sh", "-c", LOOK]].concat());
            assert_eq!(seen.code, 0, "{seen:#?}");
            assert_only_streams(&seen.stdout.replace('\r', ""), &format!("exec {how:?} in {options:?}"));
        }
        // From outside, by the kernel's own list. PID 1 of `--init` has none at all.
        let open = entries(format!("/proc/{}/fd", skep.pid(&id)).as_ref());
        assert_eq!(open.len(), if options == ["--init"] { 0 } else { 3 }, "{options:?}: {open:?}");
        skep.ok(["rm", "-f", &id]);
    }
}

#[test]
fn what_the_caller_has_open_stays_outside() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    for words in [format!("run --rm {IMAGE}"), format!("exec {id}"), format!("run --rm --privileged {IMAGE}")] {
        let script = format!("exec 3</ 7</etc 9</etc/shadow 200</root; \"$SKEP\" {words} sh -c '{LOOK}'");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir("/root");
        skep.environment(&mut command);
        let seen = skep.finish(command);
        assert_eq!(seen.code, 0, "{seen:#?}");
        assert_only_streams(&seen.stdout, &words);
    }
}

/// Every number that a descriptor of the engine could have, as the working directory and on the way to one.
#[test]
fn no_working_directory_is_a_descriptor_of_the_host() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let step = if std::env::var_os("SKEP_ROUNDS").is_some() { 1 } else { 7 };
    // Inside, nothing lies above the root: where the way up ends is the root itself.
    let look = "test \"$(stat -c %d:%i /)\" = \"$(stat -c %d:%i ../../../../../../../../..)\" && echo inside";
    for number in (0..256).filter(|number| number % step == 0 || *number < 16) {
        for directory in [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}/../../..")] {
            let runs = [
                skep.run(["run", "--rm", "-w", &directory, IMAGE, "sh", "-c", look]),
                skep.run(["exec", "-w", &directory, &id, "sh", "-c", look]),
            ];
            for output in runs {
                assert!(output.code != 0 || output.stdout == "inside\n", "{directory}: {output:#?}");
                assert!(output.code >= 0, "{directory}: {output:#?}");
            }
        }
    }
    for directory in ["/proc/self/cwd", "/proc/self/root/../..", "/proc/1/cwd", "/proc/thread-self/fd/8"] {
        let output = skep.run(["run", "--rm", "--userns", "host", "-w", directory, IMAGE, "sh", "-c", look]);
        assert!(output.code != 0 || output.stdout == "inside\n", "{directory}: {output:#?}");
    }
}
