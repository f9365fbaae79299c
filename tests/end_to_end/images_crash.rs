//! `kill -9` at any moment of what changes the store: pull, load, commit, rmi, prune, and the collection of a repair. After each
//! kill `system check` finds the store intact, and after a removal the disk is as it was, to the byte.
//!
//! The moments are random. Forty of them are a sample; `SKEP_CRASH_ROUNDS=300` makes it three hundred. A failure
//! prints the command and the delay that led to it.

use crate::harness::{Archive, IMAGE, Layer, Registry, Skep, busybox_layer, retry};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const ROUNDS: usize = 40;
/// What is changed by commands that are killed.
const VICTIM: &str = "victim:1";

/// A delay below `longest`, different in every run.
fn moment(longest: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    longest.mul_f64(f64::from(now % 10_007) / 10_007.0)
}

/// Three layers of a hundred files above busybox, so that a kill has something to cut.
fn archive(skep: &Skep, name: &str) -> String {
    let mut archive = Archive::new(name).layer(&busybox_layer()).config(serde_json::json!({"Cmd": ["sh"]}));
    for number in 0..3 {
        let mut layer = Layer::new();
        for file in 0..100 {
            let content = format!("{name} {number} {file}\n").repeat(500);
            layer = layer.file(&format!("l{number}/f{file}"), content);
        }
        archive = archive.layer(&layer);
    }
    let path = skep.file(&name.replace(':', "-"));
    archive.write(path.clone());
    path.to_str().unwrap().to_owned()
}

/// Every file and directory below the root with its size: what is on disk, to the byte.
fn disk(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let (path, Ok(status)) = (entry.path(), entry.metadata()) else { continue };
            let size = if status.is_dir() { 0 } else { status.len() };
            // When garbage was last collected is no part of any image.
            if path != root.join("collected") {
                found.insert(path.strip_prefix(root).unwrap().display().to_string(), size);
            }
            if status.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// What is killed, and what is done before so that it has something to do.
struct Scene<'a> {
    skep: &'a Skep,
    archive: String,
    pulled: String,
}

const KINDS: [&str; 6] = ["pull", "load", "commit", "rmi", "prune", "repair"];

impl Scene<'_> {
    fn command(&self, kind: &str) -> Vec<&str> {
        match kind {
            "pull" => vec!["pull", "-q", &self.pulled],
            "load" => vec!["load", "-q", "-i", &self.archive],
            "commit" => vec!["commit", "base", VICTIM],
            "rmi" => vec!["rmi", VICTIM],
            "prune" => vec!["image", "prune", "-af"],
            _ => vec!["system", "check", "--quick", "--repair", "-q"],
        }
    }

    fn prepare(&self, kind: &str) {
        match kind {
            "rmi" | "prune" => drop(self.skep.ok(["load", "-q", "-i", &self.archive])),
            // An image whose name another one takes, and whose last name is then taken away by a kill in the middle.
            "repair" => {
                self.skep.ok(["load", "-q", "-i", &self.archive]);
                let mut child = self.skep.spawn(["rmi", VICTIM]);
                std::thread::sleep(Duration::from_millis(5));
                child.kill().ok();
                child.wait().unwrap();
            }
            _ => {}
        }
    }

    /// Takes all away that a command may have brought, whether it ended or not.
    fn remove(&self) {
        for name in [VICTIM, &self.pulled] {
            self.skep.run(["rmi", name]);
        }
        self.skep.ok(["image", "prune", "-f"]);
    }
}

/// Nothing is wrong with the store.
#[track_caller]
fn assert_intact(skep: &Skep, what: &str) {
    let checked = skep.run(["system", "check"]);
    assert_eq!(checked.code, 0, "{what}: {checked:#?}");
}

#[test]
fn any_command_that_changes_the_store() {
    let rounds = std::env::var("SKEP_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let skep = Skep::with_image();
    let archive = archive(&skep, VICTIM);
    // What is pulled is another image, so that nothing of it is here.
    let layout = skep.file("layout");
    skep.ok(["load", "-q", "-i", &self::archive(&skep, "pulled:1")]);
    skep.ok(["save", "--format", "oci-dir", "-o", layout.to_str().unwrap(), "pulled:1"]);
    skep.ok(["rmi", "pulled:1"]);
    let registry = Registry::of_layout(&layout);
    let scene = Scene { skep: &skep, archive, pulled: registry.name("hive/pulled") };
    // A container that lives all the while, and has something to commit.
    skep.ok(["run", "-d", "--name", "base", IMAGE, "sleep", "100000"]);
    skep.ok(["exec", "base", "sh", "-c", "for n in $(seq 60); do head -c 30000 /dev/urandom > /f$n; done"]);
    scene.remove();
    skep.ok(["system", "check"]);
    let before = disk(&skep.root());
    let mut longest = BTreeMap::new();
    for kind in KINDS {
        scene.prepare(kind);
        let start = Instant::now();
        skep.ok(scene.command(kind));
        longest.insert(kind, start.elapsed().mul_f64(1.1));
        scene.remove();
    }
    let mut killed = BTreeMap::<&str, usize>::new();
    for round in 0..rounds {
        let kind = KINDS[round % KINDS.len()];
        scene.prepare(kind);
        let mut child = skep.spawn(scene.command(kind));
        let delay = moment(longest[kind]);
        std::thread::sleep(delay);
        *killed.entry(kind).or_default() += usize::from(child.try_wait().unwrap().is_none());
        child.kill().ok();
        child.wait().unwrap();
        let what = format!("round {round}, {kind} killed after {delay:?}");
        assert_intact(&skep, &what);
        // A commit pauses the container: it goes on although nobody is left who said so.
        retry(|| match skep.run(["exec", "base", "echo", "alive"]) {
            said if said.stdout == "alive\n" => Ok(()),
            said => Err(format!("{what}: {said:#?}")),
        });
        // The killed command's workers may live a moment longer, and hold what they work on.
        retry(|| {
            scene.remove();
            let now = disk(&skep.root());
            let differs: Vec<_> = now.iter().filter(|(path, size)| before.get(*path) != Some(size)).collect();
            let gone: Vec<_> = before.keys().filter(|path| !now.contains_key(*path)).collect();
            match differs.is_empty() && gone.is_empty() {
                true => Ok(()),
                false => Err(format!("{what}: more {differs:?}, less {gone:?}")),
            }
        });
        assert_intact(&skep, &what);
    }
    println!("{rounds} kills, each before the command's end where counted: {killed:?}");
    skep.ok(["rm", "-f", "base"]);
}
