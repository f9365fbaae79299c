//! Saved images, as skopeo, umoci, podman and skep itself read them.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ground::{Ground, has, image, listing, place, shell};
use store::commit::{Commit, commit};
use store::overlay::{Base, Overlay};
use store::save::{Format, Request, save, save_directory};
use store::{Image, Input, Quiet, Reference, Store};

const BASE: &str = "mkdir -p etc opt/a bin; echo x > etc/passwd; echo y > opt/a/c; cp /bin/true bin/tool; chown -R 5:6 opt; \
                    ln etc/passwd etc/hard; ln -s ../etc/passwd bin/link; chmod 4755 bin/tool; truncate -s 1M hole; \
                    touch -d @1000000000 etc opt; touch $(seq 30)";

/// A store with an image of two layers, the second with deletions, called by three names.
fn scene() -> Option<(Ground, Image, PathBuf)> {
    let ground = Ground::new()?;
    let base = image(&ground, "base:one", BASE);
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(base.layers.clone()), &writable).unwrap();
    let mount = overlay.mount(None).unwrap();
    shell(
        place(&mount),
        "rm etc/hard; rm -r opt/a; mkdir opt/a; echo new > opt/a/new; echo more >> etc/passwd; rm hole",
    );
    drop(mount);
    let request = Commit {
        base: Some(&base),
        writable: &writable,
        config: base.document(&ground.store).unwrap(),
        changes: &[],
        author: "",
        message: "",
        created_by: "sh",
        reference: Some(Reference::parse("example.org/team/app:v2").unwrap()),
        epoch: None,
    };
    commit(&ground.store, request).unwrap();
    ground.store.tag("example.org/team/app:v2", &Reference::parse("app").unwrap()).unwrap();
    let image = ground.store.resolve("app").unwrap();
    let tree = ground.path.join("tree");
    fs::create_dir(&tree).unwrap();
    let merged = Overlay::new(&ground.store, &Base::Layers(image.layers.clone()), &ground.writable("two")).unwrap();
    shell(place(&merged.mount_for_reading().unwrap()), &format!("cp -a . {}", tree.display()));
    Some((ground, image, tree))
}

fn write(ground: &Ground, names: &[&str], format: Format, file: &str) -> PathBuf {
    let path = ground.path.join(file);
    save(&ground.store, &request(names), format, &mut File::create(&path).unwrap()).unwrap();
    path
}

fn request(names: &[&str]) -> Request {
    Request { names: names.iter().map(|name| (*name).to_owned()).collect(), platform: None }
}

/// The tree of an image of a store.
fn tree_of(store: &Store, name: &str, writable: &Path) -> String {
    let layers = store.resolve(name).unwrap().layers;
    let overlay = Overlay::new(store, &Base::Layers(layers), writable).unwrap();
    listing(place(&overlay.mount_for_reading().unwrap()))
}

/// What our mounts show below every image, and no other tool's.
const SKELETON: [&str; 6] = ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Equal but for the skeleton, or the lines that are not.
fn assert_same(one: &str, other: &str) {
    let of_skeleton = |line: &str| {
        SKELETON.iter().any(|path| line.starts_with(&format!("{path} ")) || line.ends_with(&format!("  ./{path}")))
    };
    let image = |listing: &str| listing.lines().filter(|line| !of_skeleton(line)).collect::<Vec<_>>().join("\n");
    let (one, other) = (&image(one), &image(other));
    let only = |one: &str, other: &str| {
        one.lines().filter(|line| !other.lines().any(|other| other == *line)).collect::<Vec<_>>().join("\n")
    };
    assert!(one == other, "only in one:\n{}\nonly in the other:\n{}", only(one, other), only(other, one));
}

#[test]
fn skep_loads_what_it_saved() {
    let Some((ground, image, tree)) = scene() else { return };
    for (format, file) in [(Format::DockerArchive, "docker.tar"), (Format::OciArchive, "oci.tar")] {
        let path = write(&ground, &["app", "example.org/team/app:v2", "base:one"], format, file);
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(write(&ground, &["app", "example.org/team/app:v2", "base:one"], format, "again")).unwrap()
        );
        let other = Ground::new().unwrap();
        let loaded = store::load(&other.store, Input::Path(path), &mut Quiet).unwrap();
        assert!(loaded.len() >= 2, "{file}: {loaded:?}");
        let again = other.store.resolve("example.org/team/app:v2").unwrap();
        assert_eq!((again.id, &again.layers), (image.id, &image.layers));
        assert_eq!(again.names, image.names);
        assert_same(&tree_of(&other.store, "app", &other.writable("one")), &listing(&tree));
        assert!(other.store.resolve("base:one").is_ok());
    }
}

#[test]
fn names_choose_what_is_saved() {
    let Some((ground, image, _)) = scene() else { return };
    ground.store.tag("base:one", &Reference::parse("app:old").unwrap()).unwrap();
    let manifest = |names: &[&str]| {
        let path = write(&ground, names, Format::DockerArchive, "names.tar");
        let text = shell(&ground.path, &format!("tar -xOf {} manifest.json", path.display()));
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tags = manifest.as_array().unwrap().iter().map(|image| image["RepoTags"].to_string());
        tags.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(manifest(&["app:latest"]), r#"["app:latest"]"#);
    assert_eq!(manifest(&["app"]), r#"["app:latest"] ["app:old"]"#);
    assert_eq!(manifest(&[&image.id.to_string()]), "[]");
    assert_eq!(
        manifest(&["app:latest", "app:latest", "example.org/team/app:v2"]),
        r#"["app:latest","example.org/team/app:v2"]"#
    );
    let none = save(&ground.store, &request(&["nothing:here"]), Format::DockerArchive, &mut Vec::new());
    assert_eq!(none.unwrap_err().kind(), failure::Kind::NotFound);
}

#[test]
fn documents_come_first_and_a_directory_is_a_layout() {
    let Some((ground, image, _)) = scene() else { return };
    let order = |format| {
        let path = write(&ground, &["app:latest", "base:one"], format, "order.tar");
        let list = shell(&ground.path, &format!("tar -tf {}", path.display()));
        let is_layer =
            |line: &str| image.blobs.iter().any(|layer| line.contains(&layer.digest.hex())) && !line.ends_with('/');
        let first = list.lines().position(is_layer).unwrap();
        assert!(list.lines().skip(first).all(|line| is_layer(line) || line.ends_with('/')), "{list}");
        assert!(first >= 4, "{list}");
    };
    order(Format::DockerArchive);
    order(Format::OciArchive);
    let directory = ground.path.join("layout");
    save_directory(&ground.store, &request(&["app"]), &directory).unwrap();
    let again = save_directory(&ground.store, &request(&["app"]), &directory).unwrap_err().to_string();
    assert!(again.contains("not empty"), "{again}");
    let other = Ground::new().unwrap();
    store::load_layout(&other.store, &directory, None, None, &mut Quiet).unwrap();
    assert_eq!(other.store.resolve("app:latest").unwrap().manifest, image.manifest);
    if has("umoci") {
        let listed = shell(&ground.path, "umoci ls --layout layout");
        assert!(listed.contains("app:latest"), "{listed}");
    }
    assert_eq!(
        fs::read_dir(&ground.path)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().display().to_string().ends_with(".tmp"))
            .count(),
        0
    );
}

#[test]
fn compressed_layers_are_saved_as_they_were() {
    let Some((ground, image, _)) = scene() else { return };
    let plain = write(&ground, &["app:latest"], Format::DockerArchive, "plain.tar");
    let oci = write(&ground, &["app:latest"], Format::OciArchive, "oci.tar");
    if !has("skopeo") {
        return;
    }
    let copy = "skopeo --insecure-policy copy --dest-compress-format";
    for format in ["gzip", "zstd"] {
        shell(
            &ground.path,
            &format!("{copy} {format} oci-archive:{} oci:packed-{format}:app:latest >&2", oci.display()),
        );
        let other = Ground::new().unwrap();
        let layout = ground.path.join(format!("packed-{format}"));
        store::load_layout(&other.store, &layout, None, None, &mut Quiet).unwrap();
        let id = other.store.images().unwrap()[0].id.to_string();
        assert_ne!(other.store.resolve(&id).unwrap().blobs[0].digest, image.blobs[0].digest, "it is compressed");
        other.store.tag(&id, &Reference::parse("app").unwrap()).unwrap();
        assert_eq!(image.id.to_string(), id);
        let again = write(&other, &["app:latest"], Format::DockerArchive, "again.tar");
        assert_eq!(fs::read(&again).unwrap(), fs::read(&plain).unwrap(), "{format}");
        // A length that was not noted is counted.
        for layer in &image.layers {
            let size = other.store.layer_directory(layer).join("size");
            let first = fs::read_to_string(&size).unwrap().lines().next().unwrap().to_owned();
            fs::write(&size, first).unwrap();
        }
        let again = write(&other, &["app:latest"], Format::DockerArchive, "again.tar");
        assert_eq!(fs::read(&again).unwrap(), fs::read(&plain).unwrap(), "{format}");
    }
}

#[test]
fn skopeo_and_umoci_read_it() {
    let Some((ground, image, tree)) = scene() else { return };
    if !has("skopeo") || !has("umoci") {
        return;
    }
    let docker = write(&ground, &["app:latest"], Format::DockerArchive, "docker.tar");
    let oci = write(&ground, &["app:latest"], Format::OciArchive, "oci.tar");
    for (number, source) in
        [format!("docker-archive:{}", docker.display()), format!("oci-archive:{}", oci.display())].iter().enumerate()
    {
        let inspected = shell(&ground.path, &format!("skopeo inspect --config {source}"));
        assert!(inspected.contains("A=1"), "{inspected}");
        shell(&ground.path, &format!("skopeo --insecure-policy copy {source} oci:layout{number}:app >&2"));
        let manifest = shell(&ground.path, &format!("skopeo inspect --raw oci:layout{number}:app"));
        // A docker-archive's configuration is written anew when it becomes an OCI one.
        assert!(number == 0 || manifest.contains(&image.id.0.hex()), "{manifest}");
        shell(&ground.path, &format!("umoci unpack --image layout{number}:app bundle{number} >&2"));
        assert_same(&listing(ground.path.join(format!("bundle{number}/rootfs"))), &listing(&tree));
    }
}

#[test]
fn podman_loads_it() {
    let Some((ground, _, tree)) = scene() else { return };
    if !has("podman") {
        return;
    }
    for (format, file) in [(Format::DockerArchive, "docker.tar"), (Format::OciArchive, "oci.tar")] {
        write(&ground, &["app:latest"], format, file);
        let podman = format!("podman --root {file}.d/root --runroot {file}.d/run --storage-driver vfs");
        shell(&ground.path, &format!("{podman} load -i {file} >&2"));
        let mount = shell(&ground.path, &format!("{podman} image mount $({podman} images -q | head -1)"));
        assert_same(&listing(&mount), &listing(&tree));
        shell(&ground.path, &format!("{podman} image umount -a >&2; {podman} rmi -af >&2"));
    }
}
