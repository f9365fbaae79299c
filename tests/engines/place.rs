//! Where a foreign engine runs: namespaces of its own, so that nothing of it can reach the machine or outlive the test.
//!
//! ```text
//! test ── unshare (mount, pid) ── bash: PID 1, reaps; its end is the end of all
//!           /run  a tmpfs          /etc  an overlay          /proc  of the pid namespace
//!           <directory>/bin/skep-runtime -> the binary under test
//! ```
//! Engines are found on the PATH or in target/peers, where `xtask/fetch-peers` unpacks them. Control groups are below a
//! parent that bears the place's name, and are removed with it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What PID 1 does. Bash reaps whatever dies below it.
const FIRST: &str = r#"
set -e
mkdir -p "$1"/etc.upper "$1"/etc.work
mount -t tmpfs -o mode=755 tmpfs /run
mount -t overlay -o lowerdir=/etc,upperdir="$1"/etc.upper,workdir="$1"/etc.work overlay /etc
touch "$1"/ready
while :; do sleep 1000 & wait $!; done
"#;

/// One engine's place.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    /// Of the cgroups, without slashes.
    pub(crate) name: String,
    holder: Child,
    first: i32,
    done: Mutex<Vec<&'static str>>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Place {
    /// A place for an engine that needs these programs. None: one is missing, which is said.
    pub(crate) fn new(engine: &str, programs: &[&str]) -> Option<Self> {
        assert!(rustix::process::geteuid().is_root(), "engines start containers: run them as root");
        for program in programs {
            let found = Command::new("sh").args(["-c", "command -v $0", program]).env("PATH", path()).output().unwrap();
            if !found.status.success() {
                say(&format!("skipped: `{program}` is not installed (xtask/fetch-peers, xtask/install-packages)\n"));
                return None;
            }
        }
        let name = format!("skt-{}-{engine}", std::process::id());
        let directory = Path::new("/tmp").join(&name);
        fs::create_dir_all(directory.join("bin")).unwrap();
        fs::create_dir_all(directory.join("home")).unwrap();
        symlink(binary(), directory.join("bin/skep-runtime")).unwrap();
        let unshare = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", FIRST, "bash"];
        let holder = Command::new("unshare").args(unshare).arg(&directory).stdin(Stdio::null()).spawn().unwrap();
        retry(|| fs::metadata(directory.join("ready")).map(drop));
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id())).unwrap();
        let first = children.trim().parse().unwrap();
        Some(Self { directory, name, holder, first, done: Mutex::default() })
    }

    /// A path below the place's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// The runtime under test, by its own name.
    pub(crate) fn runtime(&self) -> String {
        self.path("bin/skep-runtime")
    }

    /// A command in here.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--target", &self.first.to_string(), "--"]).args(words);
        command.env("PATH", path()).env("HOME", self.path("home")).stdin(Stdio::null());
        command
    }

    /// Where the test finds a file of in here: below /etc, /run, or on a mount that was made in here.
    pub(crate) fn outside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.first))
    }

    /// A daemon in here, with its log. It ends with the place.
    #[expect(clippy::zombie_processes, reason = "killed with its pid namespace, when the test ends")]
    pub(crate) fn start(&self, words: &[&str]) {
        let log = fs::File::create(self.path("daemon.log")).unwrap();
        let mut command = self.command(words);
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    }

    /// Runs a command to its end; one that hangs is killed.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let limited: Vec<&str> = ["timeout", "--signal=KILL", "120"].iter().chain(words).copied().collect();
        let output = self.command(&limited).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Output { code: output.status.code().unwrap_or(-1), text: String::from_utf8_lossy(&text).trim().to_owned() }
    }

    /// In a terminal of its own.
    pub(crate) fn run_in_terminal(&self, words: &[&str]) -> Output {
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        self.run(&["script", "--quiet", "--return", "--command", &line, "/dev/null"])
    }

    /// Notes that something was shown to work.
    pub(crate) fn done(&self, what: &'static str) {
        self.done.lock().unwrap().push(what);
    }

    /// Says what was.
    pub(crate) fn finish(&self, engine: &str) {
        retry(|| match self.groups() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("cgroups are left: {left:?}")),
        });
        say(&format!("{engine}: {}\n", self.done.lock().unwrap().join(", ")));
    }

    /// Processes in here whose command line has this in it.
    pub(crate) fn processes(&self, pattern: &str) -> Vec<i32> {
        // Without the word `timeout` before it, whose command line would match, too.
        let found = self.command(&["pgrep", "--full", pattern]).output().unwrap();
        String::from_utf8_lossy(&found.stdout).lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// The containers' cgroups. Not that of conmon, nor that of a pod in a hierarchy without controllers, which podman
    /// forgets whatever the runtime is.
    fn groups(&self) -> Vec<PathBuf> {
        let parents = self.parents().into_iter().filter(|parent| !parent.starts_with("/sys/fs/cgroup/systemd"));
        parents.flat_map(|parent| children(&parent)).filter(|path| !path.ends_with("conmon")).collect()
    }

    fn parents(&self) -> Vec<PathBuf> {
        let top = Path::new("/sys/fs/cgroup");
        let hierarchies = children(top).into_iter().chain([top.to_owned()]);
        hierarchies.map(|hierarchy| hierarchy.join(&self.name)).filter(|path| path.exists()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (true, Ok(log)) = (std::thread::panicking(), fs::read_to_string(self.path("daemon.log"))) {
            say(&format!("the daemon's log:\n{log}\n"));
        }
        self.holder.kill().ok();
        self.holder.wait().ok();
        let start = Instant::now();
        // The kernel takes a moment to end a pid namespace.
        while start.elapsed() < Duration::from_secs(10) {
            self.parents().iter().for_each(|parent| remove_groups(parent));
            if self.parents().is_empty() && fs::remove_dir_all(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn remove_groups(group: &Path) {
    children(group).iter().for_each(|child| remove_groups(child));
    fs::remove_dir(group).ok();
}

/// Directories in a directory.
fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Where programs are looked for.
pub(crate) fn path() -> String {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
    let own = std::env::var("PATH").unwrap();
    format!("{0}/usr/sbin:{0}/usr/bin:{own}:/usr/sbin:/sbin", peers.display())
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("SKEP_BIN").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_skep")))
}

/// Past the capture of test output: what was exercised is what the test is for.
pub(crate) fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Asks again until it answers, for at most half a minute.
#[track_caller]
pub(crate) fn retry<T, E: std::fmt::Debug>(mut question: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match question() {
            Ok(answer) => return answer,
            Err(reason) if start.elapsed() > Duration::from_secs(30) => panic!("{reason:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

impl Output {
    /// The text of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.text);
        self.text
    }

    /// The text of a command that must end with this code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.text);
        self.text
    }

    /// The text, if the command succeeded.
    pub(crate) fn result(self) -> Result<String, String> {
        if self.code == 0 { Ok(self.text) } else { Err(self.text) }
    }
}
