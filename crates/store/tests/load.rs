//! Images in all forms that tools write, and forms that mean harm. Runs as root; skopeo is the other side.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use failure::Kind;
use store::{Digest, Image, Input, Loaded, Quiet, Reference, Store, load, load_layout};
use support::{Scratch, Tar, assert_nothing_left, assert_same_tree, has, shell};

/// A docker-archive of three layers, two of them the same, and the trees they unpack to.
struct Sample {
    archive: PathBuf,
    config: Digest,
    trees: Vec<PathBuf>,
}

fn sample(scratch: &Scratch) -> Sample {
    let root = scratch.0.display();
    shell(&format!(
        r#"cd {root}; mkdir -p in t1/bin t1/etc t2/etc
        head -c 2000000 /dev/urandom > t1/bin/tool; chmod 4755 t1/bin/tool; echo 1 > t1/etc/conf; ln -s tool t1/bin/link
        echo 2 > t2/etc/conf; chown 5:6 t2/etc/conf
        touch -d '2020-01-01 00:00:00.5' t1/bin/tool t1/etc/conf t1/bin t1/etc t1 t2/etc/conf t2/etc t2; touch -h -d 2020-01-02 t1/bin/link
        tar -C t1 --format=posix -cf in/one.tar . ; tar -C t2 --format=posix -cf in/two.tar ."#
    ));
    let layers = ["one.tar", "two.tar", "two.tar"];
    let digest = |name: &str| Digest::of(&fs::read(scratch.path("in").join(name)).unwrap());
    let diff_ids: Vec<String> = layers.iter().map(|name| format!("\"{}\"", digest(name))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux", "odd spacing" : 1,"created":"2020-01-01T00:00:00Z","config":{{"Cmd":["/bin/tool"],"Labels":{{"a":"b"}}}},"rootfs":{{"type":"layers","diff_ids":[{}]}},"history":[]}}"#,
        diff_ids.join(",")
    );
    let id = Digest::of(config.as_bytes());
    fs::write(scratch.path("in").join(format!("{}.json", id.hex())), &config).unwrap();
    let manifest = format!(
        r#"[{{"Config":"{}.json","RepoTags":["sample:1","team/app:v2"],"Layers":["one.tar","two.tar","two.tar"]}}]"#,
        id.hex()
    );
    fs::write(scratch.path("in/manifest.json"), manifest).unwrap();
    // As Docker does, what names the rest comes last.
    shell(&format!("cd {root}/in; tar -cf ../docker.tar one.tar two.tar *.json"));
    let trees = ["t1", "t2", "t2"].iter().map(|name| scratch.path(name)).collect();
    Sample { archive: scratch.path("docker.tar"), config: id, trees }
}

fn load_file(store: &Store, path: &Path) -> failure::Result<Vec<Loaded>> {
    load(store, Input::Path(path.to_owned()), &mut Quiet)
}

fn check(store: &Store, name: &str, sample: &Sample) -> Image {
    let image = store.resolve(name).unwrap();
    assert_eq!(image.id.0, sample.config);
    assert_eq!(image.layers.len(), sample.trees.len());
    for (layer, tree) in image.layers.iter().zip(&sample.trees) {
        assert_same_tree(tree, &store.layer_tree(layer));
    }
    for blob in &image.blobs {
        assert_eq!(fs::metadata(store.blob_path(&blob.digest)).unwrap().len(), blob.size);
    }
    image
}

#[test]
fn a_docker_archive_keeps_its_id_and_its_names() {
    let scratch = Scratch::new("docker");
    let (sample, store) = (sample(&scratch), scratch.store());
    let loaded = load_file(&store, &sample.archive).unwrap();
    assert_eq!(loaded[0].id.0, sample.config);
    let image = check(&store, "sample:1", &sample);
    assert_eq!(image.names, [Reference::parse("sample:1").unwrap(), Reference::parse("team/app:v2").unwrap()]);
    for text in ["team/app:v2", &sample.config.hex(), &sample.config.hex()[..6], &sample.config.to_string()] {
        assert_eq!(store.resolve(text).unwrap().id, image.id, "{text}");
    }
    for text in ["sample", "nothing", "ffffffff", "UPPER"] {
        assert!(store.resolve(text).is_err(), "{text}");
    }
    assert_eq!(store.resolve("nothing").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(fs::read_dir(store.root().join("leases")).unwrap().count(), 0);
    // Loading it again changes nothing.
    let before = fs::read(store.root().join("index.json")).unwrap();
    load_file(&store, &sample.archive).unwrap();
    assert_eq!(fs::read(store.root().join("index.json")).unwrap(), before);
    let summary = &store.images().unwrap()[0];
    assert_eq!((summary.names.len(), summary.size), (2, 2_000_002 + 2 + 2));
    assert_eq!(summary.labels, [("a".to_owned(), "b".to_owned())]);
    store.tag("sample:1", &Reference::parse("other").unwrap()).unwrap();
    assert_eq!(store.resolve("other").unwrap().id, image.id);
}

#[test]
fn every_way_in_gives_the_same_image() {
    let scratch = Scratch::new("ways");
    let sample = sample(&scratch);
    let root = scratch.0.display();
    shell(&format!("cd {root}; gzip -1 -k docker.tar; zstd -q docker.tar || python3 -c 'pass'"));
    let compressed = ["docker.tar.gz", "docker.tar.zst"].map(|name| scratch.path(name));
    for archive in compressed.iter().filter(|path| path.exists()) {
        let store = Store::open(&archive.with_extension("store")).unwrap();
        load_file(&store, archive).unwrap();
        check(&store, "sample:1", &sample);
        assert_eq!(fs::read_dir(store.root().join("blobs/sha256")).unwrap().count(), 4, "no more than the image needs");
    }
    let store = Store::open(&scratch.path("pipe.store")).unwrap();
    let mut cat = Command::new("cat").arg(&sample.archive).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = std::os::fd::OwnedFd::from(cat.stdout.take().unwrap());
    load(&store, Input::Open(pipe.into(), "standard input".into()), &mut Quiet).unwrap();
    cat.wait().unwrap();
    check(&store, "sample:1", &sample);
    if !has("skopeo") {
        return;
    }
    for (form, file) in [("oci-archive", "oci.tar"), ("docker-archive", "again.tar"), ("oci", "layout")] {
        shell(&format!("cd {root}; skopeo copy -q docker-archive:docker.tar:sample:1 {form}:{file}:sample:1"));
        let store = Store::open(&scratch.path(&format!("{file}.store"))).unwrap();
        match form {
            "oci" => load_layout(&store, &scratch.path(file), Some("sample:1"), None, &mut Quiet).map(drop).unwrap(),
            _ => load_file(&store, &scratch.path(file)).map(drop).unwrap(),
        }
        // skopeo writes the configuration anew when it changes the form.
        let image = store.resolve("sample:1").unwrap();
        for (layer, tree) in image.layers.iter().zip(&sample.trees) {
            assert_same_tree(tree, &store.layer_tree(layer));
        }
        assert_eq!(image.layers.len(), 3);
    }
    let missing = load_layout(&store, &scratch.path("layout"), Some("other:1"), None, &mut Quiet).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
}

#[test]
fn other_tools_read_the_store() {
    if !has("skopeo") {
        return;
    }
    let scratch = Scratch::new("skopeo");
    let (sample, store) = (sample(&scratch), scratch.store());
    load_file(&store, &sample.archive).unwrap();
    let root = store.root().display();
    shell(&format!("skopeo inspect oci:{root}:docker.io/library/sample:1 | grep -q '\"a\": \"b\"'"));
    shell(&format!(
        "skopeo copy -q oci:{root}:docker.io/team/app:v2 oci-archive:{}/copy.tar:copy:1",
        scratch.0.display()
    ));
    let other = Store::open(&scratch.path("other")).unwrap();
    load_file(&other, &scratch.path("copy.tar")).unwrap();
    check(&other, "copy:1", &Sample { config: other.resolve("copy:1").unwrap().id.0, ..sample });
}

#[test]
fn a_pipe_can_be_imported() {
    let scratch = Scratch::new("import");
    let (sample, store) = (sample(&scratch), scratch.store());
    let mut tar =
        Command::new("tar").args(["-czC"]).arg(&sample.trees[0]).arg(".").stdout(Stdio::piped()).spawn().unwrap();
    let pipe = std::os::fd::OwnedFd::from(tar.stdout.take().unwrap());
    let changes = ["CMD [\"/bin/tool\"]", "ENV A=b"].map(|text| store::ConfigChange::parse(text).unwrap()).to_vec();
    let reference = Some(Reference::parse("imported").unwrap());
    let request = store::Import {
        input: Input::Open(pipe.into(), "standard input".into()),
        changes,
        message: None,
        reference,
        platform: None,
        epoch: None,
    };
    store::import(&store, request, &mut Quiet).unwrap();
    tar.wait().unwrap();
    let image = store.resolve("imported:latest").unwrap();
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.cmd().clone().unwrap(), ["/bin/tool"]);
    assert_eq!(config.env().clone().unwrap(), ["A=b"]);
    assert_eq!(fs::read(store.layer_tree(&image.layers[0]).join("etc/conf")).unwrap(), b"1\n");
    assert!(image.blobs[0].media_type.ends_with("+gzip"));
}

/// Loads an archive of these files and gives the line it fails with; nothing may be left.
fn refused(scratch: &Scratch, files: &[(&str, &[u8])]) -> String {
    let mut tar = Tar::new();
    for (path, content) in files {
        tar.file(path, content);
    }
    let path = scratch.path("hostile.tar");
    fs::write(&path, tar.end()).unwrap();
    let store = Store::open(&scratch.path("refusing")).unwrap();
    let error = load_file(&store, &path).expect_err("the archive is hostile");
    assert_nothing_left(store.root());
    assert!(store.names().unwrap().entries().is_empty());
    error.to_string()
}

#[test]
fn hostile_image_archives_are_refused() {
    let scratch = Scratch::new("hostile");
    let layer = Tar::new().file("x", b"1").end();
    let diff_id = Digest::of(&layer);
    let config = |diff_ids: &str| {
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#)
    };
    let good = config(&format!("\"{diff_id}\""));
    let manifest = |text: &str| text.as_bytes().to_vec();
    let simple = manifest(r#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#);
    let expect = |files: &[(&str, &[u8])], word: &str| {
        let line = refused(&scratch, files);
        assert!(line.contains(word), "{line}");
    };
    expect(&[("x", b"")], "skep import");
    expect(&[("manifest.json", b"[]")], "no images");
    expect(&[("manifest.json", b"{")], "damaged");
    expect(&[("manifest.json", &simple)], "c.json");
    expect(&[("manifest.json", &simple), ("c.json", good.as_bytes())], "l.tar");
    expect(&[("manifest.json", &simple), ("c.json", good.as_bytes()), ("l.tar", b"other")], "l.tar");
    let other = Tar::new().file("y", b"1").end();
    expect(&[("manifest.json", &simple), ("c.json", good.as_bytes()), ("l.tar", &other)], "digest");
    expect(&[("manifest.json", &simple), ("c.json", config("").as_bytes()), ("l.tar", &layer)], "1 layers");
    expect(&[("manifest.json", &simple), ("manifest.json", &simple)], "twice");
    let traversal = manifest(r#"[{"Config":"../../../../etc/hostname","Layers":[]}]"#);
    expect(&[("manifest.json", &traversal)], "etc/hostname");
    let large = vec![b' '; 5 << 20];
    expect(&[("manifest.json", &large)], "4 MB");
    let tag = manifest(r#"[{"Config":"c.json","RepoTags":["../Bad"],"Layers":["l.tar"]}]"#);
    expect(&[("manifest.json", &tag), ("c.json", good.as_bytes()), ("l.tar", &layer)], "name");
    let many = config(&vec![format!("\"{diff_id}\""); 501].join(","));
    expect(&[("manifest.json", &simple), ("c.json", many.as_bytes()), ("l.tar", &layer)], "500");
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = |kind: &str| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","digest":"{diff_id}","size":{}}}]}}"#,
            layer.len()
        )
    };
    let blob = format!("blobs/sha256/{}", diff_id.hex());
    expect(&[("oci-layout", layout), ("index.json", index("text/plain").as_bytes()), (&blob, &layer)], "text/plain");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    expect(&[("oci-layout", layout), ("index.json", index(kind).as_bytes()), (&blob, &layer)], "damaged");
    expect(&[("oci-layout", layout), ("index.json", index(kind).as_bytes()), (&blob, b"x")], "damaged");
    expect(&[("oci-layout", br#"{"imageLayoutVersion":"2.0"}"#), ("index.json", b"{}")], "version");
}

#[test]
fn a_killed_load_leaves_nothing_after_the_next_command() {
    let scratch = Scratch::new("killed");
    let store = scratch.store();
    let leases = store.root().join("leases");
    // What a killed owner leaves: a directory, and a lock that nobody holds.
    fs::create_dir_all(leases.join("0123/l0/tree/d")).unwrap();
    fs::write(leases.join("0123.lock"), b"").unwrap();
    let alive = store::Staging::new(&store).unwrap();
    store.sweep().unwrap();
    assert_eq!(fs::read_dir(&leases).unwrap().count(), 2, "the one that is alive stays");
    drop(alive);
    assert_eq!(fs::read_dir(&leases).unwrap().count(), 0);
}

#[test]
fn an_image_of_120_layers_loads() {
    let scratch = Scratch::new("deep");
    let mut tar = Tar::new();
    let mut diff_ids = Vec::new();
    let mut names = Vec::new();
    for number in 0..120 {
        let layer = Tar::new().file(&format!("f{number}"), b"x").end();
        diff_ids.push(format!("\"{}\"", Digest::of(&layer)));
        names.push(format!("\"{number}.tar\""));
        tar.file(&format!("{number}.tar"), &layer);
    }
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    tar.file("c.json", config.as_bytes());
    tar.file(
        "manifest.json",
        format!(r#"[{{"Config":"c.json","RepoTags":["deep"],"Layers":[{}]}}]"#, names.join(",")).as_bytes(),
    );
    fs::write(scratch.path("deep.tar"), tar.end()).unwrap();
    let store = scratch.store();
    load_file(&store, &scratch.path("deep.tar")).unwrap();
    let image = store.resolve("deep").unwrap();
    assert_eq!(image.layers.len(), 120);
    assert!(image.layers.iter().enumerate().all(|(n, layer)| store.layer_tree(layer).join(format!("f{n}")).exists()));
}

#[test]
fn an_archive_gives_a_bounded_number_of_names() {
    let scratch = Scratch::new("names");
    let store = scratch.store();
    let config = br#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let archive = |count: usize| {
        let tags: Vec<String> = (0..count).map(|number| format!("\"x:{number}\"")).collect();
        let manifest = format!(r#"[{{"Config":"c.json","RepoTags":[{}],"Layers":[]}}]"#, tags.join(","));
        let path = scratch.path("names.tar");
        let mut tar = Tar::new();
        fs::write(&path, tar.file("c.json", config).file("manifest.json", manifest.as_bytes()).end()).unwrap();
        path
    };
    let message = load_file(&store, &archive(1001)).unwrap_err().to_string();
    assert!(message.contains("more than 1000 names"), "{message}");
    assert!(store.names().unwrap().entries().is_empty());
    load_file(&store, &archive(1000)).unwrap();
    assert_eq!(store.names().unwrap().entries().len(), 1000);
}
