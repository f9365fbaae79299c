//! A control group for one test, by the engine's rules or the OCI specification's, and the processes in it.
//!
//! However the test ends, the processes are killed, and the group and the one above it are removed.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use runtime::cgroup::{Cgroup, Controller, Driver, Joiners, Path};

const ROOT: &str = "/sys/fs/cgroup";

pub(crate) struct Fixture {
    pub(crate) parent: String,
    pub(crate) path: Path,
    children: Vec<Child>,
}

impl Fixture {
    /// A group of its own below `/skep-test-<pid>-<name>`, by the engine's rules.
    pub(crate) fn of_engine(name: &str) -> Self {
        let parent = format!("/skep-test-{}-{name}", std::process::id());
        let path = Path::new(&format!("{parent}/group")).unwrap();
        Self { parent, path, children: Vec::new() }
    }

    /// The same by the specification's.
    pub(crate) fn specified(name: &str) -> Self {
        let parent = format!("/skep-test-{}-{name}", std::process::id());
        let text = format!("{parent}/group");
        let path = Path::of_specification(Some(std::path::Path::new(&text)), "abc", Driver::Cgroupfs).unwrap();
        Self { parent, path, children: Vec::new() }
    }

    /// A group that the test makes.
    pub(crate) fn of(path: Path) -> Self {
        Self { parent: String::new(), path, children: Vec::new() }
    }

    /// More processes for the group of another one, which removes it.
    pub(crate) fn beside(other: &Self) -> Self {
        let nowhere = Path::new(&format!("{}-none", other.parent)).unwrap();
        Self::of(nowhere)
    }

    pub(crate) fn create(&self, json: &str) -> failure::Result<Cgroup> {
        self.create_with(json, &[Controller::Devices])
    }

    /// With these controllers beside those that every group has.
    pub(crate) fn create_with(&self, json: &str, extra: &[Controller]) -> failure::Result<Cgroup> {
        Cgroup::create(&self.path, &resources(json), extra)
    }

    /// The group's directory in the hierarchy of a controller; on v2 the controller is empty.
    pub(crate) fn directory(&self, controller: &str) -> String {
        let hierarchy = if controller.is_empty() { String::new() } else { format!("/{controller}") };
        format!("{ROOT}{hierarchy}{}", self.path.as_str())
    }

    pub(crate) fn read(&self, controller: &str, file: &str) -> String {
        let path = format!("{}/{file}", self.directory(controller));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
    }

    /// Whether neither the group nor the one above it is anywhere.
    pub(crate) fn nothing_was_made(&self) -> bool {
        let below = |directory: std::path::PathBuf| !directory.join(&self.parent[1..]).exists();
        let entries = fs::read_dir(ROOT).unwrap().map(|entry| entry.unwrap().path());
        below(ROOT.into()) && entries.filter(|path| path.is_dir()).all(below)
    }

    /// A shell in the group: it waits for a line before it starts, so that it has joined when it does.
    pub(crate) fn spawn(&mut self, group: &Cgroup, script: &str) -> i32 {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read line; {script}")]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let pid = child.id().to_string();
        match group.joiners().unwrap() {
            Joiners::Tasks(files) => {
                for file in files {
                    rustix::io::write(&file, pid.as_bytes()).unwrap();
                }
            }
            Joiners::Directory(directory) => {
                use rustix::fs::{Mode, OFlags, openat};
                let file = openat(&directory, "cgroup.procs", OFlags::WRONLY, Mode::empty()).unwrap();
                rustix::io::write(&file, pid.as_bytes()).unwrap();
            }
        }
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        self.children.push(child);
        pid.parse().unwrap()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.children.pop().unwrap().wait().unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Ok(group) = Cgroup::open(&self.path) {
            let _ = group.kill_all();
            self.children.drain(..).for_each(|mut child| drop(child.wait()));
            let _ = group.remove();
        }
        if let Ok(parent) = Path::new(&self.parent).and_then(|path| Cgroup::open(&path)) {
            let _ = parent.remove();
        }
    }
}

pub(crate) fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}
