//! A place with a private skep (or several) and servers in it.
//!
//! `/etc` is an overlay and `/run` a tmpfs of the scene's own: a test may write to /etc/containers, /etc/containerd or
//! /etc/docker as an administrator would. `$HOME` is in the scene's directory. Each store of skep has a name there:
//! `scene.skep("one", …)` and `scene.skep("two", …)` share nothing.

use crate::place::{Place, retry};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What every test here needs.
const NEEDS: &[&str] = &["docker-registry", "skopeo", "umoci", "openssl", "unshare", "nsenter"];

/// A name for the loopback, in the scene's /etc/hosts. What is called 127.0.0.1 may do without TLS; this must be allowed.
pub(crate) const NAME: &str = "registry.test";

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
        // Where skopeo and podman note which blobs a registry has, even as root with storage elsewhere.
        place.run(&["sh", "-c", "mkdir -p \"$0\" && mount -t tmpfs tmpfs \"$0\"", "/var/lib/containers"]).ok();
        let scene = Self { place };
        scene.write("/etc/hosts", &format!("127.0.0.1 localhost {NAME}\n"));
        Some(scene)
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

    /// Writes a file below `$HOME`.
    pub(crate) fn home(&self, name: &str, content: &str) -> PathBuf {
        let path = self.place.directory.join("home").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs a tool that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn tool(&self, words: &[&str]) -> String {
        self.place.run(words).ok()
    }

    /// Lets skopeo and podman forget which registry has which blob, which they would not compress otherwise again.
    pub(crate) fn forget_blobs(&self) {
        self.tool(&["rm", "-rf", "/var/lib/containers/cache"]);
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

    /// A command of skep with a store; standard input is empty unless changed. One that hangs is killed.
    pub(crate) fn command(&self, store: &str, words: &[&str]) -> Command {
        let binary = crate::place::binary().display().to_string();
        fs::create_dir_all(self.place.directory.join(store)).unwrap();
        // The process id, which is that of the scene's namespace, is left in a file: for signals.
        let (script, note) = ("echo $$ >\"$0\"; exec \"$@\"", self.path(&format!("{store}/pid")));
        let first = ["timeout", "--signal=KILL", "120", "sh", "-c", script, &note, &binary];
        let mut command = self.place.command(&[&first[..], words].concat());
        for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.env("PATH", format!("{}:{}", self.path("bin"), crate::place::path()));
        command.env("SKEP_ROOT", self.root(store)).env("SKEP_RUN", self.place.directory.join(store).join("r"));
        command
    }

    /// Sends a signal to the command of skep that was started last with this store.
    pub(crate) fn signal(&self, store: &str, signal: &str) {
        let pid = retry(|| match fs::read_to_string(self.path(&format!("{store}/pid"))) {
            Ok(pid) if pid.ends_with('\n') => Ok(pid.trim().to_owned()),
            other => Err(other),
        });
        self.tool(&["kill", &format!("-{signal}"), &pid]);
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

    /// Runs skep, which must fail with one line that says each of `parts`.
    #[track_caller]
    pub(crate) fn fails(&self, store: &str, words: &[&str], parts: &[&str]) {
        self.skep(store, words).assert_one_line_error(parts);
    }

    /// Runs skep with a text on its standard input.
    pub(crate) fn feed(&self, store: &str, input: &str, words: &[&str]) -> Ended {
        let path = self.path(&format!("{store}-input"));
        fs::write(&path, input).unwrap();
        let mut command = self.command(store, words);
        command.stdin(fs::File::open(&path).unwrap());
        finish(command)
    }

    /// What a store has on disk: each path with its size. Locks that are empty do not count, nor does what can be made
    /// again from the rest.
    pub(crate) fn content(&self, store: &str) -> Vec<String> {
        let root = self.root(store);
        let mut found = Vec::new();
        list(&root, &root, &mut found);
        found.sort();
        found
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

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(&self.place.directory).into_iter().flatten().flatten() {
            let log = entry.path().join("stderr");
            let Ok(text) = fs::read_to_string(&log) else { continue };
            let lines: Vec<&str> = text.lines().filter(|line| !line.contains("level=info")).collect();
            let last = lines[lines.len().saturating_sub(10)..].join("\n");
            crate::place::say(&format!("the end of {}:\n{last}\n", log.display()));
        }
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

/// Runs a command of skep to its end.
pub(crate) fn finish(mut command: Command) -> Ended {
    let shown = format!("{command:?}");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait(child, shown)
}

/// Waits for a spawned command of skep.
pub(crate) fn wait(child: Child, command: String) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code, stdout: text(&output.stdout), stderr: text(&output.stderr), command }
}

fn list(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, status) = (entry.path(), entry.path().symlink_metadata().unwrap());
        if status.is_dir() {
            list(root, &path, found);
        }
        let lock = status.is_file() && status.len() == 0;
        if !lock && !path.ends_with("catalog.json") {
            let size = if status.is_dir() { 0 } else { status.len() };
            found.push(format!("{} {size}", path.strip_prefix(root).unwrap().display()));
        }
    }
}
