//! A place for one case: data and run directories and a root filesystem of busybox, and a witness for leaks.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use engine::client::Outcome;
use engine::stdio::Local;
use engine::{Attach, ContainerId, Home, RemoveOptions, Request, Started};

pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) home: Home,
}

/// What a foreground run said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
    pub(crate) message: String,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let directory = PathBuf::from(format!("/tmp/skep-engine-{}-{name}", std::process::id()));
        let rootfs = directory.join("rootfs");
        for part in ["bin", "etc", "data", "tmp"] {
            fs::create_dir_all(rootfs.join(part)).unwrap();
        }
        fs::copy("/usr/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for tool in
            ["sh", "echo", "cat", "sleep", "true", "id", "ps", "ls", "touch", "dd", "tail", "hostname", "env", "grep"]
        {
            symlink("busybox", rootfs.join("bin").join(tool)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nbee:x:1000:1000::/hive:/bin/sh\n")
            .unwrap();
        fs::write(rootfs.join("etc/group"), "root:x:0:\nbee:x:1000:\nswarm:x:2000:bee\n").unwrap();
        fs::write(rootfs.join("data/given"), "by the image\n").unwrap();
        Self::at(directory)
    }

    /// A place that is there.
    pub(crate) fn at(directory: PathBuf) -> Self {
        let home = Home::open(&directory.join("root"), &directory.join("run")).unwrap();
        Self { directory, home }
    }

    /// A request for a shell command in the place's root filesystem.
    pub(crate) fn shell(&self, script: &str) -> Request {
        self.command(&["/bin/sh", "-c", script])
    }

    pub(crate) fn command(&self, words: &[&str]) -> Request {
        Request {
            image: format!("rootfs:{}", self.directory.join("rootfs").display()),
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Request::default()
        }
    }

    /// Runs in the foreground.
    pub(crate) fn run(&self, request: Request) -> Said {
        let attach = Attach { stdout: true, stderr: true, ..Attach::default() };
        let started = engine::run(&self.home, request, attach, &mut |_, _| Ok(())).unwrap();
        self.relay(started)
    }

    pub(crate) fn relay(&self, started: Started) -> Said {
        let (mut out, mut err) = (self.file("out"), self.file("err"));
        let local = Local {
            stdin: None,
            stdout: Some(out.as_fd()),
            stderr: Some(err.as_fd()),
            terminal: None,
            detach_keys: None,
            signals: None,
        };
        let outcome = started.attachment.unwrap().relay(local).unwrap();
        let Outcome::Exited(exited) = outcome else { panic!("{outcome:?}") };
        let text = |file: &mut File| {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        Said { out: text(&mut out), err: text(&mut err), code: exited.exit.code, message: exited.message }
    }

    /// Runs in the background.
    pub(crate) fn detached(&self, request: Request) -> ContainerId {
        engine::run(&self.home, request, Attach::detached(), &mut |_, _| Ok(())).unwrap().id
    }

    pub(crate) fn remove(&self, id: &ContainerId) {
        engine::remove(&self.home, id, RemoveOptions { force: true, volumes: true }).unwrap();
        engine::tidy_up(&self.home);
    }

    pub(crate) fn entries(&self, directory: &str) -> Vec<String> {
        names(&self.directory.join(directory))
    }

    /// Everything that one container leaves behind must be gone now, however it went.
    pub(crate) fn assert_empty(&self) {
        // The monitor empties the trash after it told everybody.
        for _ in 0..200 {
            if self.leftovers().is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("left: {:?}", self.leftovers());
    }

    fn leftovers(&self) -> Vec<String> {
        let places = ["root/containers", "root/names", "root/ids", "root/trash", "root/volumes", "run"];
        places
            .iter()
            .flat_map(|place| self.entries(place).into_iter().map(move |name| format!("{place}/{name}")))
            .collect()
    }

    fn file(&self, name: &str) -> File {
        let options = File::options().read(true).write(true).create(true).truncate(true).clone();
        options.open(self.directory.join(name)).unwrap()
    }

    /// Removes all containers and the place; returns what they left that should not be there.
    pub(crate) fn clear(self) -> Vec<String> {
        for id in names(&self.directory.join("root/containers")) {
            if let Ok(id) = id.parse() {
                let _ = engine::remove(&self.home, &id, RemoveOptions { force: true, volumes: true });
            }
        }
        let mut left: Vec<String> = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.contains(self.directory.to_str().unwrap()))
            .map(str::to_owned)
            .collect();
        left.extend(names(&self.directory.join("run")));
        let _ = fs::remove_dir_all(&self.directory);
        left
    }
}

/// Whether a cgroup of this container exists in any hierarchy.
pub(crate) fn has_cgroup(id: &ContainerId) -> bool {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    hierarchies
        .map(|entry| entry.path())
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .any(|path| path.join("skep").join(id.as_ref()).exists())
}

fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
