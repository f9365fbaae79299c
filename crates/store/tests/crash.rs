//! `load` killed at any moment: the next command works, and nothing is left. Runs as root.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use store::{Digest, Input, Quiet, Store, load};
use support::{Scratch, Tar};

const ROUNDS: u64 = 24;

/// Not a test of its own: what the other one starts and kills.
#[test]
fn load_and_end() {
    let Ok(root) = std::env::var("SKEP_TEST_CRASH") else { return };
    let store = Store::open(&Path::new(&root).join("store")).unwrap();
    load(&store, Input::Path(Path::new(&root).join("image.tar")), &mut Quiet).unwrap();
}

fn archive(root: &Path) {
    let mut tar = Tar::new();
    let (mut diff_ids, mut names) = (Vec::new(), Vec::new());
    for layer in 0..4 {
        let mut content = Tar::new();
        for number in 0..300 {
            content.file(&format!("d{number}/f"), &vec![layer; 20_000]);
        }
        let content = content.end();
        diff_ids.push(format!("\"{}\"", Digest::of(&content)));
        names.push(format!("\"{layer}.tar\""));
        tar.file(&format!("{layer}.tar"), &content);
    }
    let diff_ids = diff_ids.join(",");
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#);
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["image"],"Layers":[{}]}}]"#, names.join(","));
    tar.file("c.json", config.as_bytes()).file("manifest.json", manifest.as_bytes());
    fs::write(root.join("image.tar"), tar.end()).unwrap();
}

fn start(root: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "load_and_end"])
        .env("SKEP_TEST_CRASH", root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_load_can_be_killed_at_any_moment() {
    if std::env::var("SKEP_TEST_CRASH").is_ok() {
        return;
    }
    let scratch = Scratch::new("crash");
    archive(&scratch.0);
    let begun = std::time::Instant::now();
    assert!(start(&scratch.0).wait().unwrap().success());
    let whole = begun.elapsed();
    fs::remove_dir_all(scratch.path("store")).unwrap();
    for round in 0..ROUNDS {
        let mut child = start(&scratch.0);
        std::thread::sleep(whole * u32::try_from(round).unwrap() / u32::try_from(ROUNDS).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let store = scratch.store();
        // An index.json that names an image names one that is whole.
        for image in store.images().unwrap() {
            let image = store.image(&image.manifest).unwrap();
            assert!(image.layers.iter().all(|layer| store.layer_tree(layer).join("d299/f").exists()));
        }
        if round % 8 == 7 {
            fs::remove_dir_all(scratch.path("store")).unwrap();
        }
    }
    let store = scratch.store();
    load(&store, Input::Path(scratch.path("image.tar")), &mut Quiet).unwrap();
    // The killed loads' processes die with them, at once but not before this one goes on.
    for _ in 0..100 {
        store.sweep().unwrap();
        if fs::read_dir(store.root().join("leases")).unwrap().count() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read_dir(store.root().join("leases")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 4);
    assert_eq!(fs::read_dir(store.root().join("blobs/sha256")).unwrap().count(), 6);
}
