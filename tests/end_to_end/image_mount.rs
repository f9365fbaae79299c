//! `image mount`: an image's tree on the host, and what it keeps from being removed.

use crate::harness::{Archive, IMAGE, Layer, Skep, busybox_layer, sh};
use std::fs;
use std::path::Path;

fn is_mounted(path: &str) -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|line| line.split(' ').nth(4) == Some(path))
}

/// An image of two layers, the second with a deletion.
fn layered(skep: &Skep) {
    let lower = busybox_layer().directory("srv").file("srv/gone", "a").file("srv/kept", "b");
    let upper = Layer::new().file("srv/.wh.gone", "").file("srv/new", "c");
    let archive = Archive::new("layered:1").layer(&lower).layer(&upper).write(skep.file("layered.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
}

#[test]
fn an_image_is_mounted_read_only_until_it_is_unmounted() {
    let skep = Skep::with_image();
    layered(&skep);
    assert_eq!(skep.ok(["image", "mount"]).lines().count(), 1, "only the headings");
    let path = skep.ok(["image", "mount", "layered:1"]);
    assert!(is_mounted(&path) && path.starts_with(skep.run_root().to_str().unwrap()), "{path}");
    assert_eq!(sh(&format!("ls {path}/srv; cat {path}/srv/new")), "kept\nnew\nc");
    assert!(!Path::new(&path).join("proc/self").exists() && !Path::new(&path).join(".dockerenv").exists());
    assert!(fs::write(Path::new(&path).join("srv/kept"), "x").is_err(), "read-only");
    let options = sh(&format!("findmnt -no OPTIONS {path}"));
    assert!(["ro", "nosuid", "nodev"].iter().all(|word| options.contains(word)), "{options}");

    // Again: the same place, one mount.
    assert_eq!(skep.ok(["image", "mount", "layered:1"]), path);
    let list = skep.ok(["image", "mount", "--format", "{{.Image}} {{.Path}}"]);
    assert_eq!(list, format!("layered:1 {path}"));

    // In use: by name, by id, by force, by prune.
    let id = skep.ok(["images", "-q", "--no-trunc", "layered"]);
    let error = skep.fails(1, ["rmi", "layered:1"]);
    assert!(error.contains(&format!("mount `{path}`")), "{error}");
    skep.fails(1, ["rmi", "-f", &id]);
    skep.ok(["image", "prune", "-a", "-f"]);
    assert_eq!(sh(&format!("cat {path}/srv/new")), "c");

    assert_eq!(skep.ok(["image", "unmount", "layered:1"]), path);
    assert!(!is_mounted(&path) && !Path::new(&path).exists());
    assert_eq!(skep.ok(["image", "unmount", "layered:1"]), "", "nothing is left to do");
    skep.ok(["rmi", "layered:1"]);
}

#[test]
fn a_directory_of_the_callers_and_an_image_of_one_layer() {
    let skep = Skep::with_image();
    layered(&skep);
    let place = skep.file("a place");
    skep.fails(1, ["image", "mount", IMAGE, place.to_str().unwrap()]);
    fs::create_dir(&place).unwrap();
    let shown = skep.ok(["image", "mount", IMAGE, place.to_str().unwrap()]);
    assert_eq!(shown, place.to_str().unwrap());
    assert!(place.join("bin/busybox").exists());
    assert!(fs::write(place.join("new"), "x").is_err(), "read-only");
    skep.ok(["image", "mount", IMAGE, place.to_str().unwrap()]);
    let error = skep.fails(1, ["image", "mount", "layered:1", place.to_str().unwrap()]);
    assert!(error.contains("unmount it first"), "{error}");

    // Somebody is in it.
    let other = skep.ok(["image", "mount", IMAGE]);
    let file = fs::File::open(place.join("bin")).unwrap();
    let error = skep.fails(1, ["image", "unmount", place.to_str().unwrap()]);
    assert!(error.contains("--force"), "{error}");
    drop(file);
    skep.ok(["image", "unmount", "--all"]);
    assert!(!is_mounted(&other) && place.exists() && fs::read_dir(&place).unwrap().next().is_none());
    skep.fails(1, ["image", "unmount", "no-such-image"]);
    skep.fails(1, ["image", "unmount"]);
}
