//! What the kernel tests of the store stand on: a store in a directory of its own, layers made by hand, a user
//! namespace to map ids for, and commands run as its root.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test file uses a part; tests may fail loudly and say why they skip"
)]

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use store::export::export;
use store::overlay::IdMap;
use store::{ChainId, ConfigChange, Digest, Image, Import, Input, Quiet, Reference, Store};

/// The first id of the range that tests map to.
pub const BASE_ID: u32 = 0x1800_0000;

/// A store that goes with the value.
pub struct Ground {
    pub store: Store,
    pub path: PathBuf,
}

impl Ground {
    /// A fresh store; none, with a word why, without the rights that these tests need.
    pub fn new() -> Option<Ground> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let name = format!("store-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let store = Store::open(&path.join("root")).unwrap();
        Some(Ground { store, path })
    }

    /// A layer made by `fill`, called by its number.
    pub fn layer(&self, number: u32, fill: impl FnOnce(&Path)) -> ChainId {
        let layer = ChainId(Digest::of(&number.to_le_bytes()));
        let tree = self.store.layer_tree(&layer);
        fs::create_dir_all(&tree).unwrap();
        fill(&tree);
        layer
    }

    /// A new writable layer.
    pub fn writable(&self, name: &str) -> PathBuf {
        let directory = self.store.root().join("containers").join(name);
        fs::create_dir_all(&directory).unwrap();
        store::writable::create(&directory.join("layer")).unwrap();
        directory.join("layer")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A user namespace held by a sleeping process, with 65,536 ids from [`BASE_ID`].
pub struct UserNamespace {
    holder: Child,
    namespace: OwnedFd,
}

impl UserNamespace {
    pub fn new() -> UserNamespace {
        let holder = Command::new("unshare").args(["--user", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        let link = format!("/proc/{}/ns/user", holder.id());
        while fs::read_link(&link).unwrap() == own {
            std::thread::yield_now();
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", holder.id()), format!("0 {BASE_ID} 65536")).unwrap();
        }
        UserNamespace { holder, namespace: fs::File::open(link).unwrap().into() }
    }

    pub fn map(&self) -> IdMap<'_> {
        IdMap { user_namespace: self.namespace.as_fd(), root_uid: BASE_ID, root_gid: BASE_ID }
    }

    /// Runs a shell line as the namespace's root with `directory` as its working directory; gives back its output.
    pub fn run(&self, directory: &OwnedFd, line: &str) -> String {
        let place = format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd());
        let target = format!("--target={}", self.holder.id());
        let output = Command::new("nsenter")
            .args([&target, "--user", "--setuid=0", "--setgid=0", "sh", "-ec", line])
            .current_dir(place)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs a shell line in a directory as the tests' own user; gives back its output.
pub fn shell(directory: impl AsRef<Path>, line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// One line for each thing in a tree: all that an archive has to keep.
pub fn listing(tree: impl AsRef<Path>) -> String {
    shell(
        tree,
        "find . -mindepth 1 \\( -type d -printf '%P d %m %U:%G %T@\\n' \\) -o \\( ! -type s -printf '%P %y %m %U:%G %s %T@ %l %n\\n' \\) | sort; \
         find . -type f -exec sha256sum {} + | sort; find . -type c -exec stat -c '%n %t %T' {} +",
    )
}

/// An image called `name`, of one layer that a shell line makes, with `ENV A=1`.
pub fn image(ground: &Ground, name: &str, line: &str) -> Image {
    let tree = ground.path.join("rootfs");
    fs::create_dir(&tree).unwrap();
    shell(&tree, line);
    let mut tar = Vec::new();
    export(fs::File::open(&tree).unwrap().as_fd(), 0, &mut tar).unwrap();
    let path = ground.path.join("rootfs.tar");
    fs::write(&path, tar).unwrap();
    let reference = Some(Reference::parse(name).unwrap());
    let changes = vec![ConfigChange::parse("ENV A=1").unwrap()];
    let import = Import { input: Input::Path(path), changes, message: None, reference, platform: None, epoch: Some(7) };
    store::import(&ground.store, import, &mut Quiet).unwrap();
    fs::remove_dir_all(tree).unwrap();
    ground.store.resolve(name).unwrap()
}

/// Whether a program is there; a test that needs it says so and passes without.
pub fn has(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program} >/dev/null")]).status().unwrap().success();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Marks a directory as overlayfs does one that hides those below it.
pub fn make_opaque(directory: &Path) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(directory, "trusted.overlay.opaque", b"y", flags).unwrap();
}

/// The path by which this process reaches an open directory.
pub fn place(directory: &OwnedFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), directory.as_raw_fd()).into()
}
