//! Bundles to change and run, and the record of which field a test covers.
//!
//! ```text
//!   let _field = field(&["hostname"]);          says at its end, to $SKEP_CONFORMANCE: field, test, outcome
//!   let mut bundle = Bundle::new("hostname");   the script that the container runs
//!   bundle.spec["hostname"] = json!("cell");    a plain configuration to change
//!   assert_eq!(bundle.run().stdout, "cell\n");
//! ```
//! A bundle removes its container and itself when it is dropped. The binary is `$SKEP_BIN`, else the one Cargo built.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// No command of a test takes this long, even in an emulated machine.
const PATIENCE: &str = "120";

/// A bundle, and the container that is made from it.
pub(crate) struct Bundle {
    pub(crate) directory: PathBuf,
    pub(crate) id: String,
    /// What `config.json` will hold.
    pub(crate) spec: Value,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Says at its end how the test of some fields went.
pub(crate) struct Field {
    names: Vec<String>,
    skipped: Option<String>,
}

/// The test at hand is about these fields.
pub(crate) fn field(names: &[&str]) -> Field {
    let list = include_str!("fields.txt");
    for name in names {
        assert!(list.lines().any(|line| line == *name), "no field `{name}` in fields.txt");
    }
    Field { names: names.iter().map(|&name| name.to_owned()).collect(), skipped: None }
}

impl Field {
    /// What this machine lacks for the field to have its effect; that the request is refused in words was tested
    /// instead.
    pub(crate) fn lacks(&mut self, reason: &str) {
        self.skipped = Some(reason.to_owned());
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let outcome = match &self.skipped {
            _ if std::thread::panicking() => "failed".to_owned(),
            Some(reason) => format!("refused: {reason}"),
            None => "works".to_owned(),
        };
        let Some(path) = std::env::var_os("SKEP_CONFORMANCE") else { return };
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("?");
        for name in &self.names {
            // One write a line: tests run at the same time.
            file.write_all(format!("{name}\t{test}\t{outcome}\n").as_bytes()).unwrap();
        }
    }
}

/// Whether the machine has nothing but cgroup v2.
pub(crate) fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

impl Bundle {
    /// A bundle whose container runs a script of `sh`, as root, with namespaces of its own and the usual mounts.
    pub(crate) fn new(script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "these tests start containers: run them as root");
        let id = format!("skt-oci-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new("/tmp").join(&id);
        for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
            fs::create_dir_all(directory.join("rootfs").join(name)).unwrap();
        }
        // By another process: a file that is open for writing in a child of a concurrent test cannot be executed.
        let busybox = directory.join("rootfs/bin/busybox");
        assert!(Command::new("cp").arg("/bin/busybox").arg(busybox).status().unwrap().success());
        let applets = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
            std::os::unix::fs::symlink("busybox", directory.join("rootfs/bin").join(applet)).unwrap();
        }
        let spec = plain(&id, script);
        Self { directory, id, spec }
    }

    /// The root file system on the host.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// A place for what the test makes, beside the root; removed with the bundle.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, mount: Value) -> &mut Self {
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    /// Adds a namespace: `{"type": "user"}`, say; or replaces the one of its type.
    pub(crate) fn namespace(&mut self, namespace: Value) -> &mut Self {
        self.without_namespace(namespace["type"].as_str().unwrap());
        self.spec["linux"]["namespaces"].as_array_mut().unwrap().push(namespace);
        self
    }

    /// Takes a namespace out, so that the host's is used.
    pub(crate) fn without_namespace(&mut self, kind: &str) -> &mut Self {
        self.spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != kind);
        self
    }

    /// A user namespace of 65,536 ids; the root belongs to them.
    pub(crate) fn with_user_namespace(&mut self) -> &mut Self {
        const BASE: u32 = 0x1000_0000 + 20_001 * 65_536;
        let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
        self.spec["linux"]["uidMappings"] = map.clone();
        self.spec["linux"]["gidMappings"] = map;
        let owner = format!("{BASE}:{BASE}");
        assert!(Command::new("chown").args(["-hR", &owner]).arg(self.root()).status().unwrap().success());
        self.namespace(json!({"type": "user"}))
    }

    /// Writes `config.json`.
    pub(crate) fn write(&self) {
        fs::write(self.directory.join("config.json"), serde_json::to_vec_pretty(&self.spec).unwrap()).unwrap();
    }

    /// `skep runtime` with some words, at most for two minutes.
    pub(crate) fn runtime(&self, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--foreground", PATIENCE]).arg(binary()).arg("runtime");
        command.arg("--root").arg(self.directory.join("state")).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// Runs such a command to its end.
    pub(crate) fn call(&self, words: &[&str]) -> Outcome {
        self.runtime(words).output().unwrap().into()
    }

    /// As [`Bundle::call`], and it must succeed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let outcome = self.call(words);
        assert_eq!(outcome.code, 0, "{words:?}: {}", outcome.stderr);
        outcome.stdout
    }

    /// Runs the container to its end. What it logs, warnings among it, is with its errors.
    pub(crate) fn run(&self) -> Outcome {
        self.write();
        let log = self.file("log.txt");
        let _ = fs::remove_file(&log);
        let words = ["--log", log.to_str().unwrap(), "run", "--bundle", self.directory.to_str().unwrap(), &self.id];
        let mut outcome = self.call(&words);
        outcome.stderr.push_str(&fs::read_to_string(&log).unwrap_or_default());
        outcome
    }

    /// Runs it; what it writes, if all went well.
    pub(crate) fn output(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
        outcome.stdout
    }

    /// The line with which it is refused; nothing of it may be left.
    pub(crate) fn refusal(&self) -> String {
        let outcome = self.run();
        assert_ne!(outcome.code, 0, "it ran: {}", outcome.stdout);
        assert_eq!(outcome.stdout, "", "the program ran");
        let left: Vec<_> =
            fs::read_dir(self.directory.join("state")).map(|entries| entries.flatten().collect()).unwrap_or_default();
        assert!(left.is_empty(), "{left:?} is left");
        outcome.stderr
    }

    /// Creates and starts it; its first process.
    pub(crate) fn start(&self) -> i32 {
        self.create();
        self.ok(&["start", &self.id]);
        self.pid()
    }

    /// Creates it. Its output goes nowhere: a pipe would stay open as long as it lives.
    pub(crate) fn create(&self) {
        self.write();
        let errors = self.file("create.err");
        let status = self
            .runtime(&["create", "--bundle", self.directory.to_str().unwrap(), &self.id])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "{}", fs::read_to_string(errors).unwrap());
    }

    /// `state`, as it is printed.
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    /// Its first process.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }

    /// Executes a script in the container.
    pub(crate) fn exec(&self, script: &str) -> Outcome {
        self.call(&["exec", &self.id, "sh", "-c", script])
    }

    /// Where its group is: below the hierarchy of a v1 controller, or the one hierarchy of v2.
    pub(crate) fn group(&self, controller: &str) -> PathBuf {
        let hierarchy = if is_v2() { "/sys/fs/cgroup".to_owned() } else { format!("/sys/fs/cgroup/{controller}") };
        Path::new(&hierarchy).join(self.spec["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/'))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let state = self.directory.join("state").join(&self.id);
        if state.exists() {
            drop(self.call(&["delete", "--force", &self.id]));
        }
        // Mounts that a failed test left in the root would be emptied with it.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if !mounts.contains(self.directory.to_str().unwrap()) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: code.unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("SKEP_BIN").map_or_else(|| env!("CARGO_BIN_EXE_skep").into(), PathBuf::from)
}

fn plain(id: &str, script: &str) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": format!("/skep/{id}"),
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"},
            ],
        },
    })
}
