//! The unpacker against GNU tar as the oracle, and against archives that mean harm. Runs as root.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use support::{Head, Scratch, Tar, assert_same_tree, attributes, import, import_bytes, import_fails, shell};

/// A tree with everything that an archive can hold.
const EVERYTHING: &str = r#"
    mkdir -p tree/a/b/c tree/empty tree/setgid tree/private
    cd tree
    echo hello > a/file; printf '' > a/empty
    head -c 3000000 /dev/urandom > a/b/large
    ln a/file a/b/hard; ln -s ../file a/b/soft; ln -s /etc/passwd a/absolute; ln -s nowhere a/dangling; ln a/dangling a/hard-to-soft
    mkfifo a/pipe; mknod a/null c 1 3; mknod a/disk b 8 1
    chmod 4755 a/file; chmod 2755 setgid; chmod 700 private; chmod 1777 empty; chmod 000 a/empty
    chown 12:34 a/file; chown -h 5:6 a/b/soft; chown 100000:200000 private; chown 7:8 setgid a/pipe; echo x > setgid/child; chown 0:8 setgid/child
    cp /bin/true a/capable; setcap cap_net_raw+ep a/capable; chown 1:1 a/b/large
    setfattr -n user.test -v value a/file; setfattr -n user.directory -v d a/b
    truncate -s 10M a/hole; printf data | dd of=a/hole bs=1 seek=5000000 conv=notrunc status=none
    truncate -s 3G a/huge; printf end | dd of=a/huge bs=1 seek=3221225400 conv=notrunc status=none
    long=$(printf 'd%.0s' $(seq 200)); mkdir -p $long/$long; echo long > $long/$long/$(printf 'n%.0s' $(seq 240)); ln -s $long/$long a/long
    echo odd > "$(printf 'a/odd\n\t\\name\xff')"
    touch -d '1960-01-01 00:00:00.123456789' a/b/c; touch -d '2100-01-01' a/b/large; touch -h -d '2001-02-03 04:05:06.7' a/b/soft
    touch -d '2020-01-01 00:00:00.999999999' a/b a empty setgid private
"#;

/// Archives the tree by `options`, unpacks it with both, and compares.
fn compare_with_gnu(name: &str, options: &str) {
    let scratch = Scratch::new(name);
    let root = scratch.0.display();
    let make = EVERYTHING.replace("setfattr", "set_attribute");
    let set_attribute = r#"set_attribute() { python3 -c 'import os,sys; os.setxattr(sys.argv[3], sys.argv[1], sys.argv[2].encode())' "$2" "$4" "$5"; }"#;
    shell(&format!("umask 022; cd {root}; {set_attribute}\n{make}"));
    shell(&format!(
        "cd {root}; tar -C tree {options} -cf t.tar .; mkdir expected; \
         tar -C expected -xpf t.tar --numeric-owner --same-owner --xattrs --xattrs-include='*' 2>/dev/null"
    ));
    let bytes = fs::read(scratch.path("t.tar")).unwrap();
    let tree = import_bytes(&scratch, &bytes).unwrap();
    assert_same_tree(&scratch.path("expected"), &tree);
}

#[test]
fn a_posix_archive_unpacks_as_with_gnu_tar() {
    compare_with_gnu("posix", "--format=posix --xattrs --xattrs-include='*' --sparse --numeric-owner");
}

#[test]
fn a_posix_archive_with_older_sparse_maps() {
    compare_with_gnu("sparse00", "--format=posix --sparse --sparse-version=0.0 --xattrs --xattrs-include='*'");
    compare_with_gnu("sparse01", "--format=posix --sparse --sparse-version=0.1 --xattrs --xattrs-include='*'");
}

#[test]
fn a_gnu_archive_unpacks_as_with_gnu_tar() {
    compare_with_gnu("gnu", "--format=gnu --sparse");
}

#[test]
fn whiteouts_become_what_overlayfs_wants() {
    let scratch = Scratch::new("whiteouts");
    let mut tar = Tar::new();
    tar.directory("d/").file("d/.wh.gone", b"").file("d/kept", b"1");
    // The mark comes after the children.
    tar.directory("opaque/").file("opaque/child", b"2").file("opaque/.wh..wh..opq", b"");
    tar.file(".wh.replaced", b"").file("replaced", b"3");
    tar.file(".wh.dir", b"").file("dir/inside", b"4");
    tar.file(".wh.dir2", b"").directory("dir2/");
    tar.directory("both/").file("both/x", b"").file(".wh.both", b"").file(".wh..wh.plnk", b"");
    tar.file("implicit/.wh..wh..opq", b"");
    let tree = import_bytes(&scratch, &tar.end()).unwrap();
    let gone = fs::symlink_metadata(tree.join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(fs::read(tree.join("replaced")).unwrap(), b"3");
    for (path, opaque) in
        [("opaque", true), ("dir", true), ("dir2", true), ("both", true), ("implicit", true), ("d", false)]
    {
        let marked = attributes(&tree.join(path)).get("trusted.overlay.opaque").map(Vec::as_slice) == Some(b"y");
        assert_eq!(marked, opaque, "{path}");
    }
    assert_eq!(fs::read_dir(&tree).unwrap().count(), 7);
    assert_eq!(fs::read_dir(tree.join("opaque")).unwrap().count(), 1);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let scratch = Scratch::new("replace");
    let mut tar = Tar::new();
    tar.file("a", b"1").symlink("a", "b").file("a", b"2");
    tar.directory("d/").file("d/x/y", b"").symlink("d", "/etc").directory("d/").file("d/new", b"");
    tar.directory("m/").file("m/x", b"").directory("m/");
    tar.file("f", b"one").hard_link("g", "f").file("f", b"two").hard_link("f", "f").hard_link("./f", "/f");
    let tree = import_bytes(&scratch, &tar.end()).unwrap();
    assert_eq!(fs::read(tree.join("a")).unwrap(), b"2");
    assert_eq!(fs::read_dir(tree.join("d")).unwrap().count(), 1);
    assert!(tree.join("m/x").exists());
    assert_eq!(
        (fs::read(tree.join("f")).unwrap(), fs::read(tree.join("g")).unwrap()),
        (b"two".to_vec(), b"one".to_vec())
    );
}

#[test]
fn names_that_leave_the_layer_are_contained_or_refused() {
    let scratch = Scratch::new("names");
    let refused = |tar: &Tar, word: &str| {
        let line = import_fails(&scratch, &tar.end());
        assert!(line.contains(word), "{line}");
    };
    refused(Tar::new().file("../escape", b""), "`../escape`");
    refused(Tar::new().file("a/../../escape", b""), "upwards");
    refused(Tar::new().symlink("l", "/tmp").file("l/escape-by-link", b""), "not a directory");
    refused(Tar::new().symlink("l", ".").file("l/x", b""), "`l`");
    refused(Tar::new().file("f", b"").file("f/x", b""), "not a directory");
    refused(Tar::new().hard_link("x", "/etc/passwd"), "`/etc/passwd`");
    refused(Tar::new().hard_link("x", "../../../../etc/passwd"), "upwards");
    refused(Tar::new().symlink("l", "/etc").hard_link("x", "l/passwd"), "not in this layer");
    refused(Tar::new().directory("d/").hard_link("x", "d"), "directory");
    refused(Tar::new().file(".wh...", b""), "whiteout");
    refused(Tar::new().pax(&[("path", &"a/".repeat(600))]).file("x", b""), "deep");
    refused(Tar::new().pax(&[("path", &"a".repeat(300))]).file("x", b""), "255");
    refused(Tar::new().pax(&[("path", &"a/".repeat(3000))]).file("x", b""), "longer");
    refused(Tar::new().file("", b"x"), "root");
    let tree = import_bytes(&scratch, &Tar::new().file("/etc/absolute", b"in").file("//x/./y", b"").end()).unwrap();
    assert!(tree.join("etc/absolute").exists() && tree.join("x/y").exists());
    assert!(!Path::new("/etc/absolute").exists());
    assert!(!Path::new("/tmp/escape-by-link").exists());
}

#[test]
fn damaged_archives_are_refused() {
    let scratch = Scratch::new("damaged");
    let good = Tar::new().file("a", &[7; 5000]).end();
    let fails = |bytes: &[u8], word: &str| {
        let line = import_fails(&scratch, bytes);
        assert!(line.contains(word), "{line}");
    };
    fails(&good[..3000], "truncated");
    fails(&good[..300], "not a tar");
    let mut wrong = good.clone();
    wrong[3] = b'x';
    fails(&wrong, "not a tar");
    fails(&[&good[..5632], &wrong].concat(), "checksum");
    fails(&[vec![0; 512], good.clone()].concat(), "zeros");
    fails(&Tar::new().head(&Head { size: 512, ..Head::of(b'5', "d") }).data(&[1; 512]).end(), "data");
    fails(&Tar::new().head(&Head::of(b'Z', "z")).end(), "type");
    fails(&Tar::new().pax(&[("size", "99999999999999999999")]).file("x", b"").end(), "decimal");
    fails(&Tar::new().pax(&[("uid", "4294967295")]).file("x", b"").end(), "owner");
    fails(
        &Tar::new()
            .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")])
            .file("x", b"2\n0\n5\n3\n9\n")
            .end(),
        "map",
    );
    fails(&Tar::new().pax(&[("a", "b")]).end(), "ends after");
    fails(&[0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8], "deflate");
    fails(b"\xfd7zXZ\0\0\0", "xz");
    fails(b"this is no archive", "not a tar");
}

#[test]
fn attributes_that_speak_to_the_host_are_dropped() {
    let scratch = Scratch::new("attributes");
    let mut tar = Tar::new();
    let records = [
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
        ("SCHILY.xattr.security.selinux", "evil"),
        ("SCHILY.xattr.user.kept", "yes"),
    ];
    tar.pax(&records).directory("d/").pax(&records).file("f", b"");
    let tree = import_bytes(&scratch, &tar.end()).unwrap();
    for path in ["d", "f"] {
        assert_eq!(attributes(&tree.join(path)).into_keys().collect::<Vec<_>>(), ["user.kept"]);
    }
}

#[test]
fn a_sparse_bomb_stays_sparse_and_a_compressed_one_is_stopped() {
    let scratch = Scratch::new("bombs");
    let root = scratch.0.display();
    shell(&format!("cd {root}; truncate -s 10G big; tar --sparse -cf sparse.tar big; rm big"));
    let store = scratch.store();
    import(&store, &scratch.path("sparse.tar")).unwrap();
    let used: u64 = support::facts(&scratch.path("store/layers")).len() as u64;
    assert!(used > 0);
    let output = std::process::Command::new("du").args(["-sm"]).arg(scratch.path("store")).output().unwrap();
    let megabytes: u64 = String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap().parse().unwrap();
    assert!(megabytes < 5, "{megabytes} MB");

    shell(&format!("cd {root}; head -c 80M /dev/zero > zeros; tar -c zeros | gzip -1 > bomb.tar.gz; rm zeros"));
    let limits = store::Limits { layer_bytes: 20 << 20, ..store::Limits::default() };
    let other = store::Store::open(&scratch.path("other")).unwrap().with_limits(limits);
    let line = import(&other, &scratch.path("bomb.tar.gz")).unwrap_err().to_string();
    assert!(line.contains("20 MB"), "{line}");
    support::assert_nothing_left(&scratch.path("other"));
    let keep_free = store::Limits { keep_free: 1 << 60, ..store::Limits::default() };
    let full = store::Store::open(&scratch.path("other")).unwrap().with_limits(keep_free);
    let line = import(&full, &scratch.path("bomb.tar.gz")).unwrap_err().to_string();
    assert!(line.contains("disk"), "{line}");
    support::assert_nothing_left(&scratch.path("other"));
}

#[test]
fn a_directory_may_have_100_000_entries() {
    let scratch = Scratch::new("many");
    let mut tar = Tar::new();
    for number in 0..100_000 {
        tar.file(&format!("directory/{number}"), b"");
    }
    let bytes = tar.end();
    let tree = import_bytes(&scratch, &bytes).unwrap();
    assert_eq!(fs::read_dir(tree.join("directory")).unwrap().count(), 100_000);
}
