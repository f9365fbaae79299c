//! What the store keeps in order: `system check`, what goes by itself, and what `prune` takes.

use crate::harness::{Archive, IMAGE, Layer, Skep, busybox_archive, entries, retry};
use std::path::PathBuf;

/// The first file below a layer's tree.
fn file_of_a_layer(skep: &Skep) -> PathBuf {
    let layers = skep.root().join("layers");
    layers.join(&entries(&layers)[0]).join("tree/etc/passwd")
}

/// A small image with a label and, by `load`, a name.
fn load(skep: &Skep, name: &str, content: &str) {
    let config = serde_json::json!({"Labels": {"color": content}});
    let archive = Archive::new(name).layer(&Layer::new().file("f", content)).config(config);
    let path = skep.file("image.tar");
    archive.write(path.clone());
    skep.ok(["load", "-q", "-i", path.to_str().unwrap()]);
}

#[test]
fn damage_is_found_and_repaired_while_containers_run() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "alive"]);
    assert!(skep.ok(["system", "check"]).ends_with("read: all is intact"));
    assert_eq!(skep.ok(["system", "check", "-q"]), "");
    let file = file_of_a_layer(&skep);
    let content = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&content[..], b"mallory::0:0::/:/bin/sh\n"].concat()).unwrap();
    let found = skep.run(["system", "check"]);
    assert_eq!(found.code, 1, "{found:#?}");
    assert!(found.stdout.starts_with("layer sha256:") && found.stdout.contains("`/etc/passwd`"), "{found:#?}");
    assert!(skep.ok(["system", "check", "--quick"]).contains("records only: all is intact"));
    let json = skep.run(["system", "check", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json["Findings"][0]["Remedy"].as_str().unwrap().contains("--repair"), "{json}");
    let refused = skep.run(["system", "check", "--repair"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.stdout.contains("not repaired: container `") && refused.stdout.contains("stop it"), "{refused:#?}");
    assert_eq!(skep.ok(["exec", &id, "echo", "alive"]), "alive");
    skep.ok(["rm", "-f", &id]);
    assert!(skep.ok(["system", "check", "--repair"]).contains("repaired: unpacked again"));
    assert!(skep.ok(["system", "check"]).ends_with("all is intact"));
    assert_eq!(std::fs::read(file_of_a_layer(&skep)).unwrap(), content);
    assert_eq!(skep.ok(["run", "--rm", IMAGE, "echo", "whole"]), "whole");
}

#[test]
fn records_of_containers_are_looked_at_too() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "worker"]);
    let claims: Vec<PathBuf> =
        ["names", "ids"].map(|kind| skep.root().join(kind).join(&entries(&skep.root().join(kind))[0])).into();
    for claim in claims {
        std::fs::remove_file(&claim).unwrap();
        let found = skep.run(["system", "check"]);
        assert!(found.code == 1 && found.stdout.starts_with(&format!("container {id}: ")), "{found:#?}");
        assert!(skep.ok(["system", "check", "--repair"]).contains("repaired: claimed again"));
        assert!(claim.is_symlink());
    }
    let directory = skep.root().join("containers").join(&id);
    std::fs::write(directory.join("note"), "mine").unwrap();
    let found = skep.run(["system", "check", "--repair"]);
    assert!(found.code == 1 && found.stdout.contains("/note: is not part of the store"), "{found:#?}");
    std::fs::remove_file(directory.join("note")).unwrap();
    // Nobody knows what a container needs that cannot be read: nothing is collected then.
    let config = std::fs::read(directory.join("config.json")).unwrap();
    std::fs::write(directory.join("config.json"), "{").unwrap();
    let found = skep.run(["system", "check"]);
    assert!(found.code == 1 && found.stdout.contains("skep rm -f"), "{found:#?}");
    assert!(skep.fails(1, ["image", "prune", "-af"]).contains("config.json"));
    std::fs::write(directory.join("config.json"), config).unwrap();
    assert!(skep.ok(["system", "check"]).ends_with("all is intact"));
}

#[test]
fn pruning_images_by_label_and_age() {
    let skep = Skep::new();
    for content in ["red", "green", "blue"] {
        load(&skep, &format!("{content}:1"), content);
    }
    let left = || skep.ok(["images", "--format", "{{.Repository}}"]).lines().map(str::to_owned).collect::<Vec<_>>();
    skep.ok(["image", "prune", "-f"]);
    assert_eq!(left().len(), 3, "all have names");
    skep.ok(["image", "prune", "-af", "--filter", "label=color=red"]);
    assert!(left().len() == 2 && !left().contains(&"red".to_owned()), "{:?}", left());
    skep.ok(["image", "prune", "-af", "--filter", "label!=color=blue"]);
    assert_eq!(left(), ["blue"]);
    skep.ok(["image", "prune", "-af", "--filter", "until=1900-01-01T00:00:00Z"]);
    assert_eq!(left(), ["blue"]);
    assert!(skep.fails(1, ["image", "prune", "-af", "--filter", "moon=full"]).contains("moon"));
    let said = skep.ok(["image", "prune", "-af", "--filter", "until=1s"]);
    assert!(said.starts_with("Deleted Images:\nuntagged: blue:1\ndeleted: sha256:"), "{said}");
    assert_eq!(left(), Vec::<String>::new());
}

#[test]
fn a_system_prune_takes_what_is_not_used() {
    let skep = Skep::with_image();
    load(&skep, "unused:1", "unused");
    let running = skep.sleeper(&["-v", "/data"]);
    skep.ok(["run", "-v", "/old", "-v", "named:/named", IMAGE, "true"]);
    assert_eq!(skep.feed(b"n\n", ["system", "prune"]).code, 0);
    assert_eq!(skep.ok(["ps", "-aq"]).lines().count(), 2);
    let said = skep.ok(["system", "prune", "-f"]);
    assert!(said.contains("Deleted Containers:") && said.contains("Total reclaimed space:"), "{said}");
    assert_eq!(skep.ok(["ps", "-aq"]).lines().count(), 1);
    assert_eq!((entries(&skep.root().join("volumes")).len(), skep.ok(["images", "-q"]).lines().count()), (3, 2));
    let said = skep.ok(["system", "prune", "-af", "--volumes"]);
    assert!(said.contains("Deleted Volumes:") && said.contains("untagged: unused:1"), "{said}");
    let volumes = entries(&skep.root().join("volumes"));
    assert!(volumes.len() == 2 && volumes.contains(&"named".to_owned()), "{volumes:?}");
    assert_eq!(skep.ok(["images", "--format", "{{.Repository}}"]), "busybox");
    skep.ok(["system", "check"]);
    skep.ok(["rm", "-fv", &running]);
}

#[test]
fn garbage_goes_by_itself_after_a_while() {
    let skep = Skep::with_image();
    let settings = skep.file("config");
    std::fs::create_dir_all(&settings).unwrap();
    let configured = |text: &str, arguments: &[&str]| {
        std::fs::write(settings.join("skep.toml"), text).unwrap();
        let mut command = skep.command(arguments);
        command.env("SKEP_CONFIG", &settings);
        skep.finish(command)
    };
    let busybox = busybox_archive();
    let again = ["load", "-q", "-i", busybox.to_str().unwrap()];
    let collected = skep.root().join("collected");
    let long_ago = || {
        let day_before = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
        std::fs::File::options().write(true).open(&collected).unwrap().set_modified(day_before).unwrap();
    };
    load(&skep, "moving:1", "one");
    load(&skep, "moving:1", "two");
    let images = || skep.ok(["images", "-aq"]).lines().count();
    assert_eq!(images(), 3, "the first lost its name");
    assert_eq!(configured("[images]\ndangling_after = \"0s\"\n", &again).code, 0);
    assert_eq!(images(), 3, "the last collection was less than an hour ago");
    long_ago();
    assert_eq!(configured("[images]\ncollect = false\ndangling_after = \"0s\"\n", &again).code, 0);
    assert_eq!(images(), 3, "it is switched off");
    // It is seen to have no name, and stays for as long as the settings say.
    assert_eq!(configured("[images]\nfree_space = \"none\"\n", &again).code, 0);
    retry(|| match std::fs::read_to_string(&collected).unwrap().lines().count() {
        1 => Ok(()),
        more => Err(format!("{more} images are noted to have no name")),
    });
    assert_eq!(images(), 3);
    long_ago();
    assert_eq!(configured("[images]\ndangling_after = \"0s\"\n", &again).code, 0);
    retry(|| if images() == 2 { Ok(()) } else { Err("the image without a name is still there".to_owned()) });
    long_ago();
    let wrong = configured("[images]\n\ncolect = true\n", &again);
    assert_eq!(wrong.code, 0, "{wrong:#?}");
    assert!(wrong.stderr.contains("skep.toml`, line 3: unknown field `colect`"), "{wrong:#?}");
    let said = configured("[images]\nnamed_after = \"30d\"\n", &["info", "-f", "{{.ImageCollection}}"]).stdout;
    assert!(said.contains("unused named images after 30d"), "{said}");
    retry(|| if skep.run(["system", "check", "-q"]).code == 0 { Ok(()) } else { Err("damage".to_owned()) });
}
