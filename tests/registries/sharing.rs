//! Ten pulls of overlapping images at once, into one store: each blob is fetched and each layer unpacked once.

use crate::harness::orchard;
use crate::harness::registry::Registry;
use crate::harness::scene::{Scene, wait};
use std::collections::BTreeSet;

#[test]
fn ten_pulls_at_once_fetch_each_blob_once() {
    let Some(scene) = Scene::new("sharing", &[]) else { return };
    let registry = Registry::open(&scene, "registry");
    scene.allow_plain(&[&registry.host()]);
    // Every image has the first fruits, two images each a further one, and each image its own.
    let fruits = |number: u64| vec![1, 2, 3, 10 + number / 2, 20 + number];
    let image = |number: u64| format!("{}/orchard-{number}:1", registry.host());
    let mut blobs = BTreeSet::new();
    for number in 0..10 {
        scene.push(&format!("orchard-{number}:1"), &fruits(number), &image(number));
        let manifest = scene.manifest(&image(number));
        let all = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
        blobs.extend(all.map(|blob| blob["digest"].as_str().unwrap().to_owned()));
    }
    let pulls: Vec<_> = (0..10).map(|number| scene.spawn("one", &["pull", "-q", &image(number)])).collect();
    for pull in pulls {
        let ended = wait(pull, String::new());
        assert_eq!(ended.code, 0, "{ended:#?}");
    }
    let fetches = registry.fetches();
    assert_eq!(fetches.keys().cloned().collect::<BTreeSet<_>>(), blobs);
    assert!(fetches.values().all(|count| *count == 1), "{fetches:#?}");
    scene.ok("one", &["system", "check"]);
    for number in [0, 9] {
        let tree = scene.archive_tree(&orchard::image("orchard:1", &fruits(number)));
        tree.assert_same(&scene.skep_tree("one", &image(number)), "pulled beside nine others");
    }
}
