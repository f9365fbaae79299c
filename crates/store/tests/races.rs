//! Copies, exports and look-ups in a container's tree whose owner exchanges directories and links meanwhile.
//!
//! Each round is one operation of the host in a tree where every name on its way is swapped with a link that leads out,
//! as fast as the kernel renames. The canary on the host may not see a single event. `SKEP_ROUNDS=N` makes it N times
//! as long.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail loudly")]
#![allow(dead_code, reason = "the witness has more than one user")]

mod ground;
#[path = "../../../tests/security/witness.rs"]
mod witness;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use ground::{BASE_ID, Ground, UserNamespace, shell};
use store::copy::{Options, Root, from_host, into, out, status, to_host};
use store::export::export;
use store::overlay::{Base, Overlay};
use witness::{Canary, SECRET, Swapper, rounds};

const PLAIN: Options = Options { archive: false, follow_link: false };
const FOLLOWING: Options = Options { archive: true, follow_link: true };

/// A container's root, mounted with ids of its own, with a canary beside the store.
struct Scene {
    ground: Ground,
    overlay: Overlay,
    mount: OwnedFd,
    _namespace: UserNamespace,
    canary: Canary,
    host: PathBuf,
}

impl Scene {
    fn new() -> Option<Scene> {
        let ground = Ground::new()?;
        let namespace = UserNamespace::new();
        let layer = ground.layer(1, |_| ());
        let overlay = Overlay::new(&ground.store, &Base::Layers(vec![layer]), &ground.writable("one")).unwrap();
        let mount = overlay.mount(Some(namespace.map())).unwrap();
        let canary = Canary::new();
        let host = ground.path.join("host");
        fs::create_dir_all(host.join("source/sub")).unwrap();
        fs::write(host.join("source/sub/file"), "payload").unwrap();
        fs::write(host.join("source/passwd"), "payload").unwrap();
        let up = format!("{}{}", "../".repeat(12), canary.path());
        let inside = format!(
            "mkdir -p real/sub real/shm etc; echo inside > real/sub/file; echo inside > real/passwd; echo inside > etc/passwd; \
             ln -s {0} out; ln -s {up} up; ln -s {0}/passwd filelink; echo inside > plain; mkfifo fifo; \
             ln -s /proc/self/root{0} magic; ln -s /proc/self/fd/5 descriptor; ln -s {0} etclink",
            canary.path()
        );
        namespace.run(&mount, &inside);
        Some(Scene { ground, overlay, mount, _namespace: namespace, canary, host })
    }

    fn root(&self) -> Root<'_> {
        Root { directory: self.mount.as_fd(), root_uid: BASE_ID, root_gid: BASE_ID }
    }

    fn swapper(&self, pairs: &[(&str, &str)]) -> Swapper {
        Swapper::start(self.mount.try_clone().unwrap(), pairs)
    }

    /// Runs `operation` so often while names are swapped; then asks the witness.
    fn race(&self, name: &str, pairs: &[(&str, &str)], rounds: u64, mut operation: impl FnMut(u64) -> bool) {
        let swapper = self.swapper(pairs);
        let mut round = |number: &u64| {
            swapper.wait_for_next();
            operation(*number)
        };
        let succeeded = (0..rounds).filter(|number| round(number)).count();
        let swaps = swapper.swaps();
        drop(swapper);
        println!("rounds: {rounds} of {name}: {succeeded} succeeded, {swaps} swaps meanwhile");
        self.canary.assert_untouched(name);
    }
}

const DIRECTORIES: [&[(&str, &str)]; 4] =
    [&[("real", "out")], &[("real", "up")], &[("real", "magic")], &[("real", "descriptor"), ("real/sub", "out")]];
const FILES: [&[(&str, &str)]; 2] = [&[("plain", "filelink")], &[("plain", "fifo"), ("plain", "filelink")]];

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

#[test]
fn nothing_of_the_host_is_read() {
    let Some(scene) = Scene::new() else { return };
    for pairs in DIRECTORIES {
        scene.race("archives out", pairs, rounds(120), |round| {
            let path = ["/real/sub/file", "/real", "/real/", "/out/passwd", "/real/sub/../passwd"][round as usize % 5];
            let options = if round % 2 == 0 { PLAIN } else { FOLLOWING };
            let mut archive = Vec::new();
            let copied = out(&scene.root(), path, options, &mut archive).is_ok();
            assert!(!holds_secret(&archive), "{path}");
            copied
        });
        scene.race("status", pairs, rounds(120), |_| status(&scene.root(), "/real/sub/../passwd").is_ok());
    }
    for pairs in FILES {
        scene.race("a file out", pairs, rounds(80), |round| {
            let options = if round % 2 == 0 { PLAIN } else { FOLLOWING };
            let mut archive = Vec::new();
            let copied = out(&scene.root(), "/plain", options, &mut archive).is_ok();
            assert!(!holds_secret(&archive));
            copied
        });
    }
    scene.race("export", &[("real", "out"), ("plain", "filelink"), ("real/sub", "up")], rounds(60), |_| {
        let mut archive = Vec::new();
        let exported = export(scene.mount.as_fd(), BASE_ID, &mut archive).is_ok();
        assert!(!holds_secret(&archive));
        exported
    });
    scene.race("user files", &[("etc", "etclink"), ("etc/passwd", "filelink")], rounds(120), |_| {
        let text = scene.overlay.read_file("/etc/passwd", 1 << 20);
        assert!(!text.iter().flatten().any(|text| holds_secret(text)));
        text.is_ok()
    });
    drop(scene.ground);
}

#[test]
fn nothing_of_the_host_is_written() {
    let Some(scene) = Scene::new() else { return };
    let tar = scene.host.join("stream.tar");
    shell(scene.host.join("source"), "tar -cf ../stream.tar sub passwd");
    let tar = fs::read(tar).unwrap();
    for pairs in DIRECTORIES {
        scene.race("files in", pairs, rounds(60), |round| {
            let destination = ["/real/sub", "/real/passwd", "/real", "/real/new", "/out"][round as usize % 5];
            let source = ["source/passwd", "source", "source/."][round as usize % 3];
            from_host(&scene.root(), &scene.host.join(source), destination, PLAIN).is_ok()
        });
        scene.race("archives in", pairs, rounds(60), |round| {
            let destination = ["/real/sub", "/real", "/out/sub"][round as usize % 3];
            into(&scene.root(), destination, PLAIN, &mut &tar[..]).is_ok()
        });
    }
    for pairs in FILES {
        scene.race("over a file", pairs, rounds(60), |_| {
            from_host(&scene.root(), &scene.host.join("source/passwd"), "/plain", PLAIN).is_ok()
        });
    }
    drop(scene.ground);
}

#[test]
fn what_comes_out_stays_below_its_destination() {
    let Some(scene) = Scene::new() else { return };
    for pairs in DIRECTORIES {
        scene.race("trees out", pairs, rounds(40), |round| {
            let target = scene.host.join(format!("got-{}", round % 8));
            let _ = fs::remove_dir_all(&target);
            let _ = fs::remove_file(&target);
            let options = if round % 2 == 0 { PLAIN } else { FOLLOWING };
            let copied = to_host(&scene.root(), "/real", &target, options).is_ok();
            // Looked at without following the link that may have been copied.
            if fs::symlink_metadata(&target).is_ok_and(|status| status.is_dir()) {
                assert!(!holds_secret(&fs::read(target.join("passwd")).unwrap_or_default()));
            }
            copied
        });
    }
    drop(scene.ground);
}
