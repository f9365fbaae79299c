//! `cp` between the host and a container's tree: Docker's rules, and what a hostile container cannot reach.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ground::{BASE_ID, Ground, UserNamespace, shell};
use rustix::fs::RenameFlags;
use store::copy::{Options, Root, from_host, into, out, status, to_host};
use store::overlay::{Base, Overlay};

/// A mapped container and a directory of the host.
struct Scene {
    ground: Ground,
    namespace: UserNamespace,
    mount: OwnedFd,
    host: PathBuf,
}

impl Scene {
    fn new(inside: &str, host: &str) -> Option<Scene> {
        let ground = Ground::new()?;
        let namespace = UserNamespace::new();
        let layer = ground.layer(1, |_| ());
        let overlay = Overlay::new(&ground.store, &Base::Layers(vec![layer]), &ground.writable("one")).unwrap();
        let mount = overlay.mount(Some(namespace.map())).unwrap();
        namespace.run(&mount, inside);
        let directory = ground.path.join("host");
        fs::create_dir(&directory).unwrap();
        shell(&directory, host);
        Some(Scene { ground, namespace, mount, host: directory })
    }

    fn root(&self) -> Root<'_> {
        Root { directory: self.mount.as_fd(), root_uid: BASE_ID, root_gid: BASE_ID }
    }

    fn inside(&self, line: &str) -> String {
        self.namespace.run(&self.mount, line)
    }

    fn copy_out(&self, source: &str, destination: &str, options: Options) -> Result<(), String> {
        to_host(&self.root(), source, &self.host.join(destination), options).map_err(|error| error.to_string())
    }

    fn copy_in(&self, source: &str, destination: &str) -> Result<(), String> {
        let source = format!("{}/{source}", self.host.display());
        let source = Path::new(&source);
        from_host(&self.root(), source, destination, Options::default()).map_err(|error| error.to_string())
    }
}

const PLAIN: Options = Options { archive: false, follow_link: false };

#[test]
fn out_of_a_container() {
    let inside = "mkdir -p d/sub dir; echo file > f; echo deep > d/sub/x; ln -s /f link; ln -s d dlink; ln -s ../../../f up; \
                  mkfifo d/fifo; chown 33:44 f; touch -d @1000.5 f; chmod 4751 f; ln f hard; chmod 700 d/sub";
    let Some(scene) = Scene::new(inside, "mkdir there; echo old > file; ln -s there tolink") else { return };
    let copy = |source: &str, destination: &str| scene.copy_out(source, destination, PLAIN);
    copy("/f", "there").unwrap();
    copy("f", "new").unwrap();
    copy("/f", "file").unwrap();
    copy("/link", "link").unwrap();
    scene.copy_out("/link", "followed", Options { follow_link: true, ..PLAIN }).unwrap();
    scene.copy_out("/f", "kept", Options { archive: true, ..PLAIN }).unwrap();
    copy("/d", "there").unwrap();
    copy("/d", "renamed").unwrap();
    fs::create_dir(scene.host.join("contents")).unwrap();
    copy("/d/.", "contents").unwrap();
    copy("/dlink/", "viaslash").unwrap();
    copy("/d/sub/x", "tolink").unwrap();
    copy("/up", "there").unwrap();
    assert_eq!(scene.copy_out("/none", "x", PLAIN).unwrap_err(), "no such file or directory `/none` in the container");
    assert_eq!(scene.copy_out("/f/", "x", PLAIN).unwrap_err(), "`/f/` in the container is not a directory");
    assert!(scene.copy_out("/d", "file", PLAIN).unwrap_err().starts_with("cannot copy directory `/d` over the file"));
    assert!(scene.copy_out("/f", "no/x", PLAIN).unwrap_err().contains("no such file or directory"));
    assert!(scene.copy_out("/f", "no/", PLAIN).unwrap_err().starts_with("no such directory"));
    let seen = shell(
        &scene.host,
        "find . -mindepth 1 -printf '%P %y %m %U:%G %l\\n' | sort; cat file new there/x; stat -c %.1Y new",
    );
    let expected = "contents d 755 0:0 \ncontents/fifo p 644 0:0 \ncontents/sub d 700 0:0 \ncontents/sub/x f 644 0:0 \n\
                    file f 751 0:0 \nfollowed f 751 0:0 \nkept f 4751 33:44 \nlink l 777 0:0 /f\nnew f 751 0:0 \n\
                    renamed d 755 0:0 \nrenamed/fifo p 644 0:0 \nrenamed/sub d 700 0:0 \nrenamed/sub/x f 644 0:0 \n\
                    there d 755 0:0 \nthere/d d 755 0:0 \nthere/d/fifo p 644 0:0 \nthere/d/sub d 700 0:0 \n\
                    there/d/sub/x f 644 0:0 \nthere/f f 751 0:0 \nthere/up l 777 0:0 ../../../f\nthere/x f 644 0:0 \n\
                    tolink l 777 0:0 there\nviaslash d 755 0:0 \nviaslash/fifo p 644 0:0 \nviaslash/sub d 700 0:0 \n\
                    viaslash/sub/x f 644 0:0 \nfile\nfile\ndeep\n1000.5";
    assert_eq!(seen, expected);
}

#[test]
fn into_a_container() {
    let inside = "mkdir -p there etc; echo old > file; ln -s /there abs; ln -s file flink; ln -s ../../etc esc; ln -s /etc/new dangling";
    let host = "mkdir -p d/sub; echo x > d/sub/x; ln d/sub/x d/hard; echo f > f; chown 33:44 f; ln -s f l; truncate -s 5M d/hole; chmod 2755 f";
    let Some(scene) = Scene::new(inside, host) else { return };
    scene.copy_in("f", "/there").unwrap();
    scene.copy_in("f", "/file").unwrap();
    scene.copy_in("f", "new").unwrap();
    scene.copy_in("l", "/l").unwrap();
    scene.copy_in("d", "/there").unwrap();
    scene.copy_in("d/.", "/abs").unwrap();
    scene.copy_in("d", "/renamed").unwrap();
    scene.copy_in("f", "/flink").unwrap();
    scene.copy_in("f", "/esc/escaped").unwrap();
    scene.copy_in("f", "/dangling").unwrap();
    assert!(scene.copy_in("d", "/file").unwrap_err().starts_with("cannot copy directory"));
    assert!(scene.copy_in("f", "/none/x").unwrap_err().contains("no such directory `/none`"));
    assert!(scene.copy_in("f", "/none/").unwrap_err().contains("no such directory `/none/`"));
    assert!(scene.copy_in("nothing", "/x").unwrap_err().contains("no such file or directory"));
    scene.inside("mkdir -p clash/d/sub/x");
    assert!(scene.copy_in("d", "/clash").unwrap_err().contains("cannot overwrite a directory with a file"));
    let seen = scene.inside("stat -c '%n %F %u:%g %a' there/f file new l flink etc/escaped etc/new renamed/sub there/d/sub there/hole; \
                             cat there/sub/x renamed/hard file; stat -c %h renamed/hard; test $(stat -c %b there/hole) -lt 100");
    let expected = "there/f regular file 33:44 2755\nfile regular file 33:44 2755\nnew regular file 33:44 2755\n\
                    l symbolic link 0:0 777\nflink symbolic link 0:0 777\netc/escaped regular file 33:44 2755\n\
                    etc/new regular file 33:44 2755\nrenamed/sub directory 0:0 755\nthere/d/sub directory 0:0 755\n\
                    there/hole regular file 0:0 644\nx\nx\nf\n2";
    assert_eq!(seen, expected);
    assert!(rustix::thread::capabilities(None).unwrap().effective.contains(rustix::thread::CapabilitySet::CHOWN));
    fs::write(scene.host.join("mine"), "x").unwrap();
    assert_eq!(shell(&scene.host, "stat -c %u mine"), "0");
}

#[test]
fn streams_go_both_ways_and_hostile_ones_stay_inside() {
    let Some(scene) =
        Scene::new("mkdir -p a/b dst; echo x > a/b/c; ln -s /etc ln; mkdir -p etc", "mkdir d; echo y > d/y")
    else {
        return;
    };
    let mut tar = Vec::new();
    out(&scene.root(), "/a", PLAIN, &mut tar).unwrap();
    fs::write(scene.host.join("a.tar"), &tar).unwrap();
    assert_eq!(shell(&scene.host, "tar -tf a.tar; gzip -k a.tar"), "a/\na/b/\na/b/c");
    for name in ["a.tar", "a.tar.gz"] {
        into(&scene.root(), "/dst", PLAIN, &mut File::open(scene.host.join(name)).unwrap()).unwrap();
        assert_eq!(scene.inside("cat dst/a/b/c; rm -r dst/a; stat -c %u dst"), "x\n0");
    }
    let error = into(&scene.root(), "/a/b/c", PLAIN, &mut &tar[..]).unwrap_err().to_string();
    assert_eq!(error, "destination `/a/b/c` must be a directory");
    let error = into(&scene.root(), "/dst", PLAIN, &mut &tar[..700]).unwrap_err().to_string();
    assert!(error.contains("archive"), "{error}");
    shell(
        &scene.host,
        "tar -cPf up.tar --transform 's|d/y|../../../up|' d/y; ln -s / d/root; tar -cf through.tar d/root; \
                        mkdir -p e/d; rm d/root; mkdir d/root; echo z > d/root/escaped; tar -rf through.tar d/root/escaped",
    );
    let error = into(&scene.root(), "/dst", PLAIN, &mut File::open(scene.host.join("up.tar")).unwrap()).unwrap_err();
    assert!(error.to_string().contains("the path goes upwards"), "{error}");
    into(&scene.root(), "/dst", PLAIN, &mut File::open(scene.host.join("through.tar")).unwrap()).unwrap();
    assert_eq!(scene.inside("cat escaped"), "z");
    assert!(!Path::new("/escaped").exists());
}

#[test]
fn status_is_what_the_container_sees() {
    let Some(scene) =
        Scene::new("mkdir -p a/b; echo xyz > a/f; ln -s ../../../a/f a/b/l; ln -s /proc/self/root/etc magic", "true")
    else {
        return;
    };
    let file = status(&scene.root(), "/a/f").unwrap();
    assert_eq!((file.name.as_str(), file.size, file.mode & 0o777), ("f", 4, 0o644));
    let link = status(&scene.root(), "a/b/l").unwrap();
    assert_eq!((link.mode & 0o170_000, link.link_target.to_str().unwrap()), (0o120_000, "/a/f"));
    assert!(status(&scene.root(), "/a/g").is_err());
    assert!(to_host(&scene.root(), "/magic/passwd", &scene.host.join("x"), PLAIN).is_err());
}

/// The container swaps a directory with a link to the host's root paths, over and over, while files are copied
/// through it in both directions.
#[test]
fn a_racing_container_reaches_nothing_outside() {
    let Some(scene) = Scene::new("mkdir -p real/sub; echo inside > real/sub/file; ln -s / link", "mkdir src got")
    else {
        return;
    };
    // The same path exists on the host, so that an escape would be seen.
    let secret = scene.ground.path.join("secret");
    fs::create_dir_all(secret.join("sub")).unwrap();
    fs::write(secret.join("sub/file"), "outside").unwrap();
    fs::write(scene.host.join("src/payload"), "payload").unwrap();
    let links = ["../../../../../../../..".to_owned() + secret.to_str().unwrap(), secret.display().to_string()];
    for link in &links {
        scene.inside(&format!("rm -rf real swap; mkdir -p real/sub; echo inside > real/sub/file; ln -s {link} swap"));
        fs::remove_dir_all(scene.host.join("got")).unwrap();
        fs::create_dir(scene.host.join("got")).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let flags = RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(&scene.mount, "real", &scene.mount, "swap", flags).unwrap();
                }
            });
            let (mut inside, mut failed) = (0, 0);
            for round in 0..40 {
                let target = scene.host.join(format!("got/{round}"));
                match to_host(&scene.root(), "/real/sub/file", &target, PLAIN) {
                    Ok(()) => {
                        assert_eq!(fs::read_to_string(&target).unwrap(), "inside\n");
                        inside += 1;
                    }
                    Err(_) => failed += 1,
                }
                let _ = scene.copy_in("src/payload", "/real/sub");
                let _ = scene.copy_in("src", "/real/sub");
                let _ = to_host(&scene.root(), "/real", &scene.host.join(format!("got/tree-{round}")), PLAIN);
            }
            stop.store(true, Ordering::Relaxed);
            assert!(inside > 0 && failed > 0, "the race was not one: {inside} {failed}");
        });
        assert_eq!(shell(&secret, "find . | sort | tr '\\n' ' '; cat sub/file"), ". ./sub ./sub/file outside");
        assert_eq!(
            shell(scene.host.join("got"), "find . -name file -exec cat {} + 2>/dev/null | sort -u; true"),
            "inside"
        );
    }
}
