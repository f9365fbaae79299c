//! Device nodes: in a tmpfs on `/dev`, in an image's own `/dev`, and elsewhere.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};

use harness::Container;
use rustix::fs::{CWD, FileType, Mode, makedev};
use serde_json::{Value, json};

/// Without any mount below `/dev`.
fn with_own_directory(mut container: Container) -> Container {
    let mounts = container.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    container
}

fn run(container: &mut Container, script: &str) -> Result<String, String> {
    container.spec["process"]["args"] = json!(["sh", "-c", script]);
    container.run().map(|ended| ended.output).map_err(|failed| failed.to_string())
}

fn device(path: &str, kind: &str, major: u32, minor: u32) -> Value {
    json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 432, "uid": 7, "gid": 8})
}

const NODES: &str = "/dev/null 666 0:0 1:3\n/dev/zero 666 0:0 1:5\n/dev/full 666 0:0 1:7\n/dev/random 666 0:0 1:8\n\
                     /dev/urandom 666 0:0 1:9\n/dev/tty 666 0:0 5:0\n";

#[test]
fn an_image_without_a_tmpfs_has_the_default_devices_and_links() {
    let script = "stat -c '%n %a %u:%g %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; \
                  readlink /dev/fd; readlink /dev/stdin; readlink /dev/ptmx; echo x > /dev/null && busybox head -c 3 /dev/zero | busybox wc -c";
    for container in [Container::with_host_ids(""), Container::new("")] {
        let mut container = with_own_directory(container);
        let expected = format!("{NODES}/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n3\n");
        assert_eq!(run(&mut container, script).unwrap(), expected);
        // What is there from the first time is found the second time.
        assert_eq!(run(&mut container, script).unwrap(), expected);
    }
}

#[test]
fn an_image_on_ramfs_gets_them_too() {
    let mut container = with_own_directory(Container::with_host_ids(""));
    let mounts = container.spec["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/dev", "type": "ramfs", "source": "ramfs"}));
    assert_eq!(run(&mut container, "stat -c '%t:%T' /dev/null; readlink /dev/ptmx").unwrap(), "1:3\npts/ptmx\n");
}

#[test]
fn every_kind_of_device_with_its_mode_and_owner() {
    let devices = json!([
        device("/dev/block", "b", 7, 200),
        device("/dev/char", "c", 1, 3),
        device("/dev/unbuffered", "u", 1, 5),
        {"path": "/dev/pipe", "type": "p", "fileMode": 384, "uid": 7, "gid": 8},
        device("/dev/deep/er/null", "c", 1, 3),
        {"path": "/dev/plain", "type": "c", "major": 1, "minor": 3},
    ]);
    let script = "cd /dev; stat -c '%n %a %u:%g %t:%T %F' block char unbuffered pipe deep/er/null plain";
    let expected = "block 660 7:8 7:c8 block special file\nchar 660 7:8 1:3 character special file\n\
                    unbuffered 660 7:8 1:5 character special file\npipe 600 7:8 0:0 fifo\n\
                    deep/er/null 660 7:8 1:3 character special file\nplain 666 0:0 1:3 character special file\n";
    for own in [true, false] {
        for mapped in [true, false] {
            let container = if mapped { Container::new("") } else { Container::with_host_ids("") };
            let mut container = if own { with_own_directory(container) } else { container };
            container.spec["linux"]["devices"] = devices.clone();
            assert_eq!(run(&mut container, script).unwrap(), expected, "{own} {mapped}");
        }
    }
}

#[test]
fn devices_can_be_anywhere() {
    for mut container in [Container::with_host_ids(""), Container::new("")] {
        container.spec["linux"]["devices"] =
            json!([device("/opt/deep/null", "c", 1, 3), device("/tmp/zero", "c", 1, 5)]);
        let mount = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"});
        container.spec["mounts"].as_array_mut().unwrap().push(mount);
        let text = run(&mut container, "stat -c '%a %u:%g %t:%T' /opt/deep/null /tmp/zero").unwrap();
        assert_eq!(text, "660 7:8 1:3\n660 7:8 1:5\n");
    }
}

#[test]
fn what_is_there_must_be_the_device() {
    for mapped in [true, false] {
        let container = if mapped { Container::new("") } else { Container::with_host_ids("") };
        let mut container = with_own_directory(container);
        let place = container.root.path.join("dev/wanted");
        container.spec["linux"]["devices"] = json!([device("/dev/wanted", "c", 1, 5)]);
        fs::write(&place, "a file").unwrap();
        let failed = run(&mut container, "true").unwrap_err();
        assert!(failed.contains("/dev/wanted"), "{failed}");
        assert_eq!(fs::read(&place).unwrap(), b"a file");
        fs::remove_file(&place).unwrap();
        let node =
            |number| rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::from_raw_mode(0o600), number);
        node(makedev(1, 3)).unwrap();
        assert!(run(&mut container, "true").is_err());
        fs::remove_file(&place).unwrap();
        node(makedev(1, 5)).unwrap();
        assert_eq!(run(&mut container, "stat -c %t:%T /dev/wanted").unwrap(), "1:5\n");
    }
}

#[test]
fn links_in_the_place_of_devices_lead_nowhere() {
    for mapped in [true, false] {
        let container = if mapped { Container::new("") } else { Container::with_host_ids("") };
        let mut container = with_own_directory(container);
        let outside = container.root.path.join("victim");
        symlink(&outside, container.root.path.join("dev/wanted")).unwrap();
        container.spec["linux"]["devices"] = json!([device("/dev/wanted", "c", 1, 5)]);
        assert!(run(&mut container, "true").is_err());
        assert!(!outside.exists());
        let mut container = with_own_directory(if mapped { Container::new("") } else { Container::with_host_ids("") });
        fs::remove_dir(container.root.path.join("dev")).unwrap();
        symlink("/data", container.root.path.join("dev")).unwrap();
        assert!(run(&mut container, "true").is_err());
        assert_eq!(fs::read_dir(container.root.path.join("data")).unwrap().count(), 0);
    }
}

#[test]
fn an_images_ptmx_gives_way() {
    let mut container = with_own_directory(Container::with_host_ids(""));
    let place = container.root.path.join("dev/ptmx");
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(CWD, place, FileType::CharacterDevice, mode, makedev(5, 2)).unwrap();
    container.spec["linux"]["devices"] = json!([device("/dev/ptmx", "c", 5, 2)]);
    assert_eq!(run(&mut container, "readlink /dev/ptmx").unwrap(), "pts/ptmx\n");
}

#[test]
fn a_bound_directory_of_devices_is_left_as_it_is() {
    let mut container = with_own_directory(Container::with_host_ids(""));
    let source = container.root.path.join("host");
    fs::create_dir(&source).unwrap();
    let mount = json!({"destination": "/dev", "type": "bind", "source": source, "options": ["rbind"]});
    container.spec["mounts"].as_array_mut().unwrap().push(mount);
    container.spec["linux"]["devices"] = json!([device("/dev/wanted", "c", 1, 5)]);
    assert_eq!(run(&mut container, "ls -a /dev").unwrap(), ".\n..\n");
}

#[test]
fn the_same_device_may_be_said_twice_but_not_two_in_one_place() {
    let mut container = Container::with_host_ids("");
    container.spec["linux"]["devices"] = json!([device("/dev/x", "c", 1, 5), device("/dev/x", "c", 1, 5)]);
    assert!(container.plan().is_ok());
    container.spec["linux"]["devices"] = json!([device("/dev/x", "c", 1, 5), device("/dev/x", "c", 1, 3)]);
    assert!(container.plan().unwrap_err().to_string().contains("twice"));
    container.spec["linux"]["devices"] = json!([device("/dev/x", "a", 1, 5)]);
    assert!(container.plan().is_err());
}

#[test]
fn a_terminal_has_a_console_in_an_images_own_directory() {
    let mut container = with_own_directory(Container::with_host_ids(""));
    let devpts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]});
    container.spec["mounts"].as_array_mut().unwrap().push(devpts);
    container.spec["process"]["terminal"] = json!(true);
    container.spec["process"]["args"] = json!(["sh", "-c", "stat -c %t /dev/console /dev/pts/0; tty"]);
    let stdio = runtime::Stdio::Terminal { rows: 24, columns: 80 };
    let launched = runtime::launch(container.plan().unwrap(), &container.root, stdio).unwrap();
    let mut running = launched.start().unwrap();
    let mut text = String::new();
    // The end of a terminal is an error of input.
    let _ = std::io::Read::read_to_string(&mut fs::File::from(running.terminal.take().unwrap()), &mut text);
    harness::wait(&running);
    runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
    assert_eq!(text.replace('\r', ""), "88\n88\n/dev/pts/0\n");
    let console = fs::metadata(container.root.path.join("dev/console")).unwrap();
    assert!(!console.file_type().is_char_device() && console.size() == 0);
}
