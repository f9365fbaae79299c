//! What a tmpfs takes over from the place that it covers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use harness::Container;
use rustix::fs::{FileType, Mode, XattrFlags};
use serde_json::json;

fn with_tmpfs(script: &str, options: &[&str]) -> Container {
    let mut container = Container::with_host_ids(script);
    let mount = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options});
    container.spec["mounts"].as_array_mut().unwrap().push(mount);
    container
}

/// One of everything that a directory can hold.
fn fill(data: &Path) {
    fs::write(data.join("file"), "content").unwrap();
    fs::set_permissions(data.join("file"), PermissionsExt::from_mode(0o4751)).unwrap();
    chown(data.join("file"), Some(11), Some(12)).unwrap();
    fs::set_permissions(data.join("file"), PermissionsExt::from_mode(0o4751)).unwrap();
    fs::hard_link(data.join("file"), data.join("name")).unwrap();
    symlink("/etc/passwd", data.join("link")).unwrap();
    fs::create_dir_all(data.join("a/b/c")).unwrap();
    fs::set_permissions(data.join("a/b"), PermissionsExt::from_mode(0o1700)).unwrap();
    chown(data.join("a/b"), Some(33), Some(34)).unwrap();
    fs::write(data.join("a/b/c/deep"), "deep").unwrap();
    fs::hard_link(data.join("file"), data.join("a/third")).unwrap();
    let made = rustix::fs::mknodat(rustix::fs::CWD, data.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o622), 0);
    made.unwrap();
    let node = data.join("null");
    let number = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, node, FileType::CharacterDevice, Mode::from_raw_mode(0o600), number).unwrap();
    let sparse = fs::File::create(data.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", (1 << 30) - 3).unwrap();
    // The mask of this process is not only this test's.
    for (name, mode) in [("a/b/c/deep", 0o644), ("pipe", 0o622), ("null", 0o600)] {
        fs::set_permissions(data.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
}

#[test]
fn everything_is_copied_as_it_is() {
    let container = with_tmpfs(
        "cd /data; stat -c '%n %a %u:%g %h %F' file name link a/third a/b a/b/c/deep pipe null; cat file a/b/c/deep; echo; \
         readlink link; stat -c %s sparse; busybox tail -c 3 sparse; echo; ls -a; busybox du -s -k . | busybox cut -f1",
        &["tmpcopyup", "size=1m"],
    );
    fill(&container.root.path.join("data"));
    let ended = container.run().unwrap();
    let mut lines: Vec<&str> = ended.output.lines().collect();
    let used: u32 = lines.pop().unwrap().parse().unwrap();
    assert!(used < 200, "{used} KiB");
    assert_eq!(
        lines.join("\n"),
        "file 4751 11:12 3 regular file\nname 4751 11:12 3 regular file\nlink 777 0:0 1 symbolic link\n\
         a/third 4751 11:12 3 regular file\na/b 1700 33:34 3 directory\na/b/c/deep 644 0:0 1 regular file\n\
         pipe 622 0:0 1 fifo\nnull 600 0:0 1 character special file\ncontentdeep\n/etc/passwd\n1073741824\nend\n\
         .\n..\na\nfile\nlink\nname\nnull\npipe\nsparse"
    );
}

#[test]
fn attributes_and_times_are_copied() {
    let container = with_tmpfs("stat -c %Y /data/file /data; busybox cat /data/file", &["tmpcopyup"]);
    let data = container.root.path.join("data");
    let file = data.join("file");
    fs::write(&file, "x").unwrap();
    rustix::fs::setxattr(&file, "trusted.test", b"value", XattrFlags::empty()).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    fs::File::open(&data).unwrap().set_modified(time).unwrap();
    assert_eq!(container.run().unwrap().output, "1000000000\n1000000000\nx");

    let container = with_tmpfs("sleep 5", &["tmpcopyup"]);
    let file = container.root.path.join("data/file");
    fs::write(&file, "x").unwrap();
    rustix::fs::setxattr(&file, "trusted.test", b"value", XattrFlags::empty()).unwrap();
    let (running, _output) = container.start().unwrap();
    let pid = running.identity.pid;
    let inside = format!("/proc/{pid}/root/data/file");
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(inside, "trusted.test", &mut value).unwrap();
    assert_eq!(&value[..length], b"value");
    container.kill(&running);
}

#[test]
fn a_read_only_copy_is_filled_first() {
    let container = with_tmpfs("cat /data/file; touch /data/x 2>&1 | busybox grep -o Read-only", &["tmpcopyup", "ro"]);
    fs::write(container.root.path.join("data/file"), "x").unwrap();
    assert_eq!(container.run().unwrap().output, "xRead-only\n");
}

#[test]
fn the_image_is_not_changed_and_nothing_is_followed() {
    let container = with_tmpfs("echo changed > /data/file; ls /data/out", &["tmpcopyup"]);
    let data = container.root.path.join("data");
    fs::write(data.join("file"), "x").unwrap();
    symlink("/etc", data.join("out")).unwrap();
    symlink("../../../../../../etc/shadow", data.join("secret")).unwrap();
    container.run().unwrap();
    assert_eq!(fs::read(data.join("file")).unwrap(), b"x");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let container = with_tmpfs("true", &["tmpcopyup", "size=64k"]);
    fs::write(container.root.path.join("data/big"), vec![1; 1 << 20]).unwrap();
    let failed = container.run().map(|ended| ended.code).unwrap_err().to_string();
    assert!(failed.contains("/data"), "{failed}");
}

#[test]
fn a_tree_without_end_is_refused() {
    let container = with_tmpfs("true", &["tmpcopyup"]);
    let mut path = container.root.path.join("data");
    for _ in 0..300 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    assert!(container.run().is_err());
}

#[test]
fn many_names_and_files_are_copied() {
    let container = with_tmpfs("ls /data | busybox wc -l; ls -a /data | busybox grep -c links", &["tmpcopyup"]);
    let data = container.root.path.join("data");
    for number in 0..600 {
        fs::write(data.join(format!("a-rather-long-name-of-a-file-{number}")), "").unwrap();
    }
    for number in 0..200 {
        let first = data.join(format!("a-rather-long-name-of-a-file-{number}"));
        fs::hard_link(&first, data.join(format!("second-{number}"))).unwrap();
    }
    assert_eq!(container.run().unwrap().output, "800\n0\n");
}

#[test]
fn a_tmpfs_has_the_mode_of_the_directory_it_covers() {
    let mode = |options: &[&str], mode: Option<u32>| {
        let container = with_tmpfs("stat -c '%a %u' /data", options);
        let data = container.root.path.join("data");
        match mode {
            Some(mode) => fs::set_permissions(&data, PermissionsExt::from_mode(mode)).unwrap(),
            None => fs::remove_dir(&data).unwrap(),
        }
        container.run().unwrap().output
    };
    assert_eq!(mode(&["nosuid"], Some(0o1750)), "1750 0\n");
    assert_eq!(mode(&["nosuid", "ro"], Some(0o711)), "711 0\n");
    assert_eq!(mode(&["mode=0700"], Some(0o755)), "700 0\n");
    assert_eq!(mode(&["nosuid"], None), "1777 0\n");
    assert_eq!(mode(&["tmpcopyup", "mode=0711"], Some(0o755)), "711 0\n");
    assert_eq!(mode(&["tmpcopyup"], Some(0o705)), "705 0\n");
}

#[test]
fn in_a_user_namespace_nodes_are_left_out_and_ids_kept() {
    let mut container = Container::new("cd /data; stat -c '%n %u:%g' file; ls");
    let mount = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
    container.spec["mounts"].as_array_mut().unwrap().push(mount);
    fill(&container.root.path.join("data"));
    assert_eq!(container.run().unwrap().output, "file 11:12\na\nfile\nlink\nname\npipe\nsparse\n");
}
