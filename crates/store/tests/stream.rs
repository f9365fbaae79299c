//! Loading from a pipe: what is here is passed over, what is not is unpacked as it comes, what is wrong leaves nothing.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ground::{Ground, has, image, listing, place, shell};
use store::commit::{Commit, commit};
use store::overlay::{Base, Overlay};
use store::save::{Format, Request, save};
use store::{Image, Input, Limits, Loaded, Platform, Quiet, Reference, Store};

const BASE: &str = "mkdir -p etc opt bin; head -c 3000000 /dev/zero | tr '\\0' x > opt/large; echo x > etc/passwd; \
                    ln etc/passwd etc/hard; chown -R 5:6 opt";

/// A store with an image of two layers.
fn scene() -> Option<(Ground, Image)> {
    let ground = Ground::new()?;
    let base = image(&ground, "base:one", BASE);
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(base.layers.clone()), &writable).unwrap();
    let mount = overlay.mount(None).unwrap();
    shell(place(&mount), "rm -r opt; mkdir opt; head -c 900000 /dev/urandom > opt/new; rm etc/hard");
    drop(mount);
    let request = Commit {
        base: Some(&base),
        writable: &writable,
        config: base.document(&ground.store).unwrap(),
        changes: &[],
        author: "",
        message: "",
        created_by: "sh",
        reference: Some(Reference::parse("app:v2").unwrap()),
        epoch: None,
    };
    commit(&ground.store, request).unwrap();
    let image = ground.store.resolve("app:v2").unwrap();
    Some((ground, image))
}

fn archive(ground: &Ground, names: &[&str], format: Format) -> Vec<u8> {
    let request = Request { names: names.iter().map(|name| (*name).to_owned()).collect(), platform: None };
    let mut bytes = Vec::new();
    save(&ground.store, &request, format, &mut bytes).unwrap();
    bytes
}

/// A pipe that gives what a file has.
fn pipe(path: &Path) -> (Child, Input) {
    let mut child = Command::new("cat").arg(path).stdout(Stdio::piped()).spawn().unwrap();
    let output = std::os::fd::OwnedFd::from(child.stdout.take().unwrap());
    (child, Input::Open(output.into(), "standard input".into()))
}

fn stream(ground: &Ground, store: &Store, bytes: &[u8]) -> failure::Result<Vec<Loaded>> {
    let path = ground.path.join("streamed.tar");
    fs::write(&path, bytes).unwrap();
    let (mut child, input) = pipe(&path);
    let loaded = store::load(store, input, &mut Quiet);
    let status = child.wait().unwrap();
    assert!(status.success() || loaded.is_err(), "the whole stream was read");
    loaded
}

/// The same store, where nothing can be stored or unpacked.
fn idle(ground: &Ground) -> Store {
    let nothing = Limits { layer_bytes: 0, layer_entries: 0, keep_free: u64::MAX };
    Store::open(ground.store.root()).unwrap().with_limits(nothing)
}

fn left(store: &Store) -> usize {
    let count = |name: &str| fs::read_dir(store.root().join(name)).map_or(0, Iterator::count);
    count("leases") + count("layers") + count("blobs/sha256")
}

fn tree_of(ground: &Ground, name: &str) -> String {
    let layers = ground.store.resolve(name).unwrap().layers;
    let overlay =
        Overlay::new(&ground.store, &Base::Layers(layers), &ground.writable(&name.replace(':', "-"))).unwrap();
    listing(place(&overlay.mount_for_reading().unwrap()))
}

#[test]
fn a_stream_is_unpacked_as_it_comes_and_the_second_time_passed_over() {
    let Some((ground, image)) = scene() else { return };
    let tree = tree_of(&ground, "app:v2");
    for format in [Format::DockerArchive, Format::OciArchive] {
        let bytes = archive(&ground, &["app:v2", "base:one"], format);
        let other = Ground::new().unwrap();
        let loaded = stream(&ground, &other.store, &bytes).unwrap();
        assert_eq!(loaded.len(), 2);
        let again = other.store.resolve("app:v2").unwrap();
        assert_eq!((again.id, again.manifest, &again.layers), (image.id, image.manifest, &image.layers));
        assert_eq!(tree_of(&other, "app:v2"), tree);
        other.store.tag("app:v2", &Reference::parse("kept").unwrap()).unwrap();
        store::collect::remove(&other.store, "app:v2", false, || Ok(store::collect::InUse::default())).unwrap();
        // What would be stored or unpacked now would be refused.
        stream(&ground, &idle(&other), &bytes).unwrap();
        assert_eq!(other.store.resolve("app:v2").unwrap().manifest, image.manifest, "{format:?}");
        let unwilling = Ground::new().unwrap();
        assert!(stream(&ground, &idle(&unwilling), &bytes).is_err());
        assert_eq!(left(&unwilling.store), 0);
    }
}

#[test]
fn layers_that_are_here_compressed_are_not_stored_again() {
    let Some((ground, image)) = scene() else { return };
    if !has("skopeo") {
        return;
    }
    let oci = ground.path.join("oci.tar");
    fs::write(&oci, archive(&ground, &["app:v2"], Format::OciArchive)).unwrap();
    let copy = format!(
        "skopeo --insecure-policy copy --dest-compress-format gzip oci-archive:{} oci:packed:app:v2 >&2",
        oci.display()
    );
    shell(&ground.path, &copy);
    let other = Ground::new().unwrap();
    store::load_layout(&other.store, &ground.path.join("packed"), None, None, &mut Quiet).unwrap();
    let id = other.store.images().unwrap()[0].id.to_string();
    other.store.tag(&id, &Reference::parse("app:v2").unwrap()).unwrap();
    let before = (left(&other.store), other.store.resolve("app:v2").unwrap().manifest);
    assert_ne!(before.1, image.manifest);
    // The same image without compression; and another one on the same layers.
    let own = archive(&other, &["app:v2"], Format::DockerArchive);
    let loaded = stream(&ground, &idle(&other), &own).unwrap();
    assert_eq!(loaded[0].names.len(), 1);
    assert_eq!((left(&other.store), other.store.resolve("app:v2").unwrap().manifest), before);
    let base = archive(&ground, &["base:one"], Format::DockerArchive);
    stream(&ground, &idle(&other), &base).unwrap();
    let loaded = other.store.resolve("base:one").unwrap();
    assert_eq!(loaded.blobs[0].digest, other.store.resolve("app:v2").unwrap().blobs[0].digest);
    // From a file, too.
    let path = ground.path.join("own.tar");
    fs::write(&path, own).unwrap();
    store::load(&idle(&other), Input::Path(path), &mut Quiet).unwrap();
}

#[test]
fn a_stream_that_lies_leaves_nothing() {
    let Some((ground, image)) = scene() else { return };
    let bytes = archive(&ground, &["app:v2"], Format::DockerArchive);
    let other = Ground::new().unwrap();
    let length = bytes.len();
    let places = [1_000_000, length - 300_000];
    for place in places {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        let error = stream(&ground, &other.store, &damaged).unwrap_err().to_string();
        assert!(
            error.contains("damaged") && error.contains(&image.blobs[usize::from(place > 2_000_000)].diff_id.hex()),
            "{error}"
        );
        assert_eq!(left(&other.store), 0);
    }
    for end in [100_000, length / 2, length - 5_000] {
        let error = stream(&ground, &other.store, &bytes[..end]).unwrap_err().to_string();
        assert!(error.contains("truncated") || error.contains("end"), "{error}");
        assert_eq!(left(&other.store), 0);
    }
    // Bytes that are no tar where a layer should be.
    let start = 512
        * (1 + bytes
            .chunks(512)
            .position(|block| {
                block.ends_with(&[0; 12])
                    && block.starts_with(image.blobs[1].diff_id.hex().as_bytes())
                    && block[..100].windows(9).any(|part| part == b"layer.tar")
            })
            .unwrap());
    let mut damaged = bytes;
    damaged[start..start + 512].fill(b'z');
    stream(&ground, &other.store, &damaged).unwrap_err();
    assert_eq!(left(&other.store), 0);
}

#[test]
fn what_others_write_streams_too() {
    let Some((ground, image)) = scene() else { return };
    if !has("skopeo") {
        return;
    }
    let ours = ground.path.join("ours.tar");
    fs::write(&ours, archive(&ground, &["app:v2"], Format::DockerArchive)).unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let copy = format!(
            "skopeo --insecure-policy copy docker-archive:{} {kind}:theirs-{kind}.tar:app:v2 >&2",
            ours.display()
        );
        shell(&ground.path, &copy);
        let bytes = fs::read(ground.path.join(format!("theirs-{kind}.tar"))).unwrap();
        let other = Ground::new().unwrap();
        stream(&ground, &other.store, &bytes).unwrap();
        let loaded = &other.store.images().unwrap()[0];
        assert_eq!(other.store.image(&loaded.target).unwrap().layers, image.layers, "{kind}");
        let mut packed = Command::new("gzip").arg("-1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut file = tempfile(&bytes);
        let mut input = packed.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || std::io::copy(&mut file, &mut input).map(drop));
        let output = std::os::fd::OwnedFd::from(packed.stdout.take().unwrap());
        store::load(&other.store, Input::Open(output.into(), "standard input".into()), &mut Quiet).unwrap();
        feeder.join().unwrap().unwrap();
        packed.wait().unwrap();
    }
}

fn tempfile(bytes: &[u8]) -> File {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TMPFILE;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let mut file = File::from(rustix::fs::openat(rustix::fs::CWD, std::env::temp_dir(), flags, mode).unwrap());
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn only_images_for_the_platform_are_loaded() {
    let Some((ground, _)) = scene() else { return };
    let path = ground.path.join("saved.tar");
    for format in [Format::DockerArchive, Format::OciArchive] {
        fs::write(&path, archive(&ground, &["app:v2"], format)).unwrap();
        let other = Ground::new().unwrap();
        let load = |platform: &str| {
            let platform = Platform::parse(platform).unwrap();
            store::load_for(&other.store, Input::Path(path.clone()), Some(&platform), &mut Quiet)
        };
        let error = load("linux/s390x").unwrap_err().to_string();
        assert!(error.contains("`linux/s390x`"), "{error}");
        assert_eq!(left(&other.store), 0);
        let machine = Platform::of_this_machine().to_string();
        assert_eq!(load(&machine).unwrap().len(), 1, "{format:?}");
    }
}
