//! A place with a private skep (or several) and servers in it.
//!
//! `/etc` is an overlay and `/run` a tmpfs of the scene's own: a test may write to /etc/containers, /etc/containerd or
//! /etc/docker as an administrator would. `$HOME` is in the scene's directory. Each store of skep has a name there:
//! `scene.skep("one", …)` and `scene.skep("two", …)` share nothing.

use crate::place::Place;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What every test here needs.
const NEEDS: &[&str] = &["docker-registry", "skopeo", "umoci", "openssl", "unshare", "nsenter"];

/// A test's own world.
pub(crate) struct Scene {
    pub(crate) place: Place,
}

/// What a command of skep printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    #[allow(dead_code, reason = "shown when an assertion prints the whole")]
    command: String,
}

impl Scene {
    /// A scene for one test, whose name it bears. None: a program is missing, which is said.
    pub(crate) fn new(test: &str, more: &[&str]) -> Option<Self> {
        let place = Place::new(test, &[NEEDS, more].concat())?;
        Some(Self { place })
    }

    /// A path below the scene's directory, which is the same inside and outside.
    pub(crate) fn path(&self, name: &str) -> String {
        self.place.path(name)
    }

    /// Writes a file where only the scene sees it: below /etc or /run.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let outside = self.place.outside(path);
        fs::create_dir_all(outside.parent().unwrap()).unwrap();
        fs::write(outside, content).unwrap();
    }

    /// Runs a tool that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn tool(&self, words: &[&str]) -> String {
        self.place.run(words).ok()
    }

    /// A server that ends with the scene; its output goes to `stdout` and `stderr` in the directory.
    #[expect(clippy::zombie_processes, reason = "killed with its pid namespace, when the test ends")]
    pub(crate) fn start(&self, words: &[&str], directory: &str) {
        fs::create_dir_all(directory).unwrap();
        let file = |name: &str| fs::File::create(format!("{directory}/{name}")).unwrap();
        self.place.command(words).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
    }

    /// The data directory of a store.
    pub(crate) fn root(&self, store: &str) -> PathBuf {
        self.place.directory.join(store).join("data")
    }

    /// A command of skep with a store; standard input is empty unless changed. Not in the scene's pid namespace: its
    /// process is the child itself, to be signalled.
    pub(crate) fn command(&self, store: &str, words: &[&str]) -> Command {
        let binary = crate::place::binary().display().to_string();
        let mut command = self.place.command_of_this_namespace(&[&[binary.as_str()], words].concat());
        for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.env("SKEP_ROOT", self.root(store)).env("SKEP_RUN", self.place.directory.join(store).join("r"));
        command
    }

    /// Runs skep to its end.
    pub(crate) fn skep(&self, store: &str, words: &[&str]) -> Ended {
        finish(self.command(store, words))
    }

    /// Runs skep, which must succeed; its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, store: &str, words: &[&str]) -> String {
        let ended = self.skep(store, words);
        assert_eq!(ended.code, 0, "{ended:#?}");
        ended.stdout.trim_end().to_owned()
    }

    /// Starts skep with pipes for its output.
    pub(crate) fn spawn(&self, store: &str, words: &[&str]) -> Child {
        self.command(store, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Lets skep, skopeo and podman use these hosts without TLS.
    pub(crate) fn allow_plain(&self, hosts: &[&str]) {
        let tables = hosts.iter().map(|host| format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"));
        self.write("/etc/containers/registries.conf", &tables.collect::<String>());
    }
}

impl Ended {
    /// A failure as users should see it: one line, which says each of `parts`.
    #[track_caller]
    pub(crate) fn assert_one_line_error(&self, parts: &[&str]) {
        assert!(self.code > 0, "{self:#?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "more or less than one line: {self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in the message: {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// Runs a command of skep to its end; one that hangs is killed.
pub(crate) fn finish(mut command: Command) -> Ended {
    let shown = format!("{command:?}");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(child, shown)
}

/// Waits for a spawned command of skep; one that hangs is killed.
pub(crate) fn wait(child: Child, command: String) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    use std::sync::mpsc::RecvTimeoutError::Timeout;
    let pid = rustix::process::Pid::from_child(&child);
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(std::time::Duration::from_secs(120)) == Err(Timeout) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code, stdout: text(&output.stdout), stderr: text(&output.stderr), command }
}
