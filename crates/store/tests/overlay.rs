//! Overlays as the kernel makes them: what is merged, who owns what, and what is left behind.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may fail loudly and tell what it measured")]

mod ground;

use std::fs;
use std::path::Path;

use ground::{BASE_ID, Ground, UserNamespace, make_opaque, place, shell};
use store::overlay::{Base, Overlay};

/// Whether these tests stand where they can run.
macro_rules! ground {
    () => {
        match Ground::new() {
            Some(ground) => ground,
            None => return,
        }
    };
}

#[test]
fn layers_merge_and_changes_stay_in_the_upper_directory() {
    let ground = ground!();
    let bottom = ground.layer(1, |tree| {
        shell(tree, "mkdir etc; echo low > etc/low; echo old > etc/both; chown -R 33:33 etc/low");
    });
    let top = ground.layer(2, |tree| {
        shell(tree, "mkdir etc; echo new > etc/both");
    });
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![bottom, top]), &writable).unwrap();
    let mount = overlay.mount(None).unwrap();
    assert_eq!(shell(place(&mount), "cat etc/low etc/both; stat -c %u etc/low"), "low\nnew\n33");
    shell(place(&mount), "echo mine > mine; rm etc/low");
    drop(mount);
    assert_eq!(
        shell(writable.join("upper"), "cat mine; stat -c '%F %t %T' etc/low"),
        "mine\ncharacter special file 0 0"
    );
    assert_eq!(shell(ground.store.layer_tree(&bottom), "cat etc/low"), "low");
}

#[test]
fn ids_are_mapped_in_the_view_and_plain_on_disk() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    let layer = ground.layer(1, |tree| {
        shell(tree, "mkdir etc; echo secret > etc/shadow; chmod 600 etc/shadow; echo x > www; chown 33:33 www");
    });
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![layer]), &writable).unwrap();
    let mount = overlay.mount(Some(namespace.map())).unwrap();
    let line = "cat etc/shadow; stat -c %u:%g www etc/shadow; echo more >> etc/shadow; echo y > new; chown 7:8 new; \
                mkdir d; rm www; mkdir www; stat -c %u:%g new d";
    assert_eq!(namespace.run(&mount, line), "secret\n33:33\n0:0\n7:8\n0:0");
    assert_eq!(shell(place(&mount), "stat -c %u etc/shadow new"), format!("{BASE_ID}\n{}", BASE_ID + 7));
    drop(mount);
    let upper = writable.join("upper");
    assert_eq!(
        shell(&upper, "cat etc/shadow; stat -c %u:%g:%a etc/shadow new d"),
        "secret\nmore\n0:0:600\n7:8:644\n0:0:755"
    );
    assert_eq!(shell(ground.store.layer_tree(&layer), "cat etc/shadow"), "secret");
}

#[test]
fn a_second_mount_sees_what_the_first_left() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    let layer = ground.layer(1, |tree| fs::write(tree.join("file"), "base").unwrap());
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![layer]), &writable).unwrap();
    for round in 0..3 {
        let mount = overlay.mount(Some(namespace.map())).unwrap();
        namespace.run(&mount, &format!("test $(cat file | wc -c) = {}; printf x >> file", 4 + round));
    }
}

#[test]
fn the_way_of_older_kernels_gives_the_same() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    let chain: Vec<_> =
        (0..120).map(|number| ground.layer(number, |tree| fs::write(tree.join("file"), "base").unwrap())).collect();
    for (number, mapping) in [None, Some(namespace.map())].into_iter().enumerate() {
        for base in [Base::Layers(chain.clone()), Base::Layers(vec![]), Base::Host] {
            let writable = ground.writable(&format!("{number}-{}", matches!(base, Base::Host)));
            let overlay = Overlay::new(&ground.store, &base, &writable).unwrap().for_older_kernels();
            let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let mount = overlay.mount(mapping).unwrap();
            assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
            let line = "echo x > new; stat -c %u new";
            match mapping {
                Some(_) => assert_eq!(namespace.run(&mount, line), "0"),
                None => assert_eq!(shell(place(&mount), line), "0"),
            }
            assert_eq!(shell(writable.join("upper"), "cat new; stat -c %u new"), "x\n0");
            drop(mount);
            fs::remove_dir_all(writable.parent().unwrap()).unwrap();
        }
    }
}

#[test]
fn device_nodes_of_an_image_are_dead_in_a_user_namespace() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    let layer = ground.layer(1, |tree| {
        shell(tree, "mknod null c 1 3; chmod 666 null");
    });
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![layer]), &ground.writable("one")).unwrap();
    let mount = overlay.mount(Some(namespace.map())).unwrap();
    assert_eq!(namespace.run(&mount, "test -c null; cat null 2>/dev/null || echo refused"), "refused");
    let mount = overlay.mount(None).unwrap();
    assert_eq!(shell(place(&mount), "cat null && echo read"), "read");
}

#[test]
fn a_hundred_and_twenty_layers() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    let chain: Vec<_> = (0..120)
        .map(|number| {
            ground.layer(number, |tree| {
                fs::write(tree.join(format!("file-{number}")), number.to_string()).unwrap();
                fs::write(tree.join("last"), number.to_string()).unwrap();
            })
        })
        .collect();
    let overlay = Overlay::new(&ground.store, &Base::Layers(chain), &ground.writable("one")).unwrap();
    for mapping in [None, Some(namespace.map())] {
        let mount = overlay.mount(mapping).unwrap();
        assert_eq!(shell(place(&mount), "ls file-* last | wc -l; cat last file-0 file-119"), "121\n1190119");
    }
    assert_eq!(overlay.read_file("file-0", 10).unwrap().as_deref(), Some(&b"0"[..]));
}

#[test]
fn an_image_without_layers_is_nothing_but_mount_points() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![]), &writable).unwrap();
    let mount = overlay.mount(Some(namespace.map())).unwrap();
    assert_eq!(namespace.run(&mount, "ls; echo x > new; stat -c %u ."), "dev\netc\nproc\nsys\n0");
    drop(mount);
    assert_eq!(overlay.read_file("/new", 10).unwrap().as_deref(), Some(&b"x\n"[..]));
}

#[test]
fn the_host_as_a_base_hides_the_engine_and_the_runtime_state() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    for mapping in [None, Some(namespace.map())] {
        let writable = ground.writable(if mapping.is_some() { "mapped" } else { "plain" });
        let overlay = Overlay::new(&ground.store, &Base::Host, &writable).unwrap();
        let mount = overlay.mount(mapping).unwrap();
        let inside = ground.store.root().strip_prefix("/").unwrap().display().to_string();
        let line =
            format!("test -x bin/sh; test -f etc/passwd; ls -A run; ls -A {inside}; stat -c %a .; stat -c %a tmp");
        let seen = match mapping {
            Some(_) => namespace.run(&mount, &line),
            None => shell(place(&mount), &line),
        };
        assert_eq!(seen, "755\n1777");
        let line = "echo skep > etc/skep-test; stat -c %u etc/passwd etc/skep-test";
        match mapping {
            Some(_) => assert_eq!(namespace.run(&mount, line), "0\n0"),
            None => assert_eq!(shell(place(&mount), line), "0\n0"),
        }
        assert!(!Path::new("/etc/skep-test").exists());
        assert_eq!(overlay.read_file("etc/skep-test", 100).unwrap().as_deref(), Some(&b"skep\n"[..]));
        assert_eq!(overlay.read_file("etc/passwd", 1 << 20).unwrap(), fs::read("/etc/passwd").ok());
        assert_eq!(overlay.read_file(&format!("{inside}/oci-layout"), 100).unwrap(), None);
    }
}

#[test]
fn a_directory_as_a_base() {
    let ground = ground!();
    let namespace = UserNamespace::new();
    let base = ground.path.join("base");
    shell(&ground.path, "mkdir -p base/etc; echo x > base/etc/x");
    for directory in [base, ground.path.clone()] {
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        let overlay = Overlay::new(&ground.store, &Base::Directory(directory), &ground.writable(&name)).unwrap();
        let mount = overlay.mount(Some(namespace.map())).unwrap();
        namespace.run(&mount, "test -f etc/x -o -f base/etc/x; echo new > new; test ! -e root/index.json");
    }
    let missing = Overlay::new(&ground.store, &Base::Directory("/no/such/tree".into()), Path::new("/x"));
    let message = missing.unwrap_err().to_string();
    assert_eq!(message, "root file system `/no/such/tree`: no such file or directory");
    let own = Overlay::new(&ground.store, &Base::Directory(ground.store.root().into()), Path::new("/x"));
    assert!(own.unwrap_err().to_string().contains("the engine's own data directory"));
}

#[test]
fn a_missing_layer_is_named() {
    let ground = ground!();
    let layer = ground.layer(1, |_| ());
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![layer]), &ground.writable("one")).unwrap();
    fs::remove_dir_all(ground.store.layer_directory(&layer)).unwrap();
    let expected = format!("layer `{}` of the image is missing; load the image again", &layer.hex()[..12]);
    assert_eq!(overlay.mount(None).unwrap_err().message().to_owned(), expected);
    assert_eq!(overlay.read_file("etc/passwd", 10).unwrap_err().message().to_owned(), expected);
}

#[test]
fn files_are_read_as_the_merged_tree_has_them() {
    let ground = ground!();
    let bottom = ground.layer(1, |tree| {
        shell(
            tree,
            "mkdir -p etc opaque gone usr/lib; echo low > etc/passwd; echo low > etc/low; echo x > opaque/file; \
             echo x > gone/file; echo os > usr/lib/release; ln -s ../usr/lib/release etc/release; ln -s /etc/low etc/absolute; \
             ln -s /../../../../../etc/hostname etc/escape; ln -s loop etc/loop; mkfifo etc/fifo; mknod etc/device c 1 5; \
             ln -s usr/lib lib; echo gone > etc/gone; mkdir as-file; echo x > as-file/x",
        );
    });
    let top = ground.layer(2, |tree| {
        shell(
            tree,
            "mkdir -p etc opaque; echo high > etc/passwd; mknod etc/gone c 0 0; mknod gone c 0 0; echo x > as-file",
        );
        make_opaque(&tree.join("opaque"));
    });
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![bottom, top]), &ground.writable("one")).unwrap();
    let read = |path: &str| {
        overlay.read_file(path, 100).unwrap().map(|bytes| String::from_utf8(bytes).unwrap().trim().to_owned())
    };
    let expected = [
        ("etc/passwd", Some("high")),
        ("/etc/low", Some("low")),
        ("etc/gone", None),
        ("gone/file", None),
        ("opaque/file", None),
        ("as-file/x", None),
        ("etc/release", Some("os")),
        ("lib/release", Some("os")),
        ("etc/absolute", Some("low")),
        // A link to ../../etc/hostname stays inside, where that is a mount point.
        ("etc/escape", Some("")),
        ("etc/loop", None),
        ("etc/fifo", None),
        ("etc/device", None),
        ("etc", None),
        ("etc/passwd/x", None),
        ("none/at/all", None),
        ("../../etc/passwd", Some("high")),
    ];
    for (path, contents) in expected {
        assert_eq!(read(path).as_deref(), contents, "{path}");
    }
    let unmade = Overlay::new(&ground.store, &Base::Layers(vec![bottom]), &ground.path.join("none")).unwrap();
    assert_eq!(unmade.read_file("etc/low", 9).unwrap().as_deref(), Some(&b"low\n"[..]));
    assert!(overlay.read_file("etc/passwd", 2).unwrap_err().to_string().contains("larger than 2 bytes"));
}
