//! The same content is the same image: layer, configuration and manifest, whoever makes it, wherever and whenever.

use crate::harness::{Archive, Layer, Skep, busybox_layer, sh};
use serde_json::{Value, json};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

fn base() -> Archive {
    let layer = busybox_layer().directory("srv").file("srv/gone", "x").directory("srv/full").file("srv/full/old", "y");
    Archive::new("base:1").layer(&layer).layer(&Layer::new().file("srv/two", "z")).config(json!({"Env": ["PATH=/bin"]}))
}

/// A home of its own with the base image.
fn home() -> Skep {
    let skep = Skep::new();
    let archive = base().write(skep.file("base.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    skep
}

/// The digests of an image's configuration, manifest and top layer, and what its manifest and configuration say.
fn digests(skep: &Skep, image: &str) -> (Vec<String>, Value, Value) {
    let blob = |digest: &str| -> Value {
        let path = skep.root().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let manifest_digest = skep.inspect(image, "{{.Descriptor.digest}}");
    let manifest = blob(&manifest_digest);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let config_digest = text(&manifest["config"]["digest"]);
    let layer = text(&manifest["layers"].as_array().unwrap().last().unwrap()["digest"]);
    let config = blob(&config_digest);
    println!("{}", sh(&format!("tar --full-time -tvf {}/blobs/sha256/{}", skep.root().display(), &layer[7..])));
    (vec![config_digest, manifest_digest, layer], manifest, config)
}

const CONTENT: &str = "mkdir -p /srv/new; echo one > /srv/new/one; echo two > /srv/new/two; ln /srv/new/one /srv/new/three; \
    ln -s one /srv/new/link; mkfifo /srv/pipe; chown 7:8 /srv/new/link /srv/new/two; chmod 4750 /srv/new/two; rm /srv/gone; \
    rm -r /srv/full; mkdir /srv/full; echo new > /srv/full/new";
const REVERSED: &str = "rm -r /srv/full; mkdir /srv/full; echo new > /srv/full/new; rm /srv/gone; mkfifo /srv/pipe; mkdir /srv/new; \
    echo two > /srv/new/two; ln -s one /srv/new/link; echo one > /srv/new/three; ln /srv/new/three /srv/new/one; \
    chown 7:8 /srv/new/link /srv/new/two; chmod 4750 /srv/new/two";

#[test]
fn the_same_content_committed_in_two_homes_is_the_same_image() {
    // The link's own time too: busybox's touch follows links without -h.
    let times = "find /srv/new /srv/full /srv/pipe ! -type d -exec touch -h -d '2021-03-04 05:06:07' {} +; \
                 find /srv -depth -type d -exec touch -d '2021-03-04 05:06:07' {} +";
    let commit = |script: &str, name: &str| {
        let skep = home();
        // One program for both: the history tells what it was.
        let id = skep.ok(["run", "-d", "--hostname", name, "--name", name, "base:1", "sleep", "1000"]);
        skep.ok(["exec", &id, "sh", "-ec", &format!("{script}; {times}")]);
        skep.ok(["commit", "-m", "said", "-a", "someone", "-c", "LABEL a=b", &id, "made:1"]);
        skep.ok(["rm", "-f", &id]);
        digests(&skep, "made:1")
    };
    let (one, manifest, config) = commit(CONTENT, "first");
    sleep(Duration::from_millis(1100));
    let (other, other_manifest, other_config) = commit(REVERSED, "second");
    assert_eq!((&manifest, &config), (&other_manifest, &other_config));
    assert_eq!(one, other);
    // The base is newer than what was changed.
    assert_eq!(config["created"], "2024-01-02T03:04:05Z");
    let text = config.to_string() + &manifest.to_string();
    assert!(!text.contains("first") && !text.contains("Hostname"), "{text}");
}

#[test]
fn source_date_epoch_is_the_newest_time() {
    let commit = |script: &str, name: &str| {
        let skep = home();
        let id = skep.ok(["run", "-d", "--name", name, "base:1", "sleep", "1000"]);
        skep.ok(["exec", &id, "sh", "-ec", &format!("{script}; touch -d '2001-02-03 04:05:06' /srv/full/new")]);
        let mut command = skep.command(["commit", &id, "made:1"]);
        let output = skep.finish({
            command.env("SOURCE_DATE_EPOCH", "1700000000");
            command
        });
        assert_eq!(output.code, 0, "{output:#?}");
        let mut command = skep.command(["commit", &id, "made:2"]);
        command.env("SOURCE_DATE_EPOCH", "yesterday");
        let refused = skep.finish(command);
        assert!(refused.code != 0 && refused.stderr.contains("SOURCE_DATE_EPOCH"), "{refused:#?}");
        skep.ok(["rm", "-f", &id]);
        let show = ["run", "--rm", "made:1", "stat", "-c", "%Y %n", "/srv/new/one", "/srv/full/new"];
        assert_eq!(skep.ok(show), "1700000000 /srv/new/one\n981173106 /srv/full/new");
        digests(&skep, "made:1")
    };
    let (one, _, config) = commit(CONTENT, "first");
    sleep(Duration::from_millis(1100));
    let (other, ..) = commit(REVERSED, "second");
    assert_eq!(one, other);
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn without_it_the_newest_change_says_when() {
    let skep = home();
    let id = skep.ok(["run", "-d", "base:1", "sleep", "1000"]);
    let script = "echo x > /srv/late; touch -d '2099-01-01 00:00:00' /srv/late";
    skep.ok(["exec", &id, "sh", "-ec", script]);
    skep.ok(["commit", &id, "made:1"]);
    skep.ok(["rm", "-f", &id]);
    let (_, _, config) = digests(&skep, "made:1");
    assert_eq!(config["created"], "2099-01-01T00:00:00Z");
    assert_eq!(config["history"].as_array().unwrap().last().unwrap()["created"], "2099-01-01T00:00:00Z");
}
