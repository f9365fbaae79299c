//! Writable layers go away whatever is in them, and nothing outside does.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs;

use ground::{Ground, shell};
use rustix::fs::{Mode, OFlags};
use store::writable;

#[test]
fn hostile_trees_are_deleted_and_links_are_not_followed() {
    let Some(ground) = Ground::new() else { return };
    fs::write(ground.path.join("outside"), "precious").unwrap();
    fs::create_dir(ground.path.join("directory")).unwrap();
    fs::write(ground.path.join("directory/file"), "precious").unwrap();
    let layer = ground.writable("one");
    let upper = layer.join("upper");
    shell(
        &upper,
        &format!(
            "mkdir -p a/b; ln -s {0}/directory link; ln -s {0}/outside a/link; ln -s / a/b/root; mkfifo fifo; \
             mknod gone c 0 0; mkdir closed; chmod 0 closed; touch $(seq 3000); mkdir many; cd many; mkdir $(seq 500); cd ..; \
             touch stuck; chattr +i stuck 2>/dev/null || true; mkdir held; touch held/x; chattr +i held 2>/dev/null || true",
            ground.path.display()
        ),
    );
    // Deeper than any path, and than any number of open files.
    let mut directory = rustix::fs::open(&upper, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&directory, "deeeeeeeeep", Mode::RWXU).unwrap();
        rustix::fs::symlinkat("/", &directory, "down").unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        directory = rustix::fs::openat(&directory, "deeeeeeeeep", flags, Mode::empty()).unwrap();
    }
    let container = layer.parent().unwrap();
    writable::discard(&ground.store, container).unwrap();
    assert!(!container.exists());
    writable::discard(&ground.store, container).unwrap();
    writable::sweep_trash(&ground.store).unwrap();
    assert_eq!(fs::read_dir(ground.store.root().join("trash")).unwrap().count(), 0);
    assert_eq!(shell(&ground.path, "cat outside directory/file"), "preciousprecious");
}

#[test]
fn several_sweepers_do_not_disturb_each_other() {
    let Some(ground) = Ground::new() else { return };
    for number in 0..4 {
        let layer = ground.writable(&number.to_string());
        shell(
            layer.join("upper"),
            "for i in $(seq 50); do mkdir -p $i/a/b/c; touch $i/a/b/c/$(seq -s ' ' 20 | tr ' ' -) $i/x; done",
        );
        writable::discard(&ground.store, layer.parent().unwrap()).unwrap();
    }
    std::thread::scope(|scope| {
        let sweepers: Vec<_> = (0..4).map(|_| scope.spawn(|| writable::sweep_trash(&ground.store))).collect();
        for sweeper in sweepers {
            sweeper.join().unwrap().unwrap();
        }
    });
    writable::sweep_trash(&ground.store).unwrap();
    assert_eq!(fs::read_dir(ground.store.root().join("trash")).unwrap().count(), 0);
}

#[test]
fn the_size_is_that_of_the_files() {
    let Some(ground) = Ground::new() else { return };
    let layer = ground.writable("one");
    shell(layer.join("upper"), "printf 12345 > a; mkdir d; printf 1234567 > d/b; ln -s a c; mknod gone c 0 0");
    assert_eq!(writable::size(&layer).unwrap(), 12);
}
