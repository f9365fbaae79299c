//! A root file system of busybox, a specification to change, and a container to look into. Needs root.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs, reason = "each test file uses its part")]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use failure::{Context as _, Result};
use oci_spec::runtime::Spec;
use runtime::cgroup::{self, Cgroup};
use runtime::{ContainerId, Exec, Mapping, Plan, Request, RootFilesystem, Running, Stdio, exec, launch};
use rustix::mount::OpenTreeFlags;
use rustix::process::{WaitId, WaitIdOptions};
use serde_json::{Value, json};

/// What the container's root is on the host.
pub const BASE: u32 = 0x1000_0000 + 20_000 * 65_536;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A directory with busybox, removed at the end.
pub struct Root {
    pub path: PathBuf,
}

impl Root {
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skep-runtime-test-{}-{number}", std::process::id()));
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "data"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        // By another process: a file that is open for writing in a child of a concurrent test cannot be executed.
        let copied = Command::new("cp").arg("/bin/busybox").arg(path.join("bin/busybox")).status().unwrap();
        assert!(copied.success(), "busybox-static is not installed");
        for name in ["sh", "true", "cat", "id", "ls", "stat", "hostname", "mount", "echo", "sleep", "tty", "readlink"] {
            symlink("busybox", path.join("bin").join(name)).unwrap();
        }
        Self { path }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl RootFilesystem for Root {
    fn mount(&self, mapping: Option<&Mapping<'_>>) -> Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = rustix::mount::open_tree(rustix::fs::CWD, &self.path, flags).context("copy the mount")?;
        if let Some(mapping) = mapping {
            sys::idmap::set_idmap(mount.as_fd(), mapping.user_namespace, 0).context("map the ids")?;
        }
        Ok(mount)
    }
}

/// A container in the making: its specification, as JSON that tests change.
pub struct Container {
    pub root: Root,
    pub id: ContainerId,
    pub cgroup: cgroup::Path,
    pub spec: Value,
    pub init: bool,
}

/// How a program ended, and what it wrote.
pub struct Ended {
    pub code: i32,
    pub output: String,
}

impl Container {
    /// With all namespaces, mapped ids, Docker's mounts, masks and capabilities; it runs the shell script.
    pub fn new(script: &str) -> Self {
        let id = ContainerId::random();
        let cgroup = cgroup::Path::of_container(id.as_ref()).unwrap();
        Self { root: Root::new(), id, cgroup, spec: specification(script), init: false }
    }

    /// As [`Container::new`], with the ids of the host.
    pub fn with_host_ids(script: &str) -> Self {
        let mut container = Self::new(script);
        let linux = &mut container.spec["linux"];
        linux["uidMappings"] = json!([]);
        linux["gidMappings"] = json!([]);
        linux["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "user");
        container
    }

    pub fn spec(&self) -> Spec {
        serde_json::from_value(self.spec.clone()).unwrap()
    }

    pub fn plan(&self) -> Result<Plan> {
        let spec = self.spec();
        Plan::new(&Request { init: self.init, ..Request::new(&self.id, &spec, &self.cgroup) })
    }

    /// Starts it with its output in a pipe.
    pub fn start(&self) -> Result<(Running, File)> {
        let (stdio, output) = piped();
        let running = launch(self.plan()?, &self.root, stdio)?.start()?;
        Ok((running, output))
    }

    /// Runs it to its end.
    pub fn run(&self) -> Result<Ended> {
        let (running, output) = self.start()?;
        let ended = finish(&running, output);
        Cgroup::open(&self.cgroup)?.remove()?;
        Ok(ended)
    }

    /// Executes a script in it, to its end, with a process like its own that is changed first.
    pub fn execute(&self, running: &Running, script: &str, change: impl FnOnce(&mut Value)) -> Result<Ended> {
        let mut process = self.spec["process"].clone();
        process["args"] = json!(["sh", "-c", script]);
        change(&mut process);
        let (process, spec) = (serde_json::from_value(process).unwrap(), self.spec());
        let (stdio, output) = piped();
        let request = Exec {
            target: &running.identity,
            cgroup: &self.cgroup,
            process: &process,
            linux: spec.linux().as_ref().unwrap(),
            filter: None,
            seccomp_cache: None,
            preserved: 0,
            container: None,
        };
        Ok(finish(&exec(&request, stdio)?, output))
    }

    /// Ends it, whatever it does.
    pub fn kill(&self, running: &Running) {
        rustix::process::pidfd_send_signal(&running.pidfd, rustix::process::Signal::KILL).unwrap();
        wait(running);
        Cgroup::open(&self.cgroup).unwrap().remove().unwrap();
    }
}

/// Standard streams: nothing to read, and one pipe for both outputs.
pub fn piped() -> (Stdio, File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdin = OwnedFd::from(File::open("/dev/null").unwrap());
    let stderr = writer.try_clone().unwrap();
    (Stdio::Files { stdin, stdout: writer, stderr }, File::from(reader))
}

/// Reads all output, then waits.
pub fn finish(running: &Running, mut output: File) -> Ended {
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).unwrap();
    Ended { code: wait(running), output: String::from_utf8_lossy(&bytes).into_owned() }
}

pub fn wait(running: &Running) -> i32 {
    let status = rustix::process::waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap()
}

/// Whether the host has no group of this path any more.
pub fn is_gone(path: &cgroup::Path) -> bool {
    let top = if unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
    !Path::new(top).join(&path.as_str()[1..]).exists()
}

/// The kernel's version.
pub fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.trim().parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether cgroup v2 is all that there is.
pub fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn specification(script: &str) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ];
    let closed = ["nosuid", "noexec", "nodev"];
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "unused", "readonly": false},
        "hostname": "cell",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0, "additionalGids": [10, 11]},
            "args": ["sh", "-c", script],
            "env": ["PATH=/usr/bin:/bin", "HOME=/"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": closed},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": closed},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        ],
        "linux": {
            "uidMappings": [{"containerID": 0, "hostID": BASE, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": BASE, "size": 65536}],
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "user"}, {"type": "cgroup"},
            ],
            "resources": {},
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Does something in a mount namespace of its own, with nothing shared, in a thread that then ends.
pub fn in_mount_namespace<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    let inside = move || {
        sys::namespace::unshare_mounts().unwrap();
        let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        action()
    };
    std::thread::spawn(inside).join().unwrap()
}
