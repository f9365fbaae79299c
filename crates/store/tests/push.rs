//! What a push makes of an image: which blobs and documents, how they are compressed, and what stays in the store.
//!
//! The registry is a directory here.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use failure::{Context, Error, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use store::collect::{InUse, collect, remove};
use store::push::{Arrival, Blob, Destination, Document, Form, PushProgress, push};
use store::{Digest, Image, Import, Input, Quiet, Reference, Store};
use support::{Scratch, Tar, run, shell};

/// A registry over TCP: one file a blob. Who carries has the network and no files.
struct Shelf {
    directory: PathBuf,
    address: SocketAddr,
}

impl Destination for Shelf {
    fn carry(&mut self, blob: &Blob, mut file: File, sent: &mut dyn FnMut(u64) -> Result<()>) -> Result<Arrival> {
        let mut there = TcpStream::connect(self.address).context("go to the shelf")?;
        there.write_all(blob.digest.as_bytes()).context("ask")?;
        let mut answer = [0];
        there.read_exact(&mut answer).context("hear")?;
        if answer == [b'+'] {
            return Ok(Arrival::Present);
        }
        let length = std::io::copy(&mut file, &mut there).context("send")?;
        if length != blob.size {
            return Err(Error::internal(format!("{length} bytes instead of {}", blob.size)));
        }
        there.shutdown(Shutdown::Write).context("send")?;
        there.read_exact(&mut answer).context("hear")?;
        sent(length)?;
        Ok(Arrival::Sent)
    }
}

/// One caller after the other: which blob, `+` or `-` for there or not, its bytes, `+` for written.
fn serve(listener: &TcpListener, directory: &Path) {
    for caller in listener.incoming() {
        let mut caller = caller.unwrap();
        let mut digest = [0; 32];
        caller.read_exact(&mut digest).unwrap();
        let path = directory.join(Digest::from_bytes(digest).hex());
        if path.exists() {
            caller.write_all(b"+").unwrap();
            continue;
        }
        caller.write_all(b"-").unwrap();
        std::io::copy(&mut caller, &mut File::create(&path).unwrap()).unwrap();
        caller.write_all(b"+").unwrap();
    }
}

impl Shelf {
    fn new(scratch: &Scratch, name: &str) -> Self {
        let directory = scratch.path(name);
        fs::create_dir_all(&directory).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shelf = Self { directory: directory.clone(), address: listener.local_addr().unwrap() };
        // It ends with the test's process.
        std::thread::spawn(move || serve(&listener, &directory));
        shelf
    }

    fn read(&self, digest: &str) -> Vec<u8> {
        let bytes = fs::read(self.directory.join(digest.trim_start_matches("sha256:"))).unwrap();
        assert_eq!(Digest::of(&bytes).to_string(), digest);
        bytes
    }
}

/// What was told, a word a layer.
#[derive(Default)]
struct Told(BTreeMap<Digest, Vec<&'static str>>);

impl Told {
    fn all(&self) -> Vec<&'static str> {
        self.0.values().flatten().copied().collect()
    }
}

impl PushProgress for Told {
    fn waits(&mut self, layer: &Digest) {
        self.0.entry(*layer).or_default().push("waits");
    }

    fn compressed(&mut self, layer: &Digest, done: u64, total: u64) {
        assert!(done <= total);
        let words = self.0.entry(*layer).or_default();
        if words.last() != Some(&"compressed") {
            words.push("compressed");
        }
    }

    fn sent(&mut self, _: &Digest, done: u64, total: u64) {
        assert!(done <= total);
    }

    fn arrived(&mut self, layer: &Digest, arrival: &Arrival) {
        let word = match arrival {
            Arrival::Present => "present",
            Arrival::Sent => "sent",
            Arrival::Mounted(_) => "mounted",
        };
        self.0.entry(*layer).or_default().push(word);
    }
}

/// A layer of some megabytes that is compressible in places.
fn archive() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut noise = Vec::new();
    for block in 0..5000_u32 {
        for _ in 0..256 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.push((state >> 24) as u8);
        }
        noise.extend(format!("the same words again and again, {block}; ").repeat(20).bytes());
    }
    Tar::new().directory("d").file("d/noise", &noise).file("small", b"x").end()
}

fn image(scratch: &Scratch, store: &Store, bytes: &[u8]) -> Image {
    let tar = scratch.path("layer.tar");
    fs::write(&tar, bytes).unwrap();
    let reference = Some(name("host:5000/app:1"));
    let import = Import {
        input: Input::Path(tar),
        changes: Vec::new(),
        message: Some("m".into()),
        reference,
        platform: None,
        epoch: None,
    };
    store::import(store, import, &mut Quiet).unwrap();
    store.resolve("host:5000/app:1").unwrap()
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn pushed(store: &Store, target: &Digest, form: Option<Form>, shelf: &mut Shelf) -> (Vec<Document>, Told) {
    let mut told = Told::default();
    let documents = push(store, target, form, shelf, &mut told).unwrap();
    (documents, told)
}

fn layer(document: &Document, at: usize) -> Value {
    serde_json::from_slice::<Value>(&document.bytes).unwrap()["layers"][at].clone()
}

fn left(store: &Store, directory: &str) -> usize {
    fs::read_dir(store.root().join(directory)).map_or(0, Iterator::count)
}

#[test]
fn compression_depends_on_the_bytes_alone_and_everybody_reads_it() {
    let scratch = Scratch::new("push-same");
    let bytes = archive();
    let all = sched_getaffinity(None).unwrap();
    for form in [Form::Gzip, Form::Zstd] {
        let mut layers = Vec::new();
        for processors in 1..=2 {
            let mut few = CpuSet::new();
            (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).take(processors).for_each(|cpu| few.set(cpu));
            sched_setaffinity(None, &few).unwrap();
            let store = Store::open(&scratch.path(&format!("store-{form:?}-{processors}"))).unwrap();
            let image = image(&scratch, &store, &bytes);
            let mut shelf = Shelf::new(&scratch, &format!("shelf-{form:?}-{processors}"));
            let (documents, _) = pushed(&store, &image.manifest, Some(form), &mut shelf);
            let layer = layer(&documents[0], 0);
            let compressed = shelf.read(layer["digest"].as_str().unwrap());
            assert_eq!(layer["size"], compressed.len());
            assert!(compressed.len() * 3 < bytes.len() * 2, "{} of {}", compressed.len(), bytes.len());
            layers.push((layer, compressed));
        }
        sched_setaffinity(None, &all).unwrap();
        assert_eq!(layers[0], layers[1], "{form:?}");
        read_by_others(&scratch.path("blob"), form, &layers[0].1, &bytes);
    }
}

fn read_by_others(path: &Path, form: Form, compressed: &[u8], plain: &[u8]) {
    fs::write(path, compressed).unwrap();
    let path = path.to_str().unwrap();
    let mut back = Vec::new();
    match form {
        Form::Gzip => {
            shell(&format!("gzip -t < {path}"));
            let digest = Digest::of(plain).hex();
            let script = "import gzip, hashlib, sys\n\
                          assert hashlib.sha256(gzip.open(sys.argv[1]).read()).hexdigest() == sys.argv[2]";
            run("python3", &["-c", script, path, &digest]);
            flate2::read::MultiGzDecoder::new(compressed).read_to_end(&mut back).unwrap();
        }
        Form::Zstd => drop(zstd::stream::read::Decoder::new(compressed).unwrap().read_to_end(&mut back).unwrap()),
    }
    assert!(back == plain);
}

#[test]
fn a_second_push_has_no_work_and_the_same_digest() {
    let scratch = Scratch::new("push-again");
    let store = scratch.store();
    let image = image(&scratch, &store, &archive());
    let mut shelf = Shelf::new(&scratch, "shelf");
    let (first, told) = pushed(&store, &image.manifest, Some(Form::Gzip), &mut shelf);
    assert_eq!(told.all(), ["waits", "compressed", "sent"]);
    assert_eq!(layer(&first[0], 0)["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    store.record_push(&name("host:5000/app:1"), &image.target, &first[0]).unwrap();
    let (second, told) = pushed(&store, &image.manifest, Some(Form::Gzip), &mut shelf);
    assert_eq!(told.all(), ["waits", "present"]);
    assert_eq!(first[0].bytes, second[0].bytes);
    // An image of the same layer finds it compressed, too.
    let other = scratch.path("other.tar");
    fs::copy(scratch.path("layer.tar"), &other).unwrap();
    let import = Import {
        input: Input::Path(other),
        changes: Vec::new(),
        message: None,
        reference: None,
        platform: None,
        epoch: None,
    };
    let id = store::import(&store, import, &mut Quiet).unwrap();
    let other = store.resolve(&id.to_string()).unwrap();
    let (third, told) = pushed(&store, &other.manifest, Some(Form::Gzip), &mut shelf);
    assert_eq!(told.all(), ["waits", "present"]);
    assert_eq!(layer(&third[0], 0), layer(&first[0], 0));
    // And without compression it is what it was.
    let (plain, _) = pushed(&store, &image.manifest, None, &mut shelf);
    assert_eq!(plain[0].digest, image.manifest);
}

#[test]
fn what_was_pushed_is_known_by_its_digest_there_and_kept_with_the_image() {
    let scratch = Scratch::new("push-digest");
    let store = scratch.store();
    let image = image(&scratch, &store, &archive());
    let mut shelf = Shelf::new(&scratch, "shelf");
    let (documents, _) = pushed(&store, &image.manifest, Some(Form::Gzip), &mut shelf);
    let there = documents[0].digest;
    store.record_push(&name("host:5000/app:1"), &image.target, &documents[0]).unwrap();
    store.record_push(&name("host:5000/other:1"), &image.target, &documents[0]).unwrap();
    assert_ne!(there, image.manifest);
    let found = store.resolve(&format!("host:5000/app@{there}")).unwrap();
    assert_eq!((found.id, found.digest_of(&name("host:5000/app:1"))), (image.id, there));
    assert!(store.resolve(&format!("host:5000/other@{there}")).is_err());
    store.tag("host:5000/app:1", &name("host:5000/app:2")).unwrap();
    store.tag("host:5000/app:1", &name("elsewhere:1/app:2")).unwrap();
    let found = store.resolve("elsewhere:1/app:2").unwrap();
    assert_eq!(found.digest_of(&name("host:5000/app:2")), there);
    assert_eq!(found.digest_of(&name("elsewhere:1/app:2")), image.manifest);
    // Blobs: layer, compressed layer, configuration, both manifests. A collection finds nothing to do.
    assert_eq!((left(&store, "blobs/sha256"), left(&store, "compressed")), (5, 1));
    collect(&store, || Ok(InUse::default())).unwrap();
    assert_eq!((left(&store, "blobs/sha256"), left(&store, "compressed")), (5, 1));
    for tag in ["host:5000/app:1", "host:5000/app:2", "elsewhere:1/app:2"] {
        assert_eq!(left(&store, "compressed"), 1);
        remove(&store, tag, false, || Ok(InUse::default())).unwrap();
    }
    support::assert_nothing_left(store.root());
    assert_eq!(left(&store, "compressed"), 0);
}

#[test]
fn a_damaged_layer_is_neither_pushed_nor_kept() {
    let scratch = Scratch::new("push-damaged");
    let store = scratch.store();
    let bytes = archive();
    let image = image(&scratch, &store, &bytes);
    let mut damaged = bytes;
    damaged[3_000_000] ^= 1;
    fs::write(store.blob_path(&image.blobs[0].digest), &damaged).unwrap();
    let mut shelf = Shelf::new(&scratch, "shelf");
    let error = push(&store, &image.manifest, Some(Form::Gzip), &mut shelf, &mut Told::default()).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert_eq!((left(&store, "compressed"), left(&store, "leases"), left(&store, "blobs/sha256")), (0, 0, 3));
}

/// Takes nothing.
struct Closed;

impl Destination for Closed {
    fn carry(&mut self, _: &Blob, _: File, _: &mut dyn FnMut(u64) -> Result<()>) -> Result<Arrival> {
        Err(Error::new(failure::Kind::Denied, "the registry takes nothing from you"))
    }
}

#[test]
fn a_refusal_is_told_with_its_reason_and_kind() {
    let scratch = Scratch::new("push-refused");
    let store = scratch.store();
    let image = image(&scratch, &store, &archive());
    let error = push(&store, &image.manifest, Some(Form::Zstd), &mut Closed, &mut Told::default()).unwrap_err();
    assert_eq!(error.kind(), failure::Kind::Denied);
    assert!(error.to_string().contains("takes nothing"), "{error}");
    assert_eq!(left(&store, "leases"), 0);
}

/// An OCI layout of an index with an image, and an artifact that refers to that image.
fn layout(directory: &Path, plain: &[u8]) -> (Digest, Digest, Digest) {
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        fs::write(directory.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest.to_string(), "size": bytes.len()})
    };
    let document = |value: &Value, kind: &str| put(value.to_string().as_bytes(), kind);
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let layer = put(plain, "application/vnd.oci.image.layer.v1.tar");
    let config = json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = document(&config, "application/vnd.oci.image.config.v1+json");
    let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]});
    let mut manifest = document(&manifest, manifest_type);
    manifest["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [manifest]});
    let index = document(&index, index_type);
    let empty = put(b"{}", "application/vnd.oci.empty.v1+json");
    let note = put(b"all is well", "text/plain");
    let artifact = json!({"schemaVersion": 2, "mediaType": manifest_type, "artifactType": "application/note",
        "config": empty, "layers": [note], "subject": manifest});
    let artifact = document(&artifact, manifest_type);
    let digest = |descriptor: &Value| Digest::parse(descriptor["digest"].as_str().unwrap()).unwrap();
    let named = |mut descriptor: Value, name: &str| {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        descriptor
    };
    let found = (digest(&index), digest(&manifest), digest(&artifact));
    let entries = [named(index, "h:1/multi:1"), named(manifest, "h:1/one:1"), named(artifact, "h:1/note:1")];
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(directory.join("index.json"), json!({"schemaVersion": 2, "manifests": entries}).to_string()).unwrap();
    found
}

#[test]
fn indexes_artifacts_and_signed_images_are_pushed_byte_for_byte() {
    let scratch = Scratch::new("push-index");
    let store = scratch.store();
    let (index, manifest, artifact) = layout(store.root(), &archive());
    let mut shelf = Shelf::new(&scratch, "shelf");
    let digests = |target: &Digest, shelf: &mut Shelf| {
        let (documents, _) = pushed(&store, target, Some(Form::Gzip), shelf);
        documents.into_iter().map(|document| document.digest).collect::<Vec<_>>()
    };
    assert_eq!(digests(&index, &mut shelf), [manifest, index]);
    assert_eq!(digests(&artifact, &mut shelf), [artifact]);
    assert_eq!(digests(&manifest, &mut shelf), [manifest], "the artifact refers to it by digest");
    let referrers = store.referrers(&manifest).unwrap();
    assert_eq!(referrers.iter().map(|one| (one.digest, one.tag.clone())).collect::<Vec<_>>(), [(artifact, None)]);
    // Five blobs and no more: two configurations, a layer, a note; documents go another way.
    assert_eq!(fs::read_dir(&shelf.directory).unwrap().count(), 4);
    assert_eq!(left(&store, "compressed"), 0);
}

#[test]
fn an_index_whose_images_are_not_all_here_is_not_pushed() {
    let scratch = Scratch::new("push-sparse");
    let store = scratch.store();
    let (index, manifest, _) = layout(store.root(), &archive());
    fs::remove_file(store.blob_path(&manifest)).unwrap();
    let mut shelf = Shelf::new(&scratch, "shelf");
    let error = push(&store, &index, None, &mut shelf, &mut Told::default()).unwrap_err();
    assert!(error.to_string().contains("--all-platforms"), "{error}");
}
