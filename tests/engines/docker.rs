//! dockerd, which speaks to its containerd, whose shim calls the runtime.

use crate::place::{Place, retry};

struct Docker {
    place: Place,
}

impl Docker {
    fn start() -> Option<Self> {
        let place = Place::new("docker", &["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "script"])?;
        std::fs::write(place.path("daemon.json"), "{}").unwrap();
        let socket = format!("unix://{}", place.path("docker"));
        let runtime = format!("skep={}", place.runtime());
        let parent = format!("/{}", place.name);
        let (data, exec, pid, configuration) =
            (place.path("data"), place.path("exec"), place.path("pid"), place.path("daemon.json"));
        let directories = ["--data-root", &data, "--exec-root", &exec, "--pidfile", &pid, "-H", &socket];
        let network =
            ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"];
        let runtimes = ["--add-runtime", &runtime, "--default-runtime", "skep", "--cgroup-parent", &parent];
        let rest = ["--config-file", &configuration, "--storage-driver", "overlay2", "--userland-proxy=false"];
        place.start(&[&["dockerd"], &directories[..], &network, &runtimes, &rest].concat());
        let docker = Self { place };
        retry(|| docker.run(&["version"]).result());
        Some(docker)
    }

    fn words<'a>(&'a self, socket: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        [&["docker", "-H", socket], words].concat()
    }

    fn run(&self, words: &[&str]) -> crate::place::Output {
        let socket = format!("unix://{}", self.place.path("docker"));
        self.place.run(&self.words(&socket, words))
    }

    fn in_terminal(&self, words: &[&str]) -> crate::place::Output {
        let socket = format!("unix://{}", self.place.path("docker"));
        self.place.run_in_terminal(&self.words(&socket, words))
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        // The client warns about the machine's network, which containers here do not use.
        let text = self.run(words).ok();
        text.lines().filter(|line| !line.starts_with("WARNING: ")).collect::<Vec<_>>().join("\n")
    }

    fn inspect(&self, container: &str, format: &str) -> String {
        self.ok(&["inspect", "--format", format, container])
    }
}

#[test]
fn dockerd() {
    let Some(docker) = Docker::start() else { return };
    let place = &docker.place;
    docker.ok(&["load", "--input", crate::archive().to_str().unwrap()]);
    assert_eq!(docker.inspect_runtime(), "skep");
    docker.runs();
    docker.executes();
    docker.limits();
    docker.pauses_and_restarts();
    docker.loses_its_shim();
    assert_eq!(docker.ok(&["ps", "--all", "--quiet"]), "");
    retry(|| match place.processes("containerd-shim") {
        left if left.is_empty() => Ok(()),
        left => Err(format!("shims are left: {left:?}")),
    });
    let states = std::fs::read_dir(place.path("exec/runtime-runc/moby")).into_iter().flatten().flatten();
    let states = states.map(|entry| entry.file_name().into_string().unwrap());
    // What begins so is a cache of the runtime, no container.
    assert_eq!(states.filter(|name| !name.starts_with('@')).collect::<Vec<_>>(), Vec::<String>::new());
    place.done("nothing left");
    let version = docker.ok(&["version", "--format", "{{.Server.Version}}"]);
    let containerd = place.run(&["containerd", "--version"]).ok();
    let containerd = containerd.split_whitespace().nth(2).unwrap_or_default();
    place.finish(&format!("dockerd {version} (containerd {containerd})"));
}

impl Docker {
    fn inspect_runtime(&self) -> String {
        self.ok(&["info", "--format", "{{.DefaultRuntime}}"])
    }

    fn runs(&self) {
        assert_eq!(self.ok(&["run", "--rm", "busybox", "echo", "hello"]), "hello");
        self.run(&["run", "--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
        let missing = self.run(&["run", "--rm", "busybox", "nosuch"]).fails(127);
        assert!(missing.contains("executable file not found in $PATH"), "{missing}");
        for not_executable in ["/etc/passwd", "/etc"] {
            let denied = self.run(&["run", "--rm", "busybox", not_executable]).fails(126);
            assert!(denied.contains("permission denied"), "{denied}");
        }
        self.place.done("run, exit codes 7, 126, 127");
        std::fs::write(self.place.path("no-format"), "no format").unwrap();
        std::process::Command::new("chmod").args(["+x", &self.place.path("no-format")]).status().unwrap();
        let bind = format!("{}:/no-format", self.place.path("no-format"));
        assert_ne!(self.run(&["run", "--rm", "-v", &bind, "busybox", "/no-format"]).code, 0);
        self.place.done("a start that fails");
        let options =
            ["--read-only", "--tmpfs", "/scratch", "--user", "bee", "--hostname", "hive", "--cap-drop", "ALL"];
        let more = [
            "--ulimit",
            "nofile=100",
            "--security-opt",
            "no-new-privileges",
            "-v",
            "kept:/kept",
            "busybox",
            "sh",
            "-c",
        ];
        let script =
            "id -un; hostname; ulimit -n; touch /no 2>&1 || touch /scratch/yes; grep NoNewPrivs /proc/self/status";
        let said = self.ok(&[&["run", "--rm"], &options[..], &more, &[script]].concat());
        for part in ["bee", "hive", "100", "Read-only file system", "NoNewPrivs:\t1"] {
            assert!(said.contains(part), "`{part}` is not in {said}");
        }
        self.place.done("users, capabilities, read-only roots, tmpfs, volumes, ulimits");
        let said = self.in_terminal(&["run", "--rm", "-it", "busybox", "sh", "-c", "tty; exit 4"]).fails(4);
        assert!(said.contains("/dev/pts/0"), "{said}");
        self.place.done("run -it");
    }

    fn executes(&self) {
        self.ok(&[
            "run",
            "--detach",
            "--name",
            "one",
            "--health-cmd",
            "true",
            "--health-interval",
            "1s",
            "busybox",
            "sh",
            "-c",
            "echo logged; sleep 1000",
        ]);
        assert_eq!(self.ok(&["exec", "one", "echo", "in"]), "in");
        self.run(&["exec", "one", "sh", "-c", "exit 5"]).fails(5);
        self.run(&["exec", "one", "nosuch"]).fails(126);
        assert!(
            self.ok(&["exec", "-u", "bee", "one", "id"])
                .starts_with("uid=1000(bee) gid=1000(bee) groups=1000(bee),2000(honey)")
        );
        assert_eq!(
            self.ok(&["exec", "-e", "FLOWER=rose", "-w", "/tmp", "one", "sh", "-c", "echo $FLOWER $PWD"]),
            "rose /tmp"
        );
        let said = self.in_terminal(&["exec", "-it", "one", "sh", "-c", "tty; exit 3"]).fails(3);
        assert!(said.contains("/dev/pts/0"), "{said}");
        self.ok(&["exec", "--detach", "one", "touch", "/tmp/detached"]);
        retry(|| self.run(&["exec", "one", "test", "-e", "/tmp/detached"]).result());
        self.place.done("exec -e -w -u -it -d");
        assert_eq!(self.ok(&["logs", "one"]), "logged");
        assert!(self.ok(&["top", "one"]).contains("sleep 1000"));
        assert!(self.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "one"]).contains("iB /"));
        self.place.done("logs, top, stats");
        retry(|| match self.inspect("one", "{{.State.Health.Status}}").as_str() {
            "healthy" => Ok(()),
            other => Err(other.to_owned()),
        });
        self.place.done("health");
        self.ok(&["rm", "--force", "one"]);
    }

    fn limits(&self) {
        let hog = ["run", "--memory", "16m", "--name", "hog", "busybox", "tail", "/dev/zero"];
        self.run(&hog).fails(137);
        assert_eq!(self.inspect("hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
        self.ok(&["rm", "hog"]);
        self.place.done("memory kill");
        self.ok(&[
            "run",
            "--detach",
            "--name",
            "two",
            "--cpus",
            "0.5",
            "--pids-limit",
            "40",
            "busybox",
            "sleep",
            "1000",
        ]);
        let pid = self.inspect("two", "{{.State.Pid}}");
        assert_eq!(crate::limit(&self.place, &pid, "cpu"), "50000");
        assert_eq!(crate::limit(&self.place, &pid, "pids"), "40");
        self.ok(&["update", "--memory", "64m", "--memory-swap", "-1", "--cpus", "0.25", "--pids-limit", "33", "two"]);
        assert_eq!(crate::limit(&self.place, &pid, "cpu"), "25000");
        assert_eq!(crate::limit(&self.place, &pid, "pids"), "33");
        assert_eq!(crate::limit(&self.place, &pid, "memory"), (64 << 20).to_string());
        self.ok(&["rm", "--force", "two"]);
        self.place.done("cpu and pids limits, update");
    }

    fn pauses_and_restarts(&self) {
        self.ok(&["run", "--detach", "--name", "three", "busybox", "sleep", "1000"]);
        self.ok(&["pause", "three"]);
        assert_eq!(self.inspect("three", "{{.State.Status}}"), "paused");
        self.ok(&["unpause", "three"]);
        assert_eq!(self.ok(&["exec", "three", "echo", "on"]), "on");
        self.place.done("pause, unpause");
        self.ok(&["restart", "--time", "0", "three"]);
        assert_eq!(self.ok(&["exec", "three", "echo", "anew"]), "anew");
        self.ok(&["kill", "three"]);
        assert_eq!(self.ok(&["wait", "three"]), "137");
        self.ok(&["start", "three"]);
        self.ok(&["stop", "--time", "0", "three"]);
        self.ok(&["rm", "three"]);
        self.place.done("restart, kill, wait, start, stop, rm");
        self.ok(&["run", "--detach", "--name", "four", "--restart", "on-failure:2", "busybox", "false"]);
        retry(|| match self.inspect("four", "{{.RestartCount}} {{.State.Status}}").as_str() {
            "2 exited" => Ok(()),
            other => Err(other.to_owned()),
        });
        self.ok(&["rm", "four"]);
        self.place.done("restart policy");
    }

    fn loses_its_shim(&self) {
        self.ok(&["run", "--detach", "--name", "five", "busybox", "sleep", "1000"]);
        let id = self.inspect("five", "{{.Id}}");
        let pid = self.inspect("five", "{{.State.Pid}}");
        let shims = self.place.processes(&format!("shim-runc-v2 -namespace moby -id {id}"));
        assert_eq!(shims.len(), 1, "{shims:?}");
        self.place.run(&["kill", "-9", &shims[0].to_string()]).ok();
        retry(|| match self.inspect("five", "{{.State.Status}}").as_str() {
            "exited" => Ok(()),
            other => Err(other.to_owned()),
        });
        retry(|| match self.place.run(&["kill", "-0", &pid]).code {
            0 => Err("the container outlives its shim's clean-up"),
            _ => Ok(()),
        });
        self.ok(&["rm", "five"]);
        self.place.done("kill -9 of the shim");
    }
}
