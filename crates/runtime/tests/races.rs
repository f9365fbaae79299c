//! Launches and execs in a root whose names are exchanged with links meanwhile.
//!
//! Each round is one container, or one more process in it: its mounts, its masked and read-only paths, its devices and
//! its working directory lie below names that are swapped, as fast as the kernel renames, with links that lead out of
//! the root. It may fail; a canary on the host may not see a single event. `SKEP_ROUNDS=N` makes it N times as long.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail loudly")]
#![allow(dead_code, reason = "the witness has more than one user")]

mod harness;
#[path = "../../../tests/security/witness.rs"]
mod witness;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;

use harness::{Container, finish, piped};
use runtime::cgroup::Cgroup;
use runtime::{Exec, exec};
use serde_json::json;
use witness::{Canary, Swapper, rounds};

/// A container whose specification names everything that is raced for, and the links to swap it with.
struct Scene {
    container: Container,
    canary: Canary,
}

impl Scene {
    fn new(mut container: Container) -> Self {
        let root = container.root.path.clone();
        let canary = Canary::new();
        let target = fs::canonicalize(canary.path()).unwrap();
        for directory in ["race/real/sub/deep", "race/real/shm", "race/real/pts", "given/sub", "dev/pts", "dev/shm"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["race/real/file", "race/real/kcore", "race/real/null", "race/real/console", "given/file"] {
            fs::write(root.join(file), "inside").unwrap();
        }
        symlink(&target, root.join("race/out")).unwrap();
        symlink(format!("{}{}", "../".repeat(12), target.display()), root.join("race/up")).unwrap();
        symlink(format!("/proc/self/root{}", target.display()), root.join("race/magic")).unwrap();
        symlink("/proc/self/fd/3", root.join("race/descriptor")).unwrap();
        for name in ["dev", "proc", "sys", "etc"] {
            symlink(&target, root.join(format!("{name}-out"))).unwrap();
        }
        let given = root.join("given");
        let mounts = container.spec["mounts"].as_array_mut().unwrap();
        mounts.extend([
            json!({"destination": "/race/real/shm", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/race/real/new/deeper", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/race/real/sub", "type": "bind", "source": given, "options": ["rbind"]}),
            json!({"destination": "/race/real/file", "type": "bind", "source": given.join("file"), "options": ["bind", "ro"]}),
            json!({"destination": "/race/real/pts/made", "type": "bind", "source": given.join("file"), "options": ["bind"]}),
        ]);
        let linux = &mut container.spec["linux"];
        linux["maskedPaths"] = json!(["/race/real/kcore", "/race/real/sub/deep", "/proc/kcore", "/proc/keys"]);
        linux["readonlyPaths"] = json!(["/race/real/null", "/race/real/pts", "/proc/sys"]);
        container.spec["process"]["cwd"] = json!("/race/real/new/work");
        container.spec["process"]["args"] = json!(["/bin/true"]);
        Self { container, canary }
    }

    fn swapper(&self, pairs: &[(&str, &str)]) -> Swapper {
        Swapper::start(OwnedFd::from(fs::File::open(&self.container.root.path).unwrap()), pairs)
    }

    fn race(&self, name: &str, pairs: &[(&str, &str)], rounds: u64) {
        let swapper = self.swapper(pairs);
        let mut succeeded = 0;
        for _ in 0..rounds {
            swapper.wait_for_next();
            match self.container.start() {
                Ok((running, output)) => {
                    succeeded += u64::from(finish(&running, output).code == 0);
                    Cgroup::open(&self.container.cgroup).unwrap().remove().unwrap();
                }
                Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
            }
        }
        let swaps = swapper.swaps();
        drop(swapper);
        println!("rounds: {rounds} of {name}: {succeeded} succeeded, {swaps} swaps meanwhile");
        self.canary.assert_untouched(name);
    }
}

const PAIRS: [(&str, &[(&str, &str)]); 5] = [
    ("launches beside a link", &[("race/real", "race/out")]),
    (
        "launches beside a link upwards",
        &[("race/real", "race/up"), ("race/real/sub", "race/out"), ("race/real/file", "race/out")],
    ),
    ("launches beside magic links", &[("race/real", "race/magic"), ("race/real", "race/descriptor")]),
    ("launches beside another /dev", &[("dev", "dev-out")]),
    ("launches beside another /proc and /sys", &[("proc", "proc-out"), ("sys", "sys-out")]),
];

#[test]
fn a_launch_is_not_led_out() {
    let scene = Scene::new(Container::new("true"));
    for (name, pairs) in PAIRS {
        scene.race(name, pairs, rounds(20));
    }
}

#[test]
fn a_launch_with_the_ids_of_the_host_is_not_led_out() {
    let scene = Scene::new(Container::with_host_ids("true"));
    for (name, pairs) in PAIRS {
        scene.race(name, pairs, rounds(20));
    }
}

#[test]
fn an_exec_is_not_led_out() {
    for container in [Container::new("sleep 1000"), Container::with_host_ids("sleep 1000")] {
        let mut scene = Scene::new(container);
        scene.container.spec["process"]["args"] = json!(["sleep", "1000"]);
        let mounts = scene.container.spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/race"));
        let (running, output) = scene.container.start().unwrap();
        for (name, pairs) in &PAIRS[..3] {
            let swapper = scene.swapper(pairs);
            let (count, mut succeeded) = (rounds(20), 0);
            for _ in 0..count {
                swapper.wait_for_next();
                let mut process = scene.container.spec["process"].clone();
                process["args"] = json!(["/bin/true"]);
                process["cwd"] = json!("/race/real/sub/deep");
                let (process, spec) = (serde_json::from_value(process).unwrap(), scene.container.spec());
                let (stdio, output) = piped();
                let request = Exec {
                    target: &running.identity,
                    cgroup: &scene.container.cgroup,
                    process: &process,
                    linux: spec.linux().as_ref().unwrap(),
                    filter: None,
                    seccomp_cache: None,
                    preserved: 0,
                    container: None,
                };
                if let Ok(executed) = exec(&request, stdio) {
                    succeeded += u64::from(finish(&executed, output).code == 0);
                }
            }
            println!("rounds: {count} of exec, {name}: {succeeded} succeeded, {} swaps meanwhile", swapper.swaps());
            drop(swapper);
            scene.canary.assert_untouched(name);
        }
        drop(output);
        scene.container.kill(&running);
    }
}
