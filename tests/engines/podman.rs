//! podman, whose conmon calls the runtime.

use crate::place::{Output, Place};

struct Podman {
    place: Place,
}

impl Podman {
    fn words(&self, words: &[&str]) -> Vec<String> {
        let place = &self.place;
        let directories =
            ["--root", &place.path("root"), "--runroot", &place.path("run"), "--tmpdir", &place.path("tmp")];
        let choices = ["--cgroup-manager=cgroupfs", "--events-backend=file", "--storage-driver=overlay"];
        let runtime = place.runtime();
        let all = [&["podman", "--runtime", &runtime], &directories[..], &choices, words].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    fn run(&self, words: &[&str]) -> Output {
        let words = self.words(words);
        self.place.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn in_terminal(&self, words: &[&str]) -> Output {
        let words = self.words(words);
        self.place.run_in_terminal(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// `podman run` with the options that every container here has.
    fn container(&self, options: &[&str]) -> Output {
        let parent = format!("/{}", self.place.name);
        self.run(&[&["run", "--network=none", "--cgroup-parent", &parent], options].concat())
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        self.run(words).ok()
    }
}

#[test]
fn podman() {
    let Some(place) = Place::new("podman", &["podman", "conmon", "script"]) else { return };
    let podman = Podman { place };
    podman.ok(&["load", "--quiet", "--input", crate::archive().to_str().unwrap()]);
    podman.runs();
    podman.executes();
    podman.limits();
    podman.makes_a_pod();
    assert_eq!(podman.ok(&["ps", "--all", "--quiet"]), "");
    assert_eq!(podman.place.run(&["sh", "-c", "ls /run/skep-runtime | grep -v '^@' || true"]).ok(), "");
    podman.place.done("nothing left");
    let version = podman.place.run(&["podman", "--version"]).ok();
    podman.place.finish(&version.replace(" version", ""));
}

impl Podman {
    fn runs(&self) {
        assert_eq!(self.container(&["--rm", "busybox", "echo", "hello"]).ok(), "hello");
        self.container(&["--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
        self.container(&["--rm", "busybox", "nosuch"]).fails(127);
        self.container(&["--rm", "busybox", "/etc/passwd"]).fails(126);
        self.place.done("run, exit codes 7, 126, 127");
        let parent = format!("/{}", self.place.name);
        // A container that ends at once may be gone before podman's client is attached, whatever the runtime.
        let words = ["--network=none", "--cgroup-parent", &parent, "busybox", "sh", "-c", "tty; sleep 1"];
        let said = self.in_terminal(&[&["run", "--rm", "-it"], &words[..]].concat()).ok();
        assert!(said.contains("/dev/pts/0"), "{said}");
        self.place.done("run -it");
        let options = ["--rm", "--read-only", "--user", "bee", "--hostname", "hive", "--cap-drop", "all", "busybox"];
        let said = self.container(&[&options[..], &["sh", "-c", "id -un; hostname; touch /no"]].concat()).fails(1);
        assert!(said.contains("bee\nhive") && said.contains("Read-only file system"), "{said}");
        self.place.done("users, capabilities, read-only roots");
    }

    fn executes(&self) {
        self.container(&[
            "--detach",
            "--name",
            "one",
            "--health-cmd",
            "true",
            "busybox",
            "sh",
            "-c",
            "echo logged; sleep 1000",
        ])
        .ok();
        assert_eq!(self.ok(&["exec", "one", "echo", "in"]), "in");
        self.run(&["exec", "one", "sh", "-c", "exit 4"]).fails(4);
        self.run(&["exec", "one", "nosuch"]).fails(127);
        assert!(self.ok(&["exec", "--user", "bee", "one", "id"]).starts_with("uid=1000(bee) gid=1000(bee)"));
        assert!(self.in_terminal(&["exec", "-it", "one", "tty"]).ok().contains("/dev/pts/0"));
        self.place.done("exec, as a user, -it");
        assert_eq!(self.ok(&["logs", "one"]), "logged");
        assert!(self.ok(&["top", "one"]).contains("sleep 1000"));
        assert!(self.ok(&["stats", "--no-stream", "one"]).contains("one"));
        self.ok(&["healthcheck", "run", "one"]);
        self.place.done("logs, top, stats, health");
        self.ok(&["pause", "one"]);
        assert_eq!(self.ok(&["inspect", "--format", "{{.State.Status}}", "one"]), "paused");
        self.ok(&["unpause", "one"]);
        self.ok(&["restart", "--time", "0", "one"]);
        assert_eq!(self.ok(&["exec", "one", "echo", "anew"]), "anew");
        self.ok(&["kill", "one"]);
        assert_eq!(self.ok(&["wait", "one"]), "137");
        self.ok(&["rm", "one"]);
        self.place.done("pause, unpause, restart, kill, wait, rm");
    }

    fn limits(&self) {
        self.container(&["--rm", "--memory", "16m", "busybox", "tail", "/dev/zero"]).fails(137);
        self.place.done("memory kill");
        self.container(&["--detach", "--name", "two", "--cpus", "0.5", "--memory", "64m", "busybox", "sleep", "1000"])
            .ok();
        let pid = self.ok(&["inspect", "--format", "{{.State.Pid}}", "two"]);
        assert_eq!(crate::limit(&self.place, &pid, "cpu"), "50000");
        assert_eq!(crate::limit(&self.place, &pid, "memory"), (64 << 20).to_string());
        self.ok(&["rm", "--force", "--time", "0", "two"]);
        self.place.done("cpu and memory limits");
    }

    fn makes_a_pod(&self) {
        let parent = format!("/{}", self.place.name);
        let infra = ["--infra-image", "busybox", "--infra-command", "sleep 1000"];
        let words = ["pod", "create", "--name", "hive", "--network=none", "--cgroup-parent", &parent];
        self.ok(&[&words[..], &infra].concat());
        self.ok(&["run", "--detach", "--pod", "hive", "--name", "bee", "busybox", "sleep", "1000"]);
        assert_eq!(self.ok(&["exec", "bee", "hostname"]), "hive");
        self.ok(&["pod", "rm", "--force", "--time", "0", "hive"]);
        self.place.done("pods");
    }
}
