//! The real binary in trees whose names are swapped with links meanwhile: shared volumes, and roots of running containers.
//!
//! Each round is one command. The same code is raced without a process per round in `crates/store/tests/races.rs` and
//! `crates/runtime/tests/races.rs`; here everything between the flags and the kernel is in it.

use crate::harness::{IMAGE, Layer, Skep, sh};
use crate::witness::{Canary, SECRET, Swapper, rounds};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Shell lines that make what is raced for, and the links to swap it with, in the working directory.
fn preparation(canary: &Canary) -> String {
    format!(
        "mkdir -p real/sub/deep real/shm real/pts; for f in real/file real/passwd real/sub/file; do echo inside > $f; done; \
         ln -s {0} out; ln -s {1}{0} up; ln -s /proc/self/root{0} magic; ln -s /proc/self/fd/3 descriptor",
        canary.path(),
        "../".repeat(16)
    )
}

const PAIRS: [&[(&str, &str)]; 3] = [
    &[("real", "out")],
    &[("real", "up"), ("real/sub", "out"), ("real/file", "magic")],
    &[("real", "magic"), ("real", "descriptor")],
];

struct Race {
    skep: Skep,
    canary: Canary,
    count: std::cell::Cell<(u64, u64)>,
}

impl Race {
    fn new() -> Self {
        let skep = Skep::with_image();
        let canary = Canary::new();
        Self { skep, canary, count: std::cell::Cell::new((0, 0)) }
    }

    /// One command; what it prints may not be the host's.
    fn round<A: AsRef<std::ffi::OsStr>>(&self, swapper: &Swapper, words: impl IntoIterator<Item = A>) {
        swapper.wait_for_next();
        self.judge(&self.skep.run(words));
    }

    fn judge(&self, output: &crate::harness::Output) {
        assert!(output.code >= 0 && !output.stderr.contains("panicked"), "{output:#?}");
        assert!(!output.raw.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "{output:#?}");
        let (rounds, succeeded) = self.count.get();
        self.count.set((rounds + 1, succeeded + u64::from(output.code == 0)));
    }

    #[track_caller]
    fn finish(&self, name: &str, swapper: Swapper) {
        let swaps = swapper.swaps();
        drop(swapper);
        let (rounds, succeeded) = self.count.take();
        println!("rounds: {rounds} of {name}: {succeeded} succeeded, {swaps} swaps meanwhile");
        self.canary.assert_untouched(name);
    }

    fn swapper(&self, directory: &Path, pairs: &[(&str, &str)]) -> Swapper {
        Swapper::start(OwnedFd::from(fs::File::open(directory).unwrap()), pairs)
    }
}

#[test]
fn a_volume_that_another_container_swaps() {
    let race = Race::new();
    let (shared, given): (PathBuf, PathBuf) = (race.skep.file("shared"), race.skep.file("given"));
    fs::create_dir_all(&given).unwrap();
    sh(&format!("mkdir -p {0}; cd {0}; {1}", shared.display(), preparation(&race.canary)));
    let volume = format!("{}:/shared", shared.display());
    let other = |target: &str| format!("{}:/shared/{target}", given.display());
    for (number, pairs) in PAIRS.into_iter().enumerate() {
        let swapper = race.swapper(&shared, pairs);
        for round in 0..rounds(3) {
            let (sub, new) = (other("real/sub"), other(&format!("real/new{}", round % 3)));
            let options: &[&str] = match (round + number as u64) % 4 {
                0 => &["-v", &sub, "--tmpfs", "/shared/real/shm", "-w", "/shared/real/work"],
                1 => &["-v", &new, "-w", "/shared/real/sub/deep", "--userns", "host"],
                2 => &["--tmpfs", "/shared/real/new/deep", "--privileged", "-w", "/shared/real"],
                _ => &["-v", "/shared/real/sub", "--tmpfs", "/shared/real/pts", "--init", "-u", "bee"],
            };
            race.round(&swapper, [&["run", "--rm", "-v", &volume][..], options, &[IMAGE, "true"]].concat());
        }
        race.finish("run beside a shared volume", swapper);
    }
    let id = race.skep.sleeper(&["-v", &volume]);
    for pairs in PAIRS {
        let swapper = race.swapper(&shared, pairs);
        for round in 0..rounds(4) {
            let directory = ["/shared/real/sub/deep", "/shared/real", "/shared/real/sub/../sub"][round as usize % 3];
            race.round(&swapper, ["exec", "-w", directory, &id, "true"]);
        }
        race.finish("exec beside a shared volume", swapper);
    }
}

#[test]
fn a_root_that_its_container_swaps() {
    let race = Race::new();
    let skep = &race.skep;
    let payload = skep.file("payload");
    fs::create_dir_all(payload.join("sub")).unwrap();
    fs::write(payload.join("file"), "payload").unwrap();
    let stream = Layer::new().directory("sub").file("sub/file", "payload").file("file", "payload").bytes();
    let out = skep.file("out");
    for user_namespace in ["private", "host"] {
        let id = skep.sleeper(&["--userns", user_namespace]);
        let root = PathBuf::from(format!("/proc/{}/root/srv", skep.pid(&id)));
        let prepare = format!("mkdir /srv; cd /srv; {}", preparation(&race.canary));
        skep.ok(["exec", &id, "sh", "-ec", &prepare]);
        for pairs in PAIRS {
            let swapper = race.swapper(&root, pairs);
            let place = |path: &str| format!("{id}:/srv/{path}");
            for _ in 0..rounds(1) {
                let _ = fs::remove_dir_all(&out).or_else(|_| fs::remove_file(&out));
                race.round(&swapper, ["cp", &place("real"), out.to_str().unwrap()]);
                race.round(&swapper, ["cp", "-L", &place("real/file"), "-"]);
                race.round(&swapper, ["cp", "-a", &place("real/sub/../file"), "-"]);
                race.round(&swapper, ["cp", payload.to_str().unwrap(), &place("real/sub")]);
                race.round(&swapper, ["cp", payload.join("file").to_str().unwrap(), &place("real/file")]);
                swapper.wait_for_next();
                race.judge(&skep.feed(&stream, ["cp", "-", &place("real")]));
                race.round(&swapper, ["export", &id]);
                race.round(&swapper, ["diff", &id]);
                race.round(&swapper, ["exec", "-w", "/srv/real/sub", &id, "true"]);
            }
            race.round(&swapper, ["commit", &id, "raced:1"]);
            race.finish("cp, export, diff, exec, commit of a running container", swapper);
        }
        let saved = skep.run(["save", "raced:1"]);
        assert!(!saved.raw.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "committed");
        skep.run(["rmi", "-f", "raced:1"]);
        skep.ok(["rm", "-f", &id]);
    }
}

/// `passwd` and `group` are read by the host: at each start, and at each exec with a name.
#[test]
fn user_files_that_are_swapped() {
    let race = Race::new();
    let id = race.skep.sleeper(&[]);
    let etc = PathBuf::from(format!("/proc/{}/root/etc", race.skep.pid(&id)));
    let prepare = "cd /etc; for n in passwd group; do ln -s $0/$n $n-out; mkfifo $n-fifo; done";
    race.skep.ok(["exec", &id, "sh", "-ec", prepare, race.canary.path()]);
    let pairs = [("passwd", "passwd-out"), ("group", "group-fifo"), ("passwd", "passwd-fifo"), ("group", "group-out")];
    let swapper = race.swapper(&etc, &pairs);
    for round in 0..rounds(12) {
        let user = ["bee", "root:honey", "1000", "bee:1000"][round as usize % 4];
        race.round(&swapper, ["exec", "-u", user, &id, "true"]);
    }
    race.finish("exec with names of users", swapper);
}
