//! A registry that lies: a clear error in one line, and nothing of it is left.
//!
//! Each lie has its own registry and its own store, all at once: some are answered by trying again, which takes a while.

use crate::harness::http::dead_host;
use crate::harness::liar::{Liar, Lie};
use crate::harness::scene::Scene;

/// What is pulled from a registry.
fn image(liar: &Liar) -> String {
    format!("{}/lie:1", liar.host())
}

/// Lies that are found out, with what the error says.
fn lies() -> Vec<(Lie, &'static [&'static str])> {
    let json: &[(&str, &str)] = &[("Content-Type", "application/json")];
    vec![
        (Lie::WrongLayer, &["is refused"]),
        (Lie::WrongConfig, &["is refused"]),
        (Lie::WrongManifestDigest, &["belongs"]),
        (Lie::OtherManifest, &["belongs"]),
        (Lie::ShortLayer, &["where 302080 belong"]),
        (Lie::CutLayer, &["was cut"]),
        (Lie::EndlessLayer, &["sends more than"]),
        (Lie::LongLayer, &["where 302080 belong"]),
        (Lie::EndlessManifest, &["sends more than"]),
        (Lie::HugeManifest, &["sends more than"]),
        (Lie::Html, &["a web page"]),
        (Lie::HtmlLayer, &["sha256:", "a web page"]),
        (Lie::BrokenJson, &["manifest"]),
        (Lie::DeepJson, &["manifest"]),
        (Lie::NegativeSize, &["integer `-1`"]),
        (Lie::Status("429 Too Many Requests", &[("Retry-After", "86400")]), &["429"]),
        (Lie::Status("500 Internal Server Error", &[]), &["500"]),
        (Lie::Status("404 Not Found", json), &["no such tag"]),
        (Lie::Status("403 Forbidden", json), &["403"]),
        (Lie::Status("401 Unauthorized", json), &["401"]),
        (
            Lie::Status("401 Unauthorized", &[("WWW-Authenticate", "Bearer realm=\"file:///etc/passwd\"")]),
            &["token server"],
        ),
        (Lie::Status("401 Unauthorized", &[("WWW-Authenticate", "Bearer realm=\"\",,,=\"")]), &["token server"]),
        (Lie::LayerStatus("404 Not Found", json), &["sha256:"]),
        (Lie::LayerStatus("500 Internal Server Error", &[]), &["500"]),
        (Lie::Schema1, &["schema 1"]),
        (Lie::Ambiguous, &["ambiguous"]),
        (Lie::IndexOnly, &["belongs"]),
        (Lie::RedirectLoop, &["redirect"]),
        (Lie::RedirectToFile, &["is not an http or https address"]),
        (Lie::Elsewhere(dead_host()), &["connection refused"]),
        (Lie::BadContentRange, &["another part than asked for"]),
        (Lie::Foreign, &["foreign"]),
        (Lie::WrongDiffId, &["unpacks to"]),
        (Lie::MoreLayers, &["layers"]),
    ]
}

#[test]
fn each_lie_is_an_error_that_leaves_nothing() {
    let Some(scene) = Scene::new("lies", &[]) else { return };
    let liars: Vec<_> = lies().into_iter().map(|(lie, parts)| (Liar::start(lie.clone()), lie, parts)).collect();
    let hosts: Vec<String> = liars.iter().map(|(liar, ..)| liar.host()).collect();
    scene.allow_plain(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let small = scene.image("small:1", &[]);
    let failed = std::thread::scope(|threads| {
        let told: Vec<_> = liars
            .iter()
            .enumerate()
            .map(|(number, (liar, lie, parts))| {
                let (scene, small) = (&scene, &small);
                threads.spawn(move || tell(scene, &format!("store-{number}"), small, liar, lie, parts))
            })
            .collect();
        told.into_iter().filter_map(|told| told.join().unwrap().err()).collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "{} of them:\n{}", failed.len(), failed.join("\n"));
}

fn tell(scene: &Scene, store: &str, small: &str, liar: &Liar, lie: &Lie, parts: &[&str]) -> Result<(), String> {
    scene.ok(store, &["load", "-q", "-i", small]);
    let before = scene.content(store);
    let ended = scene.skep(store, &["pull", "-q", &image(liar)]);
    let (message, asked) = (ended.stderr.trim_end().to_owned(), liar.requests().len());
    let wrong = |what: &str| Err(format!("{lie:?}: {what}: `{message}` (code {}, {asked} requests)", ended.code));
    if ended.code <= 0 || ended.code > 125 {
        return wrong("it should fail");
    }
    if message.lines().count() != 1 || message.contains("panicked") || message.len() > 600 {
        return wrong("not one line");
    }
    if let Some(part) = parts.iter().find(|part| !message.contains(*part)) {
        return wrong(&format!("`{part}` is not in the message"));
    }
    // The host that lied, or what it lied about.
    if ![liar.host().as_str(), "sha256:"].iter().any(|object| message.contains(object)) {
        return wrong("what is it about?");
    }
    // A registry that only broke off may be better the next time: what was good so far is kept for it.
    let kept = if *lie == Lie::CutLayer { &["partial/"][..] } else { &[] };
    let is_kept = |path: &&String| kept.iter().any(|kept| path.starts_with(kept));
    let after = scene.content(store);
    let left: Vec<_> = after.iter().filter(|path| !before.contains(path) && !is_kept(path)).collect();
    if !left.is_empty() || before.iter().any(|path| !after.contains(path)) {
        return wrong(&format!("this is left: {left:?}"));
    }
    scene.ok(store, &["system", "check"]);
    // Unless somebody wants the room.
    scene.ok(store, &["image", "prune", "-f"]);
    let pruned = scene.content(store);
    if let Some(path) = pruned.iter().find(|path| !before.contains(path)) {
        return wrong(&format!("`{path}` is left by a prune"));
    }
    Ok(())
}

#[test]
fn what_is_odd_but_no_lie_is_taken() {
    let Some(scene) = Scene::new("odd", &[]) else { return };
    let soon: &[(&str, &str)] = &[("Retry-After", "1")];
    let odd = [
        Lie::Honest,
        Lie::AtFirst(2, "429 Too Many Requests", soon),
        Lie::AtFirst(1, "500 Internal Server Error", &[]),
        Lie::AtFirst(1, "503 Service Unavailable", soon),
        Lie::IgnoresRange,
        Lie::SlowDrip,
        Lie::Artifact,
        Lie::ShortTokens,
    ];
    let liars: Vec<_> = odd.iter().map(|lie| Liar::start(lie.clone())).collect();
    let hosts: Vec<String> = liars.iter().map(Liar::host).collect();
    scene.allow_plain(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    std::thread::scope(|threads| {
        for (number, (liar, lie)) in liars.iter().zip(&odd).enumerate() {
            let scene = &scene;
            threads.spawn(move || {
                let ended = scene.skep(&format!("store-{number}"), &["pull", "-q", &image(liar)]);
                assert_eq!(ended.code, 0, "{lie:?}: {ended:#?}");
                scene.ok(&format!("store-{number}"), &["system", "check"]);
            });
        }
    });
}

#[test]
fn a_redirect_takes_no_credentials_along() {
    let Some(scene) = Scene::new("redirect", &[]) else { return };
    let elsewhere = Liar::start(Lie::Honest);
    let liar = Liar::start(Lie::Elsewhere(elsewhere.host()));
    scene.allow_plain(&[&liar.host(), &elsewhere.host()]);
    let secret = "YmVlOmhvbmV5";
    let auths = serde_json::json!({"auths": {liar.host(): {"auth": secret}, elsewhere.host(): {"auth": secret}}});
    scene.home(".docker/config.json", &auths.to_string());
    scene.ok("one", &["pull", "-q", &image(&liar)]);
    let there = elsewhere.requests();
    assert!(there.iter().any(|request| request.blob().is_some()), "{there:#?}");
    for request in &there {
        assert!(request.headers.iter().all(|(_, value)| !value.contains(secret)), "{request:#?}");
        assert_eq!(request.header("authorization"), None, "{request:#?}");
    }
}
