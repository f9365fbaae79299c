//! The runtime's own command line in hostile bundles: root directories whose names are links, still or swapped.
//!
//! Here the root is a directory of the host, mounted as it is, mostly with the host's ids: what containerd and others
//! hand over. Four ways of setting up are tried, because each resolves names at another moment: plainly, with ids of its own, with hooks
//! (everything is attached before the root is entered), and without `pivot_root`.

use crate::harness::{Output, Skep, sh};
use crate::trees::{KINDS, PLACES, assert_orderly, plant};
use crate::witness::{Canary, SECRET, Swapper, rounds};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How a container is set up.
const WAYS: usize = 4;

/// The first id of the one with ids of its own.
const BASE: u32 = 0x1000_0000 + 21_000 * 65_536;

struct Bundles {
    skep: Skep,
    canary: Canary,
    number: Cell<u32>,
    done: Cell<u64>,
}

impl Bundles {
    fn new() -> Self {
        let skep = Skep::new();
        let canary = Canary::new();
        Self { skep, canary, number: Cell::new(0), done: Cell::new(0) }
    }

    /// An empty bundle; its root is yet to be planted.
    fn bundle(&self, place: &str, way: usize) -> PathBuf {
        let bundle = self.skep.file("bundle");
        let _ = fs::remove_dir_all(&bundle);
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        let given = self.skep.file("given");
        fs::create_dir_all(&given).unwrap();
        fs::write(bundle.join("config.json"), specification(place, &given, way).to_string()).unwrap();
        bundle
    }

    fn runtime(&self, words: &[&str]) -> Output {
        let state = self.skep.file("state");
        let output = self.skep.run([&["runtime", "--root", state.to_str().unwrap()], words].concat());
        assert_orderly(&output);
        assert!(!output.raw.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{output:#?}");
        self.done.set(self.done.get() + 1);
        output
    }

    fn name(&self) -> String {
        self.number.set(self.number.get() + 1);
        format!("sk-{}-{}", std::process::id(), self.number.get())
    }

    /// One container to its end; whether it came to run.
    fn run(&self, bundle: &Path, way: usize) -> bool {
        let (name, bundle) = (self.name(), bundle.to_str().unwrap());
        let extra: &[&str] = if way == 3 { &["--no-pivot"] } else { &[] };
        let ran = self.runtime(&[&["run", "--bundle", bundle], extra, &[&name]].concat()).code == 0;
        self.runtime(&["delete", "--force", &name]);
        ran
    }
}

/// With ids of its own the root is the container's own too, as whoever maps ids has it.
fn give(bundle: &Path, way: usize) {
    if way == 1 {
        sh(&format!("chown -hR {BASE}:{BASE} {}/rootfs", bundle.display()));
    }
}

fn specification(place: &str, given: &Path, way: usize) -> Value {
    let closed = json!(["nosuid", "noexec", "nodev"]);
    let script =
        format!("cat /{place} /{place}/file; echo x > /{place}/new; touch /{place}/made; rm -rf /{place}/sub; true");
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "network", "cgroup"];
    if way == 1 {
        namespaces.push("user");
    }
    let namespaces: Vec<_> = namespaces.into_iter().map(|kind| json!({"type": kind})).collect();
    let capabilities = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD", "CAP_KILL"]);
    let mut specification = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": way == 2},
        "hostname": "bundle",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": format!("/{place}"), "env": ["PATH=/bin"],
            "args": ["/bin/sh", "-c", format!("({script}) < /dev/null > /scratch/log 2>&1 & sleep 0.05; cat /scratch/log; true")],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": closed},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": closed},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": closed},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
            {"destination": "/given", "type": "bind", "source": given, "options": ["rbind"]},
            {"destination": "/given/deep/er", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/volume/file", "type": "bind", "source": "/bin/busybox", "options": ["bind", "ro"]},
        ],
        "linux": {
            "namespaces": namespaces,
            "devices": [{"path": "/dev/thing", "type": "c", "major": 1, "minor": 5, "fileMode": 438, "uid": 0, "gid": 0}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware", "/etc/passwd", "/run"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/etc/group", "/tmp", "/work"],
        },
    });
    if place != "tmp" && place != "etc" {
        // Where copying up begins is a name of the root, too.
        let copied =
            json!({"destination": format!("/{place}"), "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
        specification["mounts"].as_array_mut().unwrap().push(copied);
    }
    if way == 1 {
        let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
        specification["linux"]["uidMappings"] = map.clone();
        specification["linux"]["gidMappings"] = map;
    }
    if way == 2 {
        let hook = json!([{"path": "/bin/true", "timeout": 5}]);
        specification["hooks"] = json!({"createRuntime": hook, "createContainer": hook});
    }
    specification
}

#[test]
fn roots_whose_names_are_links() {
    let bundles = Bundles::new();
    let long = std::env::var_os("SKEP_ROUNDS").is_some();
    let (mut ran, mut tried) = (0, 0);
    for (row, place) in PLACES.iter().enumerate() {
        for (column, kind) in KINDS.iter().enumerate() {
            if !long && (row + column) % 5 != 0 {
                continue;
            }
            let way = (row + column / 2) % WAYS;
            let bundle = bundles.bundle(place, way);
            plant(&bundle.join("rootfs"), place, *kind, &bundles.canary);
            give(&bundle, way);
            bundles.canary.assert_untouched("planting");
            ran += u32::from(bundles.run(&bundle, way));
            tried += 1;
            bundles.canary.assert_untouched(&format!("`/{place}` as {kind:?}, way {way}"));
        }
    }
    println!("{tried} bundles, of which {ran} ran; {} commands", bundles.done.get());
}

/// The whole root is on the wrong side of a link, or what should be a file is not.
#[test]
fn bundles_that_are_no_bundles() {
    let bundles = Bundles::new();
    let canary = bundles.canary.path();
    for spoil in [
        "rm -r rootfs; mkfifo rootfs",
        "rm -r rootfs; ln -s rootfs rootfs",
        "rm config.json; mkfifo config.json",
        "rm config.json; mkdir config.json",
        "rm config.json; ln -s /dev/zero config.json",
        "head -c 70000000 /dev/zero | tr '\\0' '[' > config.json",
        "echo '{' > config.json",
    ] {
        let bundle = bundles.bundle("work", 0);
        plant(&bundle.join("rootfs"), "work", KINDS[0], &bundles.canary);
        sh(&format!("cd {}; {spoil}", bundle.display()));
        assert!(!bundles.run(&bundle, 0), "{spoil}");
        bundles.canary.assert_untouched(spoil);
    }
    for id in ["../escape", "/absolute", "..", ".", "", "a/b", canary, &"x".repeat(2000), "new\nline"] {
        let bundle = bundles.bundle("work", 0);
        plant(&bundle.join("rootfs"), "work", KINDS[0], &bundles.canary);
        for words in
            [&["run", "--bundle", bundle.to_str().unwrap(), id][..], &["delete", "--force", id], &["state", id]]
        {
            let output = bundles.runtime(words);
            assert!(output.code != 0 || words[0] == "delete", "{id:?}: {output:#?}");
        }
        bundles.canary.assert_untouched(id);
    }
}

#[test]
fn roots_that_are_swapped() {
    let bundles = Bundles::new();
    let places = [
        ("real", &[("real", "out")][..]),
        ("real", &[("real", "up"), ("real/sub", "magic")]),
        ("dev", &[("dev", "out")]),
        ("real", &[("proc", "out"), ("sys", "up")]),
        ("etc", &[("etc", "out")]),
        ("volume", &[("volume", "out"), ("given", "up")]),
    ];
    for way in 0..WAYS {
        for (place, pairs) in places {
            let bundle = bundles.bundle(&format!("{place}/sub"), way);
            let root = bundle.join("rootfs");
            plant(&root, "unused", KINDS[10], &bundles.canary);
            sh(&format!(
                "cd {root}; mkdir -p real/sub dev/sub dev/pts dev/shm proc/sub sys/sub etc/sub volume/sub given/sub; \
                 ln -s {0} out; ln -s {1}{0} up; ln -s /proc/self/root{0} magic",
                bundles.canary.path(),
                "../".repeat(16),
                root = root.display()
            ));
            give(&bundle, way);
            let swapper = Swapper::start(OwnedFd::from(fs::File::open(&root).unwrap()), pairs);
            let (count, mut ran) = (rounds(2), 0);
            for _ in 0..count {
                swapper.wait_for_next();
                ran += u64::from(bundles.run(&bundle, way));
            }
            println!(
                "rounds: {count} of runtime run, way {way}, `/{place}`: {ran} succeeded, {} swaps meanwhile",
                swapper.swaps()
            );
            drop(swapper);
            bundles.canary.assert_untouched(place);
        }
    }
}

/// What containerd, a shim or a shell have open does not come along unless it is preserved by number; nor can it be a
/// working directory, at the start and in exec (CVE-2024-21626).
#[test]
fn no_descriptor_comes_along() {
    let bundles = Bundles::new();
    let look = "for fd in /proc/$$/fd/*; do readlink $fd; done; sleep 1000";
    let (bundle, state) = (bundles.bundle("work", 0), bundles.skep.file("state"));
    plant(&bundle.join("rootfs"), "unused", KINDS[10], &bundles.canary);
    for name in ["readlink", "echo", "sleep", "stat", "test"] {
        let _ = std::os::unix::fs::symlink("busybox", bundle.join("rootfs/bin").join(name));
    }
    let config = bundle.join("config.json");
    let mut specification: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    specification["process"]["args"] = json!(["/bin/sh", "-c", look]);
    fs::write(&config, specification.to_string()).unwrap();
    let (name, log) = (bundles.name(), bundles.skep.file("seen"));
    let script = format!(
        "exec 3</ 7</etc 9</etc/shadow 200</root; \"$SKEP\" runtime --root {} run -d --bundle {} {name} > {} 2>&1 < /dev/null",
        state.display(),
        bundle.display(),
        log.display()
    );
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]);
    bundles.skep.environment(&mut command);
    let ran = bundles.skep.finish(command);
    let seen = crate::harness::retry(|| {
        let seen = fs::read_to_string(&log).unwrap();
        if seen.lines().count() >= 3 { Ok(seen) } else { Err(format!("{ran:?} {seen}")) }
    });
    let ours = |line: &&str| line.is_empty() || *line == "/dev/null" || *line == log.to_str().unwrap();
    let foreign: Vec<_> = seen.lines().filter(|line| !ours(line)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let look = "test \"$(stat -c %d:%i /)\" = \"$(stat -c %d:%i ../../../../../..)\" && echo inside";
    for number in 0..24 {
        let directory = format!("/proc/self/fd/{number}");
        let output = bundles.runtime(&["exec", "--cwd", &directory, &name, "/bin/sh", "-c", look]);
        assert!(output.code != 0 || output.stdout == "inside\n", "{directory}: {output:#?}");
    }
    bundles.runtime(&["delete", "--force", &name]);
    bundles.canary.assert_untouched("descriptors");
}
