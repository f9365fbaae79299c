//! containerd by its own client: `ctr run --runc-binary`.

use crate::place::{Output, Place, retry};

const IMAGE: &str = "docker.io/library/busybox:latest";

struct Containerd {
    place: Place,
}

impl Containerd {
    fn start() -> Option<Self> {
        let place = Place::new("containerd", &["containerd", "ctr", "containerd-shim-runc-v2", "script"])?;
        let configuration = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(place.path("config.toml"), configuration).unwrap();
        let (configuration, root, state, address) =
            (place.path("config.toml"), place.path("root"), place.path("state"), place.path("socket"));
        place.start(&["containerd", "-c", &configuration, "--root", &root, "--state", &state, "--address", &address]);
        let containerd = Self { place };
        retry(|| containerd.ctr(&["version"]).result());
        Some(containerd)
    }

    fn ctr(&self, words: &[&str]) -> Output {
        self.place.run(&[&["ctr", "--address", &self.place.path("socket")], words].concat())
    }

    /// `ctr run` with the options, a name and a program.
    fn run(&self, options: &[&str], name: &str, program: &[&str]) -> Output {
        let (runtime, group) = (self.place.runtime(), format!("/{}/{name}", self.place.name));
        let terminal = options.contains(&"--tty");
        let given = ["run", "--runc-binary", &runtime, "--cgroup", &group];
        let words = [&given[..], options, &[IMAGE, name], program].concat();
        if terminal {
            let address = self.place.path("socket");
            return self.place.run_in_terminal(&[&["ctr", "--address", &address], &words[..]].concat());
        }
        self.ctr(&words)
    }
}

#[test]
fn containerd() {
    let Some(containerd) = Containerd::start() else { return };
    let place = &containerd.place;
    containerd.ctr(&["image", "import", crate::archive().to_str().unwrap()]).ok();
    assert_eq!(containerd.run(&["--rm"], "hello", &["echo", "hello"]).ok(), "hello");
    containerd.run(&["--rm"], "seven", &["sh", "-c", "exit 7"]).fails(7);
    let missing = containerd.run(&["--rm"], "missing", &["nosuch"]).fails(1);
    assert!(missing.contains("executable file not found in $PATH"), "{missing}");
    assert!(containerd.run(&["--rm", "--tty"], "terminal", &["tty"]).ok().contains("/dev/pts/0"));
    place.done("run, exit codes, a missing program, a terminal");
    containerd.run(&["--detach", "--memory-limit", "33554432"], "one", &["sleep", "1000"]).ok();
    let executed =
        containerd.ctr(&["task", "exec", "--exec-id", "first", "one", "sh", "-c", "echo in; exit 4"]).fails(4);
    assert_eq!(executed, "in");
    place.done("exec");
    let metrics = containerd.ctr(&["task", "metrics", "one"]).ok();
    assert!(metrics.contains("33554432") && metrics.contains("pids"), "{metrics}");
    place.done("limits, metrics");
    containerd.ctr(&["task", "pause", "one"]).ok();
    assert!(containerd.ctr(&["task", "ls"]).ok().contains("PAUSED"));
    containerd.ctr(&["task", "resume", "one"]).ok();
    assert!(containerd.ctr(&["task", "ls"]).ok().contains("RUNNING"));
    place.done("pause, resume");
    assert!(containerd.ctr(&["task", "ps", "one"]).ok().lines().count() == 2);
    containerd.ctr(&["task", "kill", "--signal", "KILL", "one"]).ok();
    retry(|| match containerd.ctr(&["task", "ls"]).ok() {
        listed if listed.contains("STOPPED") => Ok(()),
        listed => Err(listed),
    });
    containerd.ctr(&["task", "delete", "one"]);
    containerd.ctr(&["container", "delete", "one"]).ok();
    place.done("ps, kill, delete");
    retry(|| match place.processes("containerd-shim") {
        left if left.is_empty() => Ok(()),
        left => Err(format!("shims are left: {left:?}")),
    });
    assert_eq!(place.run(&["find", "/run/containerd/runc", "-mindepth", "2"]).ok(), "");
    place.done("nothing left");
    let version = place.run(&["containerd", "--version"]).ok();
    place.finish(&format!("containerd {}", version.split_whitespace().nth(2).unwrap_or_default()));
}
