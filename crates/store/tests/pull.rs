//! Pulling: nothing is seen before it is verified, a cut-off pull goes on where it was, many pulls share the work.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use failure::{Error, Kind, Result};
use store::pull::{Blob, Pull, Remote, pull};
use store::{Digest, Limits, Name, Quiet, Reference, Store};
use support::{Scratch, Tar};

/// A registry that is a directory, each blob a file, behind a socket: who fetches opens no files. It writes down what is
/// asked of it.
struct Files {
    directory: PathBuf,
    habit: Habit,
    address: SocketAddr,
}

/// What is wrong with it.
#[derive(Clone, Copy)]
enum Habit {
    Good,
    /// The connection ends after so many bytes of each answer.
    Cut(u64),
    /// One byte of each answer is another.
    Lie,
    Endless,
    /// As a slow network.
    Slow,
}

impl Files {
    fn new(scratch: &Scratch, habit: Habit) -> Self {
        Self::at(scratch.path("registry"), habit)
    }

    fn at(directory: PathBuf, habit: Habit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = directory.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let served = served.clone();
                std::thread::spawn(move || serve(&served, connection.unwrap()));
            }
        });
        Self { directory, habit, address }
    }

    /// What was asked for: digest and offset.
    fn asked(&self) -> Vec<(String, u64)> {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let line = |line: &str| line.split_once(' ').map(|(digest, from)| (digest.to_owned(), from.parse().unwrap()));
        log.lines().filter_map(line).collect()
    }

    fn forget(&self) {
        let _ = fs::remove_file(self.directory.join("log"));
    }
}

impl Remote for Files {
    fn fetch(&self, blob: &Blob, offset: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.write_all(format!("{} {offset} ", blob.digest.hex()).as_bytes()).unwrap();
        let mut at = offset;
        let mut buffer = vec![0; 10_000];
        loop {
            let mut count = connection.read(&mut buffer).unwrap();
            match self.habit {
                Habit::Endless if count == 0 => count = buffer.len(),
                Habit::Lie if at == offset && count > 0 => buffer[count / 2] ^= 1,
                Habit::Slow => std::thread::sleep(std::time::Duration::from_millis(2)),
                Habit::Cut(most) => {
                    let left = usize::try_from((offset + most).saturating_sub(at)).unwrap();
                    count = count.min(left);
                    if left == 0 {
                        return Err(Error::new(Kind::Unavailable, "the connection was cut"));
                    }
                }
                _ => {}
            }
            if count == 0 {
                return Ok(());
            }
            sink(&buffer[..count])?;
            if at == offset {
                let _ = connection.write_all(b"\n");
            }
            at += count as u64;
        }
    }
}

/// Answers `<digest> <offset> ` with the bytes of that file from there on. What was asked is written down once the asker
/// says by a line feed that it has kept some of the answer, and before the answer ends: it may be killed at any moment.
fn serve(directory: &Path, mut connection: TcpStream) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut word = || {
        let mut word = Vec::new();
        let whole = reader.read_until(b' ', &mut word).is_ok() && word.pop() == Some(b' ');
        whole.then(|| String::from_utf8(word).unwrap())
    };
    let (Some(name), Some(offset)) = (word(), word()) else { return };
    let bytes = fs::read(directory.join(&name)).unwrap();
    let rest = bytes.get(offset.parse().unwrap()..).unwrap_or_default();
    if connection.write_all(rest).is_err() || reader.read_exact(&mut [0]).is_err() {
        return;
    }
    let mut log = OpenOptions::new().append(true).create(true).open(directory.join("log")).unwrap();
    log.write_all(format!("{name} {offset}\n").as_bytes()).unwrap();
}

/// Puts an image of some layers into the registry and says how to pull it. Each layer is a directory of its own, of
/// files that do not compress.
fn image(scratch: &Scratch, name: &str, layers: &[u8]) -> Pull {
    let registry = scratch.path("registry");
    fs::create_dir_all(&registry).unwrap();
    let (mut diff_ids, mut descriptors) = (Vec::new(), Vec::new());
    for number in layers {
        let mut tar = Tar::new();
        for file in 0..4_u8 {
            tar.file(&format!("d{number}/f{file}"), &noise(u64::from(*number) * 100 + u64::from(file), 60_000));
        }
        let tar = tar.end();
        diff_ids.push(format!("\"{}\"", Digest::of(&tar)));
        let (blob, kind) = match number % 3 {
            0 => (tar, "tar"),
            1 => (filtered("gzip", &tar), "tar+gzip"),
            _ => (filtered("zstd", &tar), "tar+zstd"),
        };
        let digest = Digest::of(&blob);
        // Nobody may read a file that is being written.
        if !registry.join(digest.hex()).exists() {
            fs::write(registry.join(digest.hex()), &blob).unwrap();
        }
        descriptors.push(descriptor(&format!("application/vnd.oci.image.layer.v1.{kind}"), &blob));
    }
    let diff_ids = diff_ids.join(",");
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#);
    let manifest = manifest("application/vnd.oci.image.config.v1+json", config.as_bytes(), &descriptors);
    of_documents(name, manifest, vec![config.into_bytes()])
}

fn of_documents(name: &str, manifest: String, mut documents: Vec<Vec<u8>>) -> Pull {
    let digest = Digest::of(manifest.as_bytes());
    let reference = Reference::parse(name).unwrap();
    let names = vec![Name::new(digest, manifest.len() as u64, Some(reference))];
    documents.push(manifest.into_bytes());
    Pull { documents, manifests: vec![digest], names }
}

fn descriptor(kind: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
}

fn manifest(kind: &str, config: &[u8], layers: &[String]) -> String {
    let (config, layers) = (descriptor(kind, config), layers.join(","));
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#)
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn filtered(program: &str, bytes: &[u8]) -> Vec<u8> {
    if program == "zstd" {
        return zstd::encode_all(bytes, 1).unwrap();
    }
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    packed
}

fn files_in(store: &Store, directory: &str) -> usize {
    fs::read_dir(store.root().join(directory)).map_or(0, Iterator::count)
}

/// The image is there, whole, and nothing else is.
fn assert_whole(store: &Store, name: &str, layers: &[u8]) {
    let image = store.resolve(name).unwrap();
    assert_eq!(image.layers.len(), layers.len());
    for (layer, number) in image.layers.iter().zip(layers) {
        let tree = store.layer_tree(layer);
        for file in 0..4_u8 {
            let content = fs::read(tree.join(format!("d{number}/f{file}"))).unwrap();
            assert_eq!(content, noise(u64::from(*number) * 100 + u64::from(file), 60_000));
        }
        assert_eq!(store.layer_size(layer).unwrap(), 240_000);
        assert_eq!(store.layer_archive_size(layer).unwrap(), Some(4 * (512 + 60_416) + 1024));
    }
    for blob in &image.blobs {
        assert_eq!(Digest::of(&fs::read(store.blob_path(&blob.digest)).unwrap()), blob.digest);
    }
    assert_eq!(files_in(store, "partial"), 0);
    assert_eq!(files_in(store, "leases"), 0);
}

/// No image, no layer, no lease.
fn assert_nothing_seen(store: &Store) {
    assert!(store.images().unwrap().is_empty());
    assert_eq!((files_in(store, "layers"), files_in(store, "blobs/sha256"), files_in(store, "leases")), (0, 0, 0));
}

#[test]
fn an_image_is_pulled_once_whatever_compresses_its_layers() {
    let scratch = Scratch::new("pull");
    let store = scratch.store();
    let remote = Files::new(&scratch, Habit::Good);
    let wanted = image(&scratch, "one", &[0, 1, 2, 3, 4, 5]);
    pull(&store, &wanted, &remote, &mut Quiet).unwrap();
    assert_whole(&store, "one", &[0, 1, 2, 3, 4, 5]);
    assert!(remote.asked().iter().all(|(_, from)| *from == 0));
    assert_eq!(remote.asked().len(), 6);
    pull(&store, &wanted, &remote, &mut Quiet).unwrap();
    assert_eq!(remote.asked().len(), 6, "all was there");
    // The same layers below others, and one of them twice.
    pull(&store, &image(&scratch, "two", &[0, 1, 7, 7]), &remote, &mut Quiet).unwrap();
    assert_whole(&store, "two", &[0, 1, 7, 7]);
    assert_eq!(remote.asked().len(), 7);
}

#[test]
fn a_pull_that_is_cut_again_and_again_goes_on_where_it_was() {
    let scratch = Scratch::new("cut");
    let store = scratch.store();
    let layers = [0, 1, 2];
    let wanted = image(&scratch, "one", &layers);
    let mut length = 1;
    let mut rounds = 0;
    loop {
        let remote = Files::new(&scratch, Habit::Cut(length));
        match pull(&store, &wanted, &remote, &mut Quiet) {
            Ok(()) => break,
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error}"),
        }
        assert!(store.images().unwrap().is_empty());
        rounds += 1;
        length = length * 7 % 50_021 + 1_000;
    }
    assert!(rounds > 5, "{rounds}");
    assert_whole(&store, "one", &layers);
    let asked = Files::new(&scratch, Habit::Good).asked();
    for (digest, from) in &asked {
        let others = asked.iter().filter(|(other, start)| other == digest && start == from).count();
        assert!(*from == 0 || others == 1, "{digest} was asked for twice from {from} on");
    }
}

#[test]
fn what_a_registry_sends_wrong_is_refused_and_not_kept() {
    let scratch = Scratch::new("lie");
    let store = scratch.store();
    for (habit, part) in [(Habit::Lie, "with the digest sha256:"), (Habit::Endless, "sends more than")] {
        for layers in [[0], [1], [2]] {
            let wanted = image(&scratch, "one", &layers);
            let error = pull(&store, &wanted, &Files::new(&scratch, habit), &mut Quiet).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(files_in(&store, "partial"), 0);
            assert_nothing_seen(&store);
        }
    }
    // A blob that is shorter than its manifest says.
    let wanted = image(&scratch, "one", &[1]);
    let blob = fs::read_dir(scratch.path("registry")).unwrap().map(|entry| entry.unwrap().path());
    for path in blob.filter(|path| !path.ends_with("log")) {
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(path).unwrap().set_len(length - 1).unwrap();
    }
    let error = pull(&store, &wanted, &Files::new(&scratch, Habit::Good), &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("bytes came"), "{error}");
    assert_nothing_seen(&store);
}

#[test]
fn a_beginning_that_is_wrong_is_thrown_away_once() {
    let scratch = Scratch::new("wrong");
    let store = scratch.store();
    for (layers, junk) in [([0], 1_000), ([1], 20_000), ([2], 1), ([4], 10_000_000)] {
        let wanted = image(&scratch, "one", &layers);
        let remote = Files::new(&scratch, Habit::Good);
        remote.forget();
        let digest = store_digest(&wanted, &scratch);
        fs::create_dir_all(store.root().join("partial")).unwrap();
        fs::write(store.partial_path(&digest), vec![7; junk]).unwrap();
        pull(&store, &wanted, &remote, &mut Quiet).unwrap();
        assert_whole(&store, "one", &layers);
        assert_eq!(remote.asked().last().unwrap().1, 0);
        assert!(remote.asked().len() <= 2);
    }
    // A registry that lies is not asked a third time.
    let wanted = image(&scratch, "two", &[8]);
    let digest = store_digest(&wanted, &scratch);
    fs::write(store.partial_path(&digest), vec![7; 5_000]).unwrap();
    let remote = Files::new(&scratch, Habit::Lie);
    remote.forget();
    assert!(pull(&store, &wanted, &remote, &mut Quiet).is_err());
    assert_eq!(remote.asked().len(), 2);
}

/// The only layer of an image.
fn store_digest(wanted: &Pull, scratch: &Scratch) -> Digest {
    let manifest = String::from_utf8(wanted.documents.last().unwrap().clone()).unwrap();
    let names = fs::read_dir(scratch.path("registry")).unwrap().map(|entry| entry.unwrap().file_name());
    let digests = names.filter_map(|name| Digest::from_hex(name.to_str()?).ok());
    digests.into_iter().find(|digest| manifest.contains(digest.hex().as_str())).unwrap()
}

#[test]
fn what_is_no_image_and_what_goes_beyond_limits() {
    let scratch = Scratch::new("artifact");
    let store = scratch.store();
    let registry = scratch.path("registry");
    fs::create_dir_all(&registry).unwrap();
    let (config, content) = (b"{}".to_vec(), b"a chart".to_vec());
    for bytes in [&config, &content] {
        fs::write(registry.join(Digest::of(bytes).hex()), bytes).unwrap();
    }
    let chart = manifest("application/x.config", &config, &[descriptor("application/x.chart", &content)]);
    let remote = Files::new(&scratch, Habit::Good);
    pull(&store, &of_documents("chart", chart, Vec::new()), &remote, &mut Quiet).unwrap();
    assert!(store.has_blob(&Digest::of(&content)) && store.has_blob(&Digest::of(&config)));
    assert!(store.resolve("chart").unwrap_err().to_string().contains("not a container image"));

    let foreign = image(&scratch, "foreign", &[1]);
    let text = String::from_utf8(foreign.documents[1].clone()).unwrap();
    let text = text.replace(".layer.v1.tar", ".layer.nondistributable.v1.tar");
    let foreign = of_documents("foreign", text, vec![foreign.documents[0].clone()]);
    let error = pull(&store, &foreign, &remote, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("foreign layer"), "{error}");

    let twice = image(&scratch, "twice", &[1]);
    let config = twice.documents[0].clone();
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar", &config);
    let twice = manifest("application/vnd.oci.image.config.v1+json", &config, &[layer]);
    let error = pull(&store, &of_documents("twice", twice, vec![config]), &remote, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("a layer and a document at once"), "{error}");

    let limits = Limits { layer_bytes: 100_000, ..Limits::default() };
    let small = Store::open(&scratch.path("small")).unwrap().with_limits(limits);
    let error = pull(&small, &image(&scratch, "one", &[1]), &remote, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("unpacks to more than"), "{error}");
    let limits = Limits { keep_free: u64::MAX / 2, ..Limits::default() };
    let full = Store::open(&scratch.path("full")).unwrap().with_limits(limits);
    let error = pull(&full, &image(&scratch, "one", &[1]), &remote, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("are free"), "{error}");
    assert_nothing_seen(&full);
}

/// Not a test of its own: what the others start, and kill.
#[test]
fn pull_and_end() {
    let Ok(root) = std::env::var("SKEP_TEST_PULL") else { return };
    let layers: Vec<u8> = std::env::var("SKEP_TEST_LAYERS").unwrap().bytes().map(|digit| digit - b'0').collect();
    let directory = Path::new(&root).join("registry");
    let remote = Files::at(directory, Habit::Slow);
    let store = Store::open(&Path::new(&root).join("store")).unwrap();
    let scratch = std::mem::ManuallyDrop::new(Scratch(PathBuf::from(root)));
    let name = format!("image{}", layers.len());
    pull(&store, &image(&scratch, &name, &layers), &remote, &mut Quiet).unwrap();
}

fn start(scratch: &Scratch, layers: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pull_and_end"])
        .env("SKEP_TEST_PULL", &scratch.0)
        .env("SKEP_TEST_LAYERS", layers)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
fn many_pulls_at_once_fetch_each_layer_once() {
    let scratch = Scratch::new("many");
    let store = scratch.store();
    for layers in ["012345", "012", "0126", "78"] {
        image(&scratch, "any", &layers.bytes().map(|digit| digit - b'0').collect::<Vec<_>>());
    }
    let wanted = ["012345", "012", "0126", "78", "012345", "012345", "012", "0126", "012345", "78"];
    let children: Vec<Child> = wanted.iter().map(|layers| start(&scratch, layers)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for (name, layers) in [("image6", &[0, 1, 2, 3, 4, 5][..]), ("image3", &[0, 1, 2]), ("image4", &[0, 1, 2, 6])] {
        assert_whole(&store, name, layers);
    }
    let mut asked = Files::new(&scratch, Habit::Good).asked();
    asked.sort();
    assert_eq!(asked.len(), 9, "{asked:?}");
    assert_eq!(files_in(&store, "layers"), 9);
}

#[test]
fn a_pull_can_be_killed_at_any_moment() {
    const ROUNDS: u32 = 16;
    let scratch = Scratch::new("killed");
    let layers = [0, 1, 2, 3];
    image(&scratch, "any", &layers);
    let begun = std::time::Instant::now();
    assert!(start(&scratch, "0123").wait().unwrap().success());
    let whole = begun.elapsed();
    fs::remove_dir_all(scratch.path("store")).unwrap();
    for round in 0..ROUNDS {
        let mut child = start(&scratch, "0123");
        std::thread::sleep(whole * round / ROUNDS);
        child.kill().unwrap();
        child.wait().unwrap();
        let store = scratch.store();
        for image in store.images().unwrap() {
            assert_whole(&store, &image.names[0].to_string(), &layers);
        }
        if round % 4 == 3 {
            // The killed one's processes die with it, at once but not before this one goes on.
            assert!(start(&scratch, "0123").wait().unwrap().success());
            assert_whole(&store, "image4", &layers);
            fs::remove_dir_all(scratch.path("store")).unwrap();
        }
    }
}
