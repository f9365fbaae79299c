//! What every end-to-end test stands on: a private skep, a small image, and a witness that nothing is left.
//!
//! [`Skep::new`] gives a test its own data and run directories; two tests never share a container, a name or an image.
//! The binary under test is `$SKEP_BIN` (the release build under `make test`), else the one Cargo built. [`Skep`]'s
//! drop removes the containers and then looks at the kernel: no mount below the test's directory, no cgroup of one of
//! its containers, no process with its environment. The image is Debian's static busybox, built once per test process.

mod archive;
mod image;
mod registry;
mod witness;

pub(crate) use archive::{Archive, Layer, sha256};
pub(crate) use image::{busybox_archive, busybox_layer};
pub(crate) use registry::Registry;
pub(crate) use witness::{machine_processes, process_status, retry};

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The name under which [`Skep::with_image`] loads the busybox image.
pub(crate) const IMAGE: &str = "busybox";

/// No command of a test takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// One private skep.
pub(crate) struct Skep {
    directory: PathBuf,
    /// Ids of containers that the test made; their cgroups must be gone at the end.
    seen: Mutex<Vec<String>>,
}

/// What one command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) raw: Vec<u8>,
    #[expect(dead_code, reason = "shown when an assertion prints the whole")]
    command: String,
}

impl Skep {
    /// Empty directories and no image.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "the end-to-end tests start containers: run them as root");
        // Short, because the run directory holds sockets whose paths may have 108 bytes.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new("/tmp").join(format!("skt-{}-{number}", std::process::id()));
        std::fs::create_dir_all(directory.join("files")).unwrap();
        Self { directory, seen: Mutex::default() }
    }

    /// The busybox image is loaded as [`IMAGE`].
    pub(crate) fn with_image() -> Self {
        let skep = Self::new();
        skep.ok(["load", "-q", "-i", busybox_archive().to_str().unwrap()]);
        skep
    }

    /// The data directory, as the environment variable names it.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The run directory.
    pub(crate) fn run_root(&self) -> PathBuf {
        self.directory.join("r")
    }

    /// A path for a file of the test itself, removed with everything else.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join("files").join(name)
    }

    /// The binary with this skep's directories and a clean environment; stdin is empty unless changed.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).stdin(Stdio::null());
        self.environment(&mut command);
        command
    }

    /// Points a command (a shell, `script`, python) at this skep.
    pub(crate) fn environment(&self, command: &mut Command) {
        let binary = binary();
        let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.env("SKEP_ROOT", self.root()).env("SKEP_RUN", self.run_root());
        command.env("SKEP", &binary).env("PATH", path).env_remove("RUST_BACKTRACE");
    }

    /// Runs a command to its end, whatever that is.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.finish(self.command(arguments))
    }

    /// Runs a command that must succeed; its standard output without the last line break.
    #[track_caller]
    pub(crate) fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.run(arguments);
        assert_eq!(output.code, 0, "{output:#?}");
        output.stdout.strip_suffix('\n').unwrap_or(&output.stdout).to_owned()
    }

    /// Runs a command that must fail with `code`; its standard error.
    #[track_caller]
    pub(crate) fn fails<A: AsRef<OsStr>>(&self, code: i32, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.run(arguments);
        assert_eq!(output.code, code, "{output:#?}");
        output.stderr
    }

    /// Runs a command with bytes on its standard input.
    pub(crate) fn feed<A: AsRef<OsStr>>(&self, input: &[u8], arguments: impl IntoIterator<Item = A>) -> Output {
        let mut command = self.command(arguments);
        let shown = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // The reader may stop early, which is its right: a broken pipe is no failure of the test.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = wait(child);
        writer.join().unwrap();
        self.note(Output::new(shown, output))
    }

    /// Starts a command in the background with pipes for its output.
    pub(crate) fn spawn<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Child {
        self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a prepared command to its end.
    pub(crate) fn finish(&self, mut command: Command) -> Output {
        let shown = format!("{command:?}");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.note(Output::new(shown, wait(child)))
    }

    /// A container that sleeps, started; its id.
    #[track_caller]
    pub(crate) fn sleeper(&self, options: &[&str]) -> String {
        let mut arguments = vec!["run", "-d"];
        arguments.extend(options);
        arguments.extend([IMAGE, "sleep", "1000"]);
        self.ok(arguments)
    }

    /// One value of `skep inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self, object: &str, format: &str) -> String {
        self.ok(["inspect", "--format", format, object])
    }

    /// The host's process id of a container's first process.
    #[track_caller]
    pub(crate) fn pid(&self, container: &str) -> i32 {
        self.inspect(container, "{{.State.Pid}}").parse().unwrap()
    }

    /// `inspect` as JSON: the first object.
    #[track_caller]
    pub(crate) fn json(&self, object: &str) -> serde_json::Value {
        let list: serde_json::Value = serde_json::from_str(&self.ok(["inspect", object])).unwrap();
        list[0].clone()
    }

    /// Every container is removed and the kernel holds nothing of them: what drop asserts, for the middle of a test.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        self.remember_containers();
        let output = self.run(["ps", "-aq", "--no-trunc"]);
        for id in output.stdout.lines() {
            let removed = self.run(["rm", "-f", id]);
            assert_eq!(removed.code, 0, "{removed:#?}");
        }
        // Also sweeps what killed commands left, when there was no container to remove.
        let sweep = || self.run(["container", "prune", "-f"]);
        sweep();
        let left = witness::leftovers(&self.directory, &self.seen.lock().unwrap());
        assert!(left.is_empty(), "left behind: {left:#?}");
        let below_root = ["containers", "names", "ids", "trash", "leases"].map(|name| self.root().join(name));
        for directory in below_root.iter().chain([&self.run_root()]) {
            retry(|| {
                let names = entries(directory);
                // What is younger than two seconds may be in somebody's hands: it is swept when it is older.
                if !names.is_empty() {
                    sweep();
                }
                let message = || format!("`{}` still holds {names:?}", directory.display());
                names.is_empty().then_some(()).ok_or_else(message)
            });
        }
    }

    /// Remembers each 64-digit id that a command printed alone on a line.
    fn note(&self, output: Output) -> Output {
        let ids = output.stdout.lines().filter(|line| is_id(line)).map(str::to_owned);
        self.seen.lock().unwrap().extend(ids);
        output
    }

    fn remember_containers(&self) {
        let ids = entries(&self.root().join("containers"));
        self.seen.lock().unwrap().extend(ids.into_iter().filter(|name| is_id(name)));
    }
}

impl Drop for Skep {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed already: tidy up as well as possible, without a second panic.
            self.remember_containers();
            for id in self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
                self.command(["rm", "-f", id]).output().ok();
            }
            witness::end_everything(&self.directory);
        } else {
            self.assert_clean();
        }
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

impl Output {
    fn new(command: String, output: std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr), raw: output.stdout, command }
    }

    /// A failure as users should see it: this exit code, one line, and that line says each of `parts`.
    #[track_caller]
    pub(crate) fn assert_one_line_error(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "more or less than one line: {self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in the message: {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// Waits for a command, but not for ever: one that hangs is killed, and its test fails with code -9.
fn wait(child: Child) -> std::process::Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watch.join().unwrap();
    output
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("SKEP_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_skep")), PathBuf::from)
}

/// The output of a helper program that must succeed.
#[track_caller]
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", script]).output().unwrap();
    assert!(output.status.success(), "`{script}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Whether a helper program is on the `PATH`; says that the caller skips something when it is not.
pub(crate) fn have(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !found {
        eprintln!("skipped: `{program}` is not installed");
    }
    found
}

/// The names in a directory; none if it does not exist.
pub(crate) fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
