//! `checkpoint` and `restore`, where CRIU works (`$CRIU`, else `criu` of the path, if its own check passes), and what is said
//! where it does not.
//!
//! The container counts in its memory and writes each number down: a restored one goes on where it was, a new one would begin
//! at one.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Bundle, Outcome};

/// CRIU, if it says of itself that it works here.
fn criu() -> Option<String> {
    let program = program();
    let checked = Command::new(&program).arg("check").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = checked.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: `{program} check` does not pass here; name a CRIU that works with $CRIU");
    }
    works.then_some(program)
}

/// A container that counts, with everything that a checkpoint has to leave out: binds, the control group, masked paths.
fn counting() -> Bundle {
    let mut bundle =
        Bundle::new("n=0; while [ ! -e /end ]; do n=$((n+1)); echo $n > /data/n; sleep 0.05; done; exit 7");
    let data = bundle.file("data");
    fs::create_dir(&data).unwrap();
    bundle.mount(json!({"destination": "/data", "type": "bind", "source": data, "options": ["rbind"]}));
    bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["ro", "nosuid", "noexec", "nodev"]}));
    bundle.spec["linux"]["maskedPaths"] =
        json!(["/proc/keys", "/proc/acpi", "/proc/timer_list", "/sys/firmware", "/etc"]);
    bundle.spec["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
    bundle.spec["process"]["noNewPrivileges"] = json!(keeps_no_new_privileges());
    bundle
}

/// CRIU before 3.18 restores processes without the bit, which a restore refuses.
fn keeps_no_new_privileges() -> bool {
    let version = Command::new(program()).arg("--version").output();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let numbers: Vec<u32> = text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    numbers.as_slice() >= [3, 18].as_slice()
}

fn program() -> String {
    std::env::var("CRIU").unwrap_or_else(|_| "criu".to_owned())
}

fn count(bundle: &Bundle) -> u32 {
    fs::read_to_string(bundle.file("data/n")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// Waits until the container has counted beyond a number; the new one.
fn wait_beyond(bundle: &Bundle, number: u32) -> u32 {
    let since = Instant::now();
    while count(bundle) <= number {
        assert!(since.elapsed() < Duration::from_secs(60), "it does not count");
        std::thread::sleep(Duration::from_millis(10));
    }
    count(bundle)
}

fn images(bundle: &Bundle) -> String {
    bundle.file("images").display().to_string()
}

fn checkpoint(bundle: &Bundle, criu: &str, flags: &[&str]) -> Outcome {
    let images = images(bundle);
    let mut words = vec!["--criu", criu, "checkpoint", "--image-path", &images];
    words.extend(flags);
    words.push(&bundle.id);
    bundle.call(&words)
}

fn restore(bundle: &Bundle, criu: &str, flags: &[&str]) -> Command {
    let (images, directory) = (images(bundle), bundle.directory.display().to_string());
    let mut words = vec!["--criu", criu, "restore", "--image-path", &images, "--bundle", &directory];
    words.extend(flags);
    words.push(&bundle.id);
    bundle.runtime(&words)
}

/// Restores in the background. Its output goes nowhere: a pipe would stay open as long as the container lives.
fn restore_detached(bundle: &Bundle, criu: &str, flags: &[&str]) -> Result<(), String> {
    let errors = bundle.file("restore.err");
    let mut command = restore(bundle, criu, &[&["--detach"], flags].concat());
    let status = command.stdout(Stdio::null()).stderr(fs::File::create(&errors).unwrap()).status().unwrap();
    if status.success() { Ok(()) } else { Err(fs::read_to_string(errors).unwrap()) }
}

fn is_gone(bundle: &Bundle) -> bool {
    bundle.call(&["state", &bundle.id]).code != 0 && !bundle.group("memory").exists()
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(criu) = criu() else { return };
    let bundle = counting();
    bundle.start();
    wait_beyond(&bundle, 3);
    let outcome = checkpoint(&bundle, &criu, &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(is_gone(&bundle), "the container is still there");
    let before = count(&bundle);
    fs::remove_file(bundle.file("data/n")).unwrap();
    restore_detached(&bundle, &criu, &["--pid-file", bundle.file("pid").to_str().unwrap()]).unwrap();
    assert!(wait_beyond(&bundle, 0) > before.saturating_sub(1), "it has begun anew");
    assert_eq!(bundle.state()["status"], "running");
    assert_eq!(fs::read_to_string(bundle.file("pid")).unwrap(), bundle.pid().to_string());
    let seen = bundle.exec("cat /proc/keys | wc -c; ls /etc /sys/firmware | wc -w; (echo 1 > /proc/sys/vm/swappiness) 2>&1 | grep -c Read-only; hostname; cat /proc/self/cgroup | grep -c skep");
    assert_eq!(seen.stdout.lines().collect::<Vec<_>>()[..3], ["0", "2", "1"], "{}{}", seen.stdout, seen.stderr);
    assert!(
        fs::read_to_string(bundle.group("memory").join("cgroup.procs")).unwrap().contains(&bundle.pid().to_string())
    );
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(is_gone(&bundle));
}

#[test]
fn the_foreground_learns_the_end() {
    let Some(criu) = criu() else { return };
    let bundle = counting();
    bundle.start();
    wait_beyond(&bundle, 1);
    assert_eq!(checkpoint(&bundle, &criu, &[]).code, 0);
    let before = count(&bundle);
    let mut pipes = restore(&bundle, &criu, &[]);
    let refused = pipes.output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("redirect it to a file"), "{refused:?}");
    let errors = fs::File::create(bundle.file("restore.err")).unwrap();
    let mut child = restore(&bundle, &criu, &[]).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    wait_beyond(&bundle, before);
    fs::write(bundle.root().join("end"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(is_gone(&bundle));
}

#[test]
fn a_checkpoint_may_leave_it_running() {
    let Some(criu) = criu() else { return };
    let bundle = counting();
    let pid = bundle.start();
    let before = wait_beyond(&bundle, 1);
    let outcome =
        checkpoint(&bundle, &criu, &["--leave-running", "--work-path", bundle.file("work").to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(bundle.file("images/inventory.img").exists() && bundle.file("work/dump.log").exists());
    wait_beyond(&bundle, before);
    assert_eq!((bundle.pid(), bundle.state()["status"].as_str()), (pid, Some("running")));
}

#[test]
fn a_checkpoint_gives_no_more_than_the_bundle() {
    let Some(criu) = criu() else { return };
    let mut bundle = counting();
    bundle.start();
    wait_beyond(&bundle, 1);
    assert_eq!(checkpoint(&bundle, &criu, &[]).code, 0);
    let before = count(&bundle);
    let good = bundle.spec.clone();
    let set = json!(["CAP_KILL"]);
    bundle.spec["process"]["capabilities"] = json!({"bounding": set, "effective": set, "permitted": set});
    bundle.write();
    let refused = restore_detached(&bundle, &criu, &[]).unwrap_err();
    assert!(refused.contains("more capabilities than the bundle gives"), "{refused}");
    bundle.spec = good.clone();
    bundle.spec["linux"]["readonlyPaths"] = json!(["/proc/irq"]);
    bundle.write();
    let refused = restore_detached(&bundle, &criu, &[]).unwrap_err();
    assert!(refused.contains("does not protect `/proc/irq`"), "{refused}");
    assert!(is_gone(&bundle), "something is left");
    assert_eq!(count(&bundle), before, "it ran");
    bundle.spec = good;
    bundle.write();
    restore_detached(&bundle, &criu, &[]).unwrap();
    wait_beyond(&bundle, before);
}

#[test]
fn a_checkpoint_with_links_is_refused() {
    let bundle = counting();
    bundle.write();
    let (images, victim) = (bundle.file("images"), bundle.file("victim"));
    fs::create_dir(&images).unwrap();
    fs::write(&victim, "whole").unwrap();
    symlink(&victim, images.join("restore.log")).unwrap();
    let refused = restore_detached(&bundle, "/bin/true", &[]).unwrap_err();
    assert!(refused.contains("a checkpoint has no such thing"), "{refused}");
    assert_eq!(fs::read_to_string(victim).unwrap(), "whole");
    assert!(is_gone(&bundle));
}

#[test]
fn without_criu_nothing_changes() {
    let bundle = counting();
    let pid = bundle.start();
    let before = wait_beyond(&bundle, 0);
    let outcome = checkpoint(&bundle, "/no/such/criu", &[]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("install CRIU, or name it with --criu"), "{}", outcome.stderr);
    // One that ends without a word.
    let outcome = checkpoint(&bundle, "/bin/true", &[]);
    assert!(outcome.stderr.contains("cannot checkpoint container"), "{}", outcome.stderr);
    wait_beyond(&bundle, before);
    assert_eq!(bundle.pid(), pid);
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    fs::write(bundle.file("images/descriptors.json"), "[]").unwrap();
    let refused = restore_detached(&bundle, "/no/such/criu", &[]).unwrap_err();
    assert!(refused.contains("name it with --criu"), "{refused}");
    assert!(is_gone(&bundle), "something is left of a restore that failed");
}

#[test]
fn what_cannot_be_checkpointed_is_said_before() {
    let mut bundle = counting();
    bundle.create();
    let outcome = checkpoint(&bundle, "criu", &[]);
    assert!(outcome.stderr.contains("cannot be checkpointed in created state"), "{}", outcome.stderr);
    bundle.ok(&["delete", "--force", &bundle.id]);
    bundle.with_user_namespace();
    bundle.start();
    let outcome = checkpoint(&bundle, "criu", &[]);
    assert!(outcome.stderr.contains("user ids of its own"), "{}", outcome.stderr);
    for (flags, line) in [
        (["--empty-ns", "pid"], "--empty-ns"),
        (["--manage-cgroups-mode", "hard"], "--manage-cgroups-mode"),
        (["--page-server", "x"], "ADDRESS:PORT"),
        (["--parent-path", "/x"], "relative"),
    ] {
        let outcome = checkpoint(&bundle, "criu", &flags);
        assert!(outcome.code == 1 && outcome.stderr.contains(line), "{}", outcome.stderr);
    }
    assert_eq!(bundle.state()["status"], "running");
}
