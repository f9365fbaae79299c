//! The catalog of images is derived: whatever becomes of it, the list is right.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs;

use ground::{Ground, image};
use store::collect::{InUse, remove};
use store::{ImageSummary, Reference};

fn list(ground: &Ground) -> Vec<(String, u64, Vec<String>)> {
    let line = |image: ImageSummary| {
        let names = image.names.iter().map(ToString::to_string).collect();
        (image.id.to_string(), image.size, names)
    };
    ground.store.images().unwrap().into_iter().map(line).collect()
}

#[test]
fn the_list_is_right_with_and_without_the_catalog() {
    let Some(ground) = Ground::new() else { return };
    let catalog = ground.store.root().join("catalog.json");
    assert!(list(&ground).is_empty() && !catalog.exists());
    image(&ground, "one:1", "echo 1 > one");
    image(&ground, "two:1", "echo 22 > two");
    let first = list(&ground);
    assert_eq!(first.len(), 2);
    let written = fs::read(&catalog).unwrap();
    assert_eq!(list(&ground), first);
    assert_eq!(fs::read(&catalog).unwrap(), written);
    // No document is read for it: a thousand images would have two thousand of them.
    let config = ground.store.blob_path(&ground.store.resolve("one:1").unwrap().id.0);
    let bytes = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    assert_eq!(list(&ground), first);
    fs::write(&config, bytes).unwrap();

    // Names are never taken from it.
    ground.store.tag("one:1", &Reference::parse("uno").unwrap()).unwrap();
    let names: Vec<_> = list(&ground).into_iter().flat_map(|(_, _, names)| names).collect();
    assert!(names.contains(&"uno:latest".to_owned()) && names.len() == 3, "{names:?}");

    // Damaged, foreign, or not ours to write: the same list, and it is made anew.
    for wrong in [&b"{"[..], b"{}", br#"{"version":9,"platform":"linux/amd64","images":{}}"#, b"\xff\0"] {
        fs::write(&catalog, wrong).unwrap();
        assert_eq!(list(&ground).len(), 2);
        assert_eq!(fs::read(&catalog).unwrap(), written);
    }
    // Whoever changes the store is not waited for.
    fs::remove_file(&catalog).unwrap();
    let lock = ground.store.lock_exclusive().unwrap();
    assert_eq!(list(&ground).len(), 2);
    assert!(!catalog.exists());
    drop(lock);
    assert_eq!(list(&ground).len(), 2);

    let none = || Ok(InUse::default());
    for name in ["uno", "one:1"] {
        remove(&ground.store, name, false, none).unwrap();
    }
    assert_eq!(list(&ground).len(), 1);
    assert!(fs::read(&catalog).unwrap().len() < written.len());
    remove(&ground.store, "two:1", false, none).unwrap();
    assert!(list(&ground).is_empty() && !catalog.exists());
}

#[test]
fn an_image_whose_documents_are_gone_is_not_listed() {
    let Some(ground) = Ground::new() else { return };
    let one = image(&ground, "one:1", "echo 1 > one");
    assert_eq!(list(&ground).len(), 1);
    fs::remove_file(ground.store.blob_path(&one.manifest)).unwrap();
    assert!(list(&ground).is_empty());
}
