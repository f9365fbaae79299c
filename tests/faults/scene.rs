//! A private skep for one batch of faults, and what must be true in it after each of them and at the end.
//!
//! After each fault: the listing works, tells the truth about who runs, everything listed can be removed, the name
//! can be used again, and no process or mount is left. At the end of a batch, when leavings have come of age and one
//! sweep has gone over them: no directory entry, cgroup or socket, and without images no blob or layer either.

use crate::archive::{Archive, Layer};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The image's name.
pub(crate) const IMAGE: &str = "small";
/// The one container's name.
pub(crate) const VICTIM: &str = "victim";
/// What is younger may be in somebody's hands, for all that skep knows: a sweep leaves it.
const OF_AGE: Duration = Duration::from_millis(2300);

/// What a check found: nothing, or what is wrong.
pub(crate) type Check = Result<(), String>;

/// One private skep.
pub(crate) struct Scene {
    pub(crate) directory: PathBuf,
    /// Which fault left an entry in a directory: to tell at the end of the batch.
    culprits: BTreeMap<PathBuf, String>,
    ids: Vec<String>,
}

/// What a command said.
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("SKEP_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_skep")), PathBuf::from)
}

impl Scene {
    /// With the image.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "faults are injected into real containers: run this as root");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new("/tmp").join(format!("skt-{}f{number}", std::process::id()));
        fs::create_dir_all(directory.join("files/shared")).unwrap();
        fs::write(directory.join("files/image.tar"), image(IMAGE)).unwrap();
        fs::write(directory.join("files/other.tar"), image("other")).unwrap();
        fs::write(directory.join("files/file"), "some text\n").unwrap();
        let scene = Self { directory, culprits: BTreeMap::new(), ids: Vec::new() };
        scene.ok(&["load", "-q", "-i", &scene.file("image.tar")]);
        for (bundle, program) in [("sleeps", ["sleep", "1000"].as_slice()), ("ends", &["true"])] {
            scene.make_bundle(bundle, program);
        }
        scene
    }

    /// A bundle for the runtime's own commands, whose container bears the mark.
    fn make_bundle(&self, name: &str, program: &[&str]) {
        let bundle = PathBuf::from(self.file(name));
        let programs = bundle.join("rootfs/bin");
        fs::create_dir_all(&programs).unwrap();
        fs::copy("/bin/busybox", programs.join("busybox")).unwrap();
        for applet in ["true", "sleep"] {
            std::os::unix::fs::symlink("busybox", programs.join(applet)).unwrap();
        }
        self.ok(&["runtime", "spec", "--bundle", &self.file(name)]);
        let path = bundle.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = program.into();
        config["process"]["env"] = vec!["PATH=/bin".to_owned(), self.mark()].into();
        config["linux"]["cgroupsPath"] = format!("/{}/{VICTIM}", self.name()).into();
        fs::write(path, config.to_string()).unwrap();
    }

    /// Of the directory, and of the cgroup above those of the runtime's own containers.
    fn name(&self) -> String {
        self.directory.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// A command of the runtime, with a state directory of its own.
    pub(crate) fn runtime(&self, words: &[&str]) -> Vec<String> {
        let root = self.directory.join("rt").display().to_string();
        ["runtime", "--root", &root].iter().chain(words).map(|word| (*word).to_owned()).collect()
    }

    /// What the runtime lists is true, can be deleted, and the name can be used again.
    pub(crate) fn deletable(&self) -> Check {
        self.runtime_is_true()?;
        self.check(&self.runtime(&["delete", "--force", VICTIM]))?;
        self.runtime_holds_nothing()?;
        self.check(&self.runtime(&["run", "--bundle", &self.file("ends"), VICTIM]))?;
        self.runtime_holds_nothing()?;
        self.nothing_runs()
    }

    /// Whoever is listed has a state, and whoever runs is listed.
    pub(crate) fn runtime_is_true(&self) -> Check {
        let listed = self.check(&self.runtime(&["list", "--quiet"]))?;
        let mut lives = false;
        for id in listed.lines() {
            let state = self.check(&self.runtime(&["state", id]))?;
            let state: serde_json::Value = serde_json::from_str(&state).map_err(|error| error.to_string())?;
            if state["status"] == "running" || state["status"] == "created" {
                let pid = state["pid"].as_i64().unwrap_or_default();
                let there = || Path::new("/proc").join(pid.to_string()).exists();
                if !there() && self.check(&self.runtime(&["state", id]))?.contains(&format!("\"pid\": {pid},")) {
                    return Err(format!("said to live, but there is no process {pid}: {state}"));
                }
                lives = true;
            }
        }
        match lives {
            true => Ok(()),
            false => soon(|| match self.programs().as_slice() {
                [] => Ok(()),
                lost => Err(format!("runs, but is not listed: {lost:?}")),
            }),
        }
    }

    fn runtime_holds_nothing(&self) -> Check {
        let entries = fs::read_dir(self.directory.join("rt")).into_iter().flatten().flatten();
        let states = entries.map(|entry| entry.path()).filter(|path| !path.ends_with("@seccomp"));
        let left: Vec<PathBuf> = states.chain(self.groups()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left by the runtime: {left:?}")) }
    }

    /// A file beside the data.
    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.join("files").join(name).display().to_string()
    }

    /// The variable by which every process of this scene is known, also a container's if it is given it.
    pub(crate) fn mark(&self) -> String {
        format!("SKEP_ROOT={}", self.directory.join("data").display())
    }

    /// `run -d` and the like of a container that bears the mark.
    pub(crate) fn words(&self, command: &[&str], program: &[&str]) -> Vec<String> {
        let words = command.iter().copied().map(str::to_owned);
        let mark = ["-e".to_owned(), self.mark(), IMAGE.to_owned()];
        words.chain(mark).chain(program.iter().copied().map(str::to_owned)).collect()
    }

    /// The binary with this scene's directories, its output in files: whoever keeps a descriptor keeps nobody waiting.
    pub(crate) fn command<A: AsRef<str>>(&self, words: &[A], name: &str) -> Command {
        let output = |kind: &str| File::create(self.file(&format!("{name}.{kind}"))).unwrap();
        let mut command = Command::new(binary());
        command.args(words.iter().map(AsRef::as_ref)).stdin(Stdio::null());
        command.stdout(output("stdout")).stderr(output("stderr"));
        command.env("SKEP_ROOT", self.directory.join("data")).env("SKEP_RUN", self.directory.join("r"));
        command.env_remove("RUST_BACKTRACE");
        command
    }

    /// What a command of that name has said.
    pub(crate) fn output(&self, name: &str, code: i32) -> Output {
        let read = |kind: &str| fs::read_to_string(self.file(&format!("{name}.{kind}"))).unwrap_or_default();
        Output { code, stdout: read("stdout"), stderr: read("stderr") }
    }

    /// An ordinary command. One that hangs is killed: code -9.
    pub(crate) fn run<A: AsRef<str>>(&self, words: &[A]) -> Output {
        let mut child = self.command(words, "ordinary").spawn().unwrap();
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return self.output("ordinary", status.code().unwrap_or(-1));
            }
            if start.elapsed() > Duration::from_secs(40) {
                child.kill().unwrap();
                child.wait().unwrap();
                return Output { stderr: "it hangs".to_owned(), ..self.output("ordinary", -9) };
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(8));
        }
    }

    /// A command that must succeed, or the test itself is wrong.
    #[track_caller]
    pub(crate) fn ok<A: AsRef<str>>(&self, words: &[A]) -> String {
        self.check(words).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// A command that must succeed.
    pub(crate) fn check<A: AsRef<str>>(&self, words: &[A]) -> Result<String, String> {
        let output = self.run(words);
        let shown = || words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        match output.code {
            0 => Ok(output.stdout.trim_end().to_owned()),
            code => Err(format!("`{}` gives {code}: {}", shown(), output.stderr.trim_end())),
        }
    }

    /// Everything listed exists, whoever runs is listed as running, and whoever is listed as running runs.
    pub(crate) fn listing_is_true(&self) -> Result<Vec<String>, String> {
        let listed = self.check(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"])?;
        let listed: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
        for (id, state) in &listed {
            let inspected = self.run(&["inspect", "--format", "{{.State.Pid}}", *id]);
            if inspected.code != 0 && !inspected.stderr.contains("no such") {
                return Err(format!("inspect of what is listed: {}", inspected.stderr.trim_end()));
            }
            let pid = inspected.stdout.trim();
            if *state == "running" && inspected.code == 0 && pid != "0" && !Path::new("/proc").join(pid).exists() {
                // It may have ended between the two looks.
                let now = self.check(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"])?;
                if now.contains(&format!("{id} running")) {
                    return Err(format!("`{id}` is said to run, but there is no process {pid}"));
                }
            }
        }
        let running = listed.iter().filter(|(_, state)| *state == "running" || *state == "paused").count();
        if running == 0 {
            // One that is dying may need a moment.
            soon(|| match self.programs().as_slice() {
                [] => Ok(()),
                lost => Err(format!("runs, but is not listed as running: {lost:?}")),
            })?;
        }
        Ok(listed.into_iter().map(|(id, _)| id.to_owned()).collect())
    }

    /// Everything listed can be removed, and the name can be used again.
    pub(crate) fn removable(&self) -> Check {
        for id in self.listing_is_true()? {
            let removed = self.run(&["rm", "-f", "-v", &id]);
            if removed.code != 0 && !removed.stderr.contains("no such") {
                return Err(format!("`rm -f` of what is listed: {}", removed.stderr.trim_end()));
            }
        }
        // The killed command's monitor may still be on its way.
        soon(|| {
            self.run(&["rm", "-f", "-v", VICTIM]);
            self.check(&self.words(&["run", "--rm", "--name", VICTIM], &["true"])).map(drop)
        })?;
        self.nothing_runs()
    }

    /// No process and no mount, soon.
    pub(crate) fn nothing_runs(&self) -> Check {
        soon(|| {
            let processes = self.processes().into_iter().map(|pid| format!("process {pid}: {}", command_line(pid)));
            let left: Vec<String> = processes.chain(self.mounts()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}")) }
        })
    }

    /// Remembers whose doing the entries are that were not there before.
    pub(crate) fn note(&mut self, ids: Vec<String>, fault: &str) {
        self.ids.extend(ids);
        for path in self.entries() {
            self.culprits.entry(path).or_insert_with(|| fault.to_owned());
        }
    }

    /// The end of a batch: with the images gone and one sweep, nothing is left at all.
    pub(crate) fn close(mut self) -> Vec<String> {
        self.note(Vec::new(), "before any fault");
        self.run(&["rm", "-f", "-v", VICTIM]);
        self.run(&self.runtime(&["delete", "--force", VICTIM]));
        std::thread::sleep(OF_AGE);
        let mut problems: Vec<String> = [self.check(&["container", "prune", "-f"]), self.check(&["rmi", "-f", IMAGE])]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        let left = soon(|| {
            let left: Vec<String> = self.left().into_iter().collect();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
        problems.extend(left.err().into_iter().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()));
        self.wipe();
        problems
    }

    /// Ends everything by hand: after a failure, the next fault deserves a clean place.
    pub(crate) fn wipe(&self) {
        for id in self.run(&["ps", "-aq", "--no-trunc"]).stdout.lines() {
            self.run(&["rm", "-f", "-v", id]);
        }
        self.run(&self.runtime(&["delete", "--force", VICTIM]));
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        for group in self.groups().into_iter().chain(parents().map(|parent| parent.join(self.name()))) {
            fs::remove_dir(group).ok();
        }
        fs::remove_dir_all(&self.directory).ok();
    }

    fn left(&self) -> Vec<String> {
        let culprit = |path: &PathBuf| self.culprits.get(path).map_or("nobody knows", String::as_str);
        let entries =
            self.entries().into_iter().map(|path| format!("`{}` is left by {}", path.display(), culprit(&path)));
        let groups = self.groups().into_iter().map(|path| format!("cgroup `{}` is left", path.display()));
        entries.chain(groups).chain(self.mounts()).collect()
    }

    /// Whatever is in the directories that are empty when there is nothing.
    fn entries(&self) -> Vec<PathBuf> {
        let below = ["containers", "names", "ids", "trash", "leases", "layers", "blobs/sha256", "volumes"];
        let data = self.directory.join("data");
        let directories = below.iter().map(|name| data.join(name)).chain([self.directory.join("r")]);
        let entries = directories.filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    fn groups(&self) -> Vec<PathBuf> {
        let below = |parent: PathBuf| {
            let engine = self.ids.iter().map(|id| parent.join("skep").join(id)).collect::<Vec<_>>();
            engine.into_iter().chain([parent.join(self.name()).join(VICTIM)])
        };
        parents().flat_map(below).filter(|path| path.exists()).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = format!("{}/", self.directory.display());
        mounts.lines().filter(|line| line.contains(&place)).map(|line| format!("mount: {line}")).collect()
    }

    /// Every process that bears the mark.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = self.mark();
        let bears = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(bears).collect()
    }

    /// Those that are a container's program.
    pub(crate) fn programs(&self) -> Vec<String> {
        let mine = fs::metadata(binary()).unwrap();
        let is_program = |pid: &i32| {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(format!("/proc/{pid}/exe"))
                .is_ok_and(|file| (file.dev(), file.ino()) != (mine.dev(), mine.ino()))
        };
        self.processes().into_iter().filter(is_program).map(|pid| format!("{pid}: {}", command_line(pid))).collect()
    }
}

/// Asks again for a few seconds: the kernel and the monitors finish in their own time.
pub(crate) fn soon(mut question: impl FnMut() -> Check) -> Check {
    let start = Instant::now();
    loop {
        match question() {
            Ok(()) => return Ok(()),
            Err(problem) if start.elapsed() > Duration::from_secs(8) => return Err(problem),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The hierarchies.
fn parents() -> impl Iterator<Item = PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    fs::read_dir(&top).unwrap().flatten().map(|entry| entry.path()).chain([top])
}

fn command_line(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ").trim_end().to_owned()
}

/// A layer with few entries, so that a load has few effects, but of each kind.
fn image(name: &str) -> Vec<u8> {
    let program = fs::read("/bin/busybox").expect("`/bin/busybox` is missing: apt-get install busybox-static");
    let mut layer = Layer::new().directory("bin").directory("etc").program("bin/busybox", program);
    layer = layer.file("etc/passwd", "root:x:0:0:root:/:/bin/sh\nbee:x:1000:1000:a bee:/:/bin/sh\n");
    for applet in ["sh", "true", "sleep", "cat", "ls"] {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    let second = Layer::new().file("etc/name", name).hard_link("etc/again", "etc/name");
    let config = serde_json::json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]});
    Archive::new(&format!("{name}:latest")).layer(&layer).layer(&second).config(config).bytes()
}
