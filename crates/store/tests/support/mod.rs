//! What the tests of the store share: a scratch directory, trees compared to the last attribute, archives by hand.
#![allow(
    dead_code,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test file uses its part"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use store::{ChainId, ImageId, Import, Input, Quiet, Store};

/// A directory that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skep-test-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a script that must succeed.
pub fn shell(script: &str) {
    run("bash", &["-euc", script]);
}

/// Whether a program is there; a test that needs it says so and passes without.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Everything that can be known of a file but its inode number and the times that are not the archive's.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    size: u64,
    device: u64,
    links: u64,
    /// The first path with the same inode, for hard links.
    same_as: PathBuf,
    content: Vec<u8>,
    attributes: BTreeMap<String, Vec<u8>>,
    has_holes: bool,
}

/// All files of a tree.
pub fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    visit(root, Path::new(""), &mut all, &mut inodes);
    all
}

fn visit(root: &Path, path: &Path, all: &mut BTreeMap<PathBuf, Facts>, inodes: &mut BTreeMap<u64, PathBuf>) {
    let full = root.join(path);
    let metadata = fs::symlink_metadata(&full).unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
    } else if kind.is_file() && metadata.size() < 1 << 30 {
        store::Digest::of(&fs::read(&full).unwrap()).as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let same_as = inodes.entry(metadata.ino()).or_insert_with(|| path.to_owned()).clone();
    let facts = Facts {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        size: if kind.is_dir() { 0 } else { metadata.size() },
        device: metadata.rdev(),
        links: if kind.is_dir() { 0 } else { metadata.nlink() },
        same_as,
        content,
        attributes: attributes(&full),
        has_holes: kind.is_file() && metadata.blocks() * 512 + 65536 < metadata.size(),
    };
    all.insert(path.to_owned(), facts);
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            visit(root, &path.join(name), all, inodes);
        }
    }
}

pub fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    let value = |name: &str| {
        let mut value = vec![0_u8; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value[..length].to_vec()
    };
    names.split('\0').filter(|name| !name.is_empty()).map(|name| (name.to_owned(), value(name))).collect()
}

/// Compares two trees and says where they differ.
pub fn assert_same_tree(one: &Path, other: &Path) {
    let (one, other) = (facts(one), facts(other));
    let names = |tree: &BTreeMap<PathBuf, Facts>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&other));
    for (path, facts) in &one {
        assert_eq!(Some(facts), other.get(path), "{}", path.display());
    }
}

/// Imports a tar file.
pub fn import(store: &Store, tar: &Path) -> failure::Result<ImageId> {
    let input = Input::Path(tar.to_owned());
    store::import(
        store,
        Import { input, changes: Vec::new(), message: None, reference: None, platform: None, epoch: None },
        &mut Quiet,
    )
}

/// Imports tar bytes, and gives the tree of the only layer.
pub fn import_bytes(scratch: &Scratch, bytes: &[u8]) -> failure::Result<PathBuf> {
    let store = scratch.store();
    let path = scratch.path("layer.tar");
    fs::write(&path, bytes).unwrap();
    import(&store, &path)?;
    assert_intact(&store);
    Ok(store.layer_tree(&ChainId::above(None, &store::Digest::of(bytes))))
}

/// The line that an import of these bytes fails with; nothing may be left of it.
pub fn import_fails(scratch: &Scratch, bytes: &[u8]) -> String {
    let error = import_bytes(scratch, bytes).expect_err("the archive is hostile");
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    assert_nothing_left(&scratch.path("store"));
    line
}

/// The check, which knows the unpacker's rules from another side, finds nothing wrong.
pub fn assert_intact(store: &Store) {
    let options = store::check::Options { quick: false, foreign: &[] };
    let report = store::check::check(store, &options, || Ok(store::collect::InUse::default()), &mut |_, _| {}).unwrap();
    assert!(report.findings.is_empty() && report.leftovers.is_empty() && report.unproven == 0, "{report:#?}");
}

/// The store is as when it was made.
pub fn assert_nothing_left(store: &Path) {
    for directory in ["leases", "layers", "blobs/sha256"] {
        let left: Vec<_> = fs::read_dir(store.join(directory)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// An archive written by hand: also what no archiver writes.
#[derive(Default)]
pub struct Tar(pub Vec<u8>);

/// A header's fields.
pub struct Head<'a> {
    pub path: &'a str,
    pub kind: u8,
    pub link: &'a str,
    pub mode: u32,
    pub size: u64,
    pub device: (u32, u32),
}

impl<'a> Head<'a> {
    pub fn of(kind: u8, path: &'a str) -> Self {
        Self { path, kind, link: "", mode: 0o644, size: 0, device: (0, 0) }
    }
}

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn head(&mut self, head: &Head<'_>) -> &mut Self {
        let mut block = [0_u8; 512];
        block[..head.path.len()].copy_from_slice(head.path.as_bytes());
        block[157..157 + head.link.len()].copy_from_slice(head.link.as_bytes());
        let mut octal = |at: usize, width: usize, value: u64| {
            block[at..at + width].copy_from_slice(format!("{value:0width$o}").as_bytes());
        };
        octal(100, 7, head.mode.into());
        octal(108, 7, 0);
        octal(116, 7, 0);
        octal(124, 11, head.size);
        octal(136, 11, 1_700_000_000);
        octal(329, 7, head.device.0.into());
        octal(337, 7, head.device.1.into());
        block[156] = head.kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum::<u64>() + 8 * 32;
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
        self
    }

    pub fn data(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.head(&Head { size: content.len() as u64, ..Head::of(b'0', path) }).data(content)
    }

    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.head(&Head { mode: 0o755, ..Head::of(b'5', path) })
    }

    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.head(&Head { link: target, ..Head::of(b'2', path) })
    }

    pub fn hard_link(&mut self, path: &str, target: &str) -> &mut Self {
        self.head(&Head { link: target, ..Head::of(b'1', path) })
    }

    pub fn pax(&mut self, records: &[(&str, &str)]) -> &mut Self {
        self.extended(b'x', records)
    }

    pub fn extended(&mut self, kind: u8, records: &[(&str, &str)]) -> &mut Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let length = (rest.len()..).find(|length| length.to_string().len() + rest.len() == *length).unwrap();
            bytes.extend(format!("{length}{rest}").bytes());
        }
        self.head(&Head { size: bytes.len() as u64, ..Head::of(kind, "pax") }).data(&bytes)
    }

    pub fn end(&self) -> Vec<u8> {
        [self.0.as_slice(), &[0; 1024]].concat()
    }
}

/// Opens a file to hand in.
pub fn open(path: &Path) -> File {
    File::open(path).unwrap()
}
