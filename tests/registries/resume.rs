//! A connection that is cut: what has come is not fetched again, not by this command and not by the next.
//!
//! The [`Cutter`] counts each byte of a layer that it gave away, and a cut is graceful: the client has all that was
//! counted. So the sum over all commands is the sum of the layers' sizes, to the byte.

use crate::harness::cutter::{Cut, Cutter, blob_bytes};
use crate::harness::registry::Registry;
use crate::harness::scene::{Scene, wait};
use crate::harness::tools::layers;
use crate::harness::tree::Tree;
use crate::place::retry;

/// A registry with one image of several layers, and what that is.
struct Source {
    scene: Scene,
    registry: Registry,
    layers: Vec<String>,
    /// Bytes of all layers.
    total: u64,
    tree: Tree,
}

impl Source {
    fn new(test: &str) -> Option<Self> {
        let scene = Scene::new(test, &[])?;
        let registry = Registry::open(&scene, "registry");
        let name = format!("{}/orchard:1", registry.host());
        scene.push("orchard:1", &[1, 2, 3], &name);
        let tree = scene.registry_tree(&name);
        let layers = layers(&scene.manifest(&name));
        let total = layers.iter().map(|(_, size)| size).sum();
        let layers = layers.into_iter().map(|(digest, _)| digest).collect();
        Some(Self { scene, registry, layers, total, tree })
    }

    /// As many cutting proxies, which skep may use.
    fn cutters(&self, count: usize) -> Vec<Cutter> {
        let cutters: Vec<_> = (0..count).map(|_| Cutter::start(self.registry.address, &self.layers)).collect();
        let hosts: Vec<String> = cutters.iter().map(Cutter::host).collect();
        self.scene.allow_plain(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
        cutters
    }

    /// A random offset between the first and the last byte.
    fn offset(&self) -> u64 {
        let mut bytes = [0; 8];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).unwrap();
        1 + u64::from_le_bytes(bytes) % (self.total - 1)
    }

    fn assert_complete(&self, store: &str, image: &str, cutter: &Cutter, offset: u64) {
        let log = cutter.take_log();
        assert_eq!(blob_bytes(&log), self.total, "cut at {offset} of {}: {log:#?}", self.total);
        self.tree.assert_same(&self.scene.skep_tree(store, image), &format!("cut at {offset}"));
        self.scene.ok(store, &["system", "check"]);
    }
}

#[test]
fn after_a_cut_anywhere_the_next_command_fetches_the_rest() {
    let Some(source) = Source::new("outage") else { return };
    let cutters = source.cutters(10);
    std::thread::scope(|threads| {
        for (number, cutter) in cutters.iter().enumerate() {
            let source = &source;
            threads.spawn(move || {
                let (store, image) = (format!("store-{number}"), format!("{}/orchard:1", cutter.host()));
                let offset = source.offset();
                cutter.cut(offset, Cut::Outage);
                source.scene.fails(&store, &["pull", "-q", &image], &[&cutter.host()]);
                assert!(cutter.is_cut(), "cut at {offset}");
                cutter.heal();
                source.scene.ok(&store, &["pull", "-q", &image]);
                source.assert_complete(&store, &image, cutter, offset);
            });
        }
    });
}

#[test]
fn after_a_cut_anywhere_the_same_command_goes_on() {
    let Some(source) = Source::new("cut") else { return };
    let cutters = source.cutters(10);
    std::thread::scope(|threads| {
        for (number, cutter) in cutters.iter().enumerate() {
            let source = &source;
            threads.spawn(move || {
                let (store, image) = (format!("store-{number}"), format!("{}/orchard:1", cutter.host()));
                let offset = source.offset();
                cutter.cut(offset, Cut::Once);
                source.scene.ok(&store, &["pull", "-q", &image]);
                assert!(cutter.is_cut(), "cut at {offset}");
                source.assert_complete(&store, &image, cutter, offset);
            });
        }
    });
}

#[test]
fn after_ctrl_c_or_a_kill_the_next_command_fetches_the_rest() {
    let Some(source) = Source::new("signal") else { return };
    let signals = ["INT", "TERM", "KILL", "INT"];
    let cutters = source.cutters(signals.len());
    std::thread::scope(|threads| {
        for (number, (cutter, signal)) in cutters.iter().zip(signals).enumerate() {
            let source = &source;
            threads.spawn(move || {
                let (store, image) = (format!("store-{number}"), format!("{}/orchard:1", cutter.host()));
                let offset = source.offset();
                cutter.cut(offset, Cut::Stall);
                let child = source.scene.spawn(&store, &["pull", "-q", &image]);
                retry(|| cutter.is_cut().then_some(()).ok_or("not yet cut"));
                // What was sent is on its way to the disk: only what has arrived there can be kept.
                retry(|| {
                    let kept = source.on_disk(&store);
                    (kept >= offset).then_some(()).ok_or(format!("{kept} of {offset}"))
                });
                source.scene.signal(&store, signal);
                let ended = wait(child, String::new());
                assert_ne!(ended.code, 0, "{ended:#?}");
                cutter.heal();
                source.scene.ok(&store, &["pull", "-q", &image]);
                source.assert_complete(&store, &image, cutter, offset);
            });
        }
    });
}

impl Source {
    /// Bytes of layers that a store has, whole or in part.
    fn on_disk(&self, store: &str) -> u64 {
        let files = self.scene.content(store);
        let layer = |path: &&String| {
            let place = path.starts_with("blobs/") || path.starts_with("partial/");
            place && self.layers.iter().any(|digest| path.contains(digest.trim_start_matches("sha256:")))
        };
        files.iter().filter(layer).map(|path| path.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}
