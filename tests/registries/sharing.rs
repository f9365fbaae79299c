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

#[test]
fn ten_pulls_of_one_image_fetch_each_blob_once() {
    let Some(scene) = Scene::new("one-image", &[]) else { return };
    let registry = Registry::open(&scene, "registry");
    scene.allow_plain(&[&registry.host()]);
    let image = format!("{}/orchard:1", registry.host());
    scene.push("orchard:1", &[1, 2, 3], &image);
    let manifest = scene.manifest(&image);
    let blobs = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    let blobs: BTreeSet<String> = blobs.map(|blob| blob["digest"].as_str().unwrap().to_owned()).collect();
    let pulls: Vec<_> = (0..10).map(|_| scene.spawn("one", &["pull", "-q", &image])).collect();
    for pull in pulls {
        let ended = wait(pull, String::new());
        assert_eq!(ended.code, 0, "{ended:#?}");
    }
    let fetches = registry.fetches();
    assert_eq!(fetches.keys().cloned().collect::<BTreeSet<_>>(), blobs);
    assert!(fetches.values().all(|count| *count == 1), "{fetches:#?}");
    scene.ok("one", &["system", "check"]);
}

#[test]
fn pulls_and_prunes_at_once_take_nothing_from_each_other() {
    let Some(scene) = Scene::new("prunes", &[]) else { return };
    let registry = Registry::open(&scene, "registry");
    let image = |number: u64| format!("{}/orchard-{number}:1", registry.host());
    for number in 0..3 {
        scene.push(&format!("orchard-{number}:1"), &[1, 2, 10 + number], &image(number));
    }
    let tree = scene.archive_tree(&orchard::image("orchard:1", &[1, 2, 10]));
    for round in 0..4 {
        // One layer is there already, and is let go of while the others want it.
        scene.ok("one", &["pull", "-q", &image(2)]);
        let pulls: Vec<_> = (0..2).map(|number| scene.spawn("one", &["pull", "-q", &image(number)])).collect();
        scene.ok("one", &["rmi", &image(2)]);
        for _ in 0..4 {
            scene.ok("one", &["image", "prune", "-f"]);
        }
        for pull in pulls {
            let ended = wait(pull, String::new());
            assert_eq!(ended.code, 0, "round {round}: {ended:#?}");
        }
        scene.ok("one", &["image", "prune", "-f"]);
        scene.ok("one", &["system", "check"]);
        tree.assert_same(&scene.skep_tree("one", &image(0)), &format!("round {round}"));
        scene.ok("one", &["rmi", &image(0), &image(1)]);
    }
}
