//! The trials' own tools, tried with skopeo and umoci as clients: what they say of skep is worth what they say here.

use crate::harness::cutter::{Cut, Cutter, blob_bytes};
use crate::harness::orchard;
use crate::harness::registry::{Guard, Registry};
use crate::harness::scene::Scene;
use crate::harness::token::{PASSWORD, TokenServer, USER};
use crate::harness::tools::layers;
use crate::harness::tree::Tree;
use std::path::Path;

#[test]
fn a_registry_with_each_guard_takes_and_gives_what_it_should() {
    let Some(scene) = Scene::new("guards", &[]) else { return };
    let archive = format!("docker-archive:{}", scene.image("apple:1", &[1]));
    let tokens = TokenServer::start(&scene.place);
    let credentials = format!("{USER}:{PASSWORD}");
    let cases = [("open", Guard::Nobody, false), ("password", Guard::Password, false)];
    let more = [("tls", Guard::Password, true), ("token", Guard::Token(&tokens), false)];
    for (name, guard, tls) in cases.into_iter().chain(more) {
        let registry = Registry::start(&scene, name, &guard, tls);
        let image = format!("docker://{}/secret/apple:1", registry.host());
        let certificates = scene.path(&format!("{name}.certificates"));
        std::fs::create_dir(&certificates).unwrap();
        if tls {
            std::fs::copy(registry.authority(), format!("{certificates}/ca.crt")).unwrap();
        }
        let verify = format!("--dest-tls-verify={tls}");
        let trust = ["--dest-cert-dir", &certificates];
        let copy = [&["skopeo", "copy", &verify], &trust[..], &[&archive, &image]].concat();
        let anonymous = scene.place.run(&copy);
        if matches!(guard, Guard::Nobody) {
            anonymous.ok();
        } else {
            assert_ne!(anonymous.code, 0, "{name}: nobody was asked");
            scene.tool(&[&copy[..], &["--dest-creds", &credentials]].concat());
        }
        assert!(registry.accesses().iter().any(|access| access.method == "PUT" && access.status == 201), "{name}");
    }
    let asked = tokens.take_asked();
    assert!(asked.iter().any(|asked| asked.user.as_deref() == Some(USER)), "{asked:?}");
}

#[test]
fn the_cutter_counts_and_cuts_to_the_byte() {
    let Some(scene) = Scene::new("cutter", &["curl"]) else { return };
    let registry = Registry::open(&scene, "registry");
    let image = format!("{}/apple:1", registry.host());
    scene.push("apple:1", &[1], &image);
    let (digest, size) = layers(&scene.manifest(&image)).pop().unwrap();
    let cutter = Cutter::start(registry.address, std::slice::from_ref(&digest));
    let url = format!("http://{}/v2/apple/blobs/{digest}", cutter.host());
    let out = scene.path("blob");
    let fetch = |range: &str| scene.place.run(&["curl", "-s", "-r", range, "-o", &out, &url]);
    cutter.cut(70_001, Cut::Outage);
    assert_eq!(fetch("0-").code, 18, "a partial file, for curl");
    assert_eq!(std::fs::metadata(&out).unwrap().len(), 70_001);
    assert_eq!(fetch("0-").code, 52, "an empty reply, for curl");
    cutter.heal();
    fetch("70001-").ok();
    assert_eq!(std::fs::metadata(&out).unwrap().len(), size - 70_001);
    let log = cutter.take_log();
    assert_eq!(blob_bytes(&log), size);
    assert_eq!(log.last().unwrap().range.as_deref(), Some("bytes=70001-"));
    assert_eq!(registry.fetches()[&digest], 2);
}

#[test]
fn the_digest_of_a_tree_sees_every_difference() {
    let Some(scene) = Scene::new("digest", &["python3"]) else { return };
    let make = r#"
scent() { python3 -c "import os, sys; os.${2}xattr('b', 'user.flower'${1:+, b'$1'})"; }
mkdir -p "$0/d" && cd "$0" && echo a >a && echo b >b && ln a d/a && ln -s a link && mknod null c 1 3
chmod 640 b && scent clover set && touch -h -d @1700000000 a b link null
"#;
    let tree = |name: &str, change: &str| {
        let directory = scene.path(name);
        scene.tool(&["bash", "-euc", &format!("{make}\n{change}"), &directory]);
        Tree::read(Path::new(&directory))
    };
    let first = tree("first", "");
    first.assert_same(&tree("same", "touch -d @1 ."), "made twice");
    let changes = [
        "echo c >b; touch -d @1700000000 b",
        "mv b c",
        "chmod 4755 b",
        "chown 1:0 b",
        "chown -h 0:1 link",
        "scent rose set",
        "scent '' remove",
        "ln -sf b link; touch -h -d @1700000000 link",
        "rm d/a; cp -p a d/a",
        "rm null; mknod null c 1 5; touch -d @1700000000 null",
        "touch -d @1 b",
        "mkdir e",
        "chmod 700 d",
    ];
    for (number, change) in changes.iter().enumerate() {
        assert_ne!(first.digest(), tree(&format!("change{number}"), change).digest(), "{change}");
    }
}

#[test]
fn an_image_survives_skopeo_and_umoci() {
    let Some(scene) = Scene::new("survives", &[]) else { return };
    let registry = Registry::open(&scene, "registry");
    let image = format!("{}/orchard:1", registry.host());
    scene.push("orchard:1", &[1], &image);
    scene.ok("one", &["load", "-i", &scene.image("orchard:1", &[1])]);
    let before = scene.archive_tree(&orchard::image("orchard:1", &[1]));
    before.assert_same(&scene.registry_tree(&image), "umoci after a registry");
    before.assert_same(&scene.skep_tree("one", "orchard:1"), "skep after a load");
    let fetches = registry.fetches();
    assert!(fetches.len() >= 4 && fetches.values().all(|count| *count == 1), "{fetches:?}");
}
