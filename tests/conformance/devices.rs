//! Devices: the default ones, those of the specification, and where they can be.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, makedev};
use serde_json::{Value, json};

use crate::harness::{Bundle, field};

fn device(path: &str, kind: &str, major: u32, minor: u32) -> Value {
    json!({"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o640, "uid": 7, "gid": 8})
}

/// A bundle whose `/dev` is the image's own directory.
fn with_own_directory(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle
}

#[test]
fn default_devices_are_there() {
    let _field = field(&["linux.devices"]);
    let script = "cd /dev; stat -c '%n %a %t:%T' null zero full random urandom tty; readlink ptmx; readlink fd; \
                  echo x > null; head -c 3 zero | wc -c";
    let expected = "null 666 1:3\nzero 666 1:5\nfull 666 1:7\nrandom 666 1:8\nurandom 666 1:9\ntty 666 5:0\n\
                    pts/ptmx\n/proc/self/fd\n3\n";
    for mapped in [false, true] {
        for mut bundle in [Bundle::new(script), with_own_directory(script)] {
            if mapped {
                bundle.with_user_namespace();
            }
            assert_eq!(bundle.output(), expected);
        }
    }
}

#[test]
fn devices_have_their_type_mode_and_owner_wherever_they_are() {
    let _field = field(&["linux.devices"]);
    let script = "stat -c '%a %u:%g %t:%T %F' /dev/block /dev/sub/char /dev/unbuffered /dev/pipe /opt/char";
    let expected = "640 7:8 7:c8 block special file\n640 7:8 1:3 character special file\n\
                    640 7:8 1:5 character special file\n640 7:8 0:0 fifo\n640 7:8 1:3 character special file\n";
    for mapped in [false, true] {
        for mut bundle in [Bundle::new(script), with_own_directory(script)] {
            if mapped {
                bundle.with_user_namespace();
            }
            bundle.spec["linux"]["devices"] = json!([
                device("/dev/block", "b", 7, 200),
                device("/dev/sub/char", "c", 1, 3),
                device("/dev/unbuffered", "u", 1, 5),
                {"path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 7, "gid": 8},
                device("/opt/char", "c", 1, 3),
            ]);
            assert_eq!(bundle.output(), expected);
        }
    }
}

#[test]
fn another_file_in_the_place_of_a_device_is_an_error() {
    let _field = field(&["linux.devices"]);
    let mut bundle = with_own_directory("stat -c %t:%T /dev/wanted");
    let place = bundle.root().join("dev/wanted");
    bundle.spec["linux"]["devices"] = json!([device("/dev/wanted", "c", 1, 5)]);
    fs::write(&place, "a file").unwrap();
    assert!(bundle.refusal().contains("/dev/wanted"));
    fs::remove_file(&place).unwrap();
    rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::from_raw_mode(0o600), makedev(1, 5)).unwrap();
    assert_eq!(bundle.output(), "1:5\n");
    bundle.spec["linux"]["devices"] = json!([device("/dev/x", "c", 1, 5), device("/dev/x", "c", 1, 3)]);
    assert!(bundle.refusal().contains("/dev/x"));
    bundle.spec["linux"]["devices"] = json!([device("/dev/x", "a", 1, 5)]);
    assert!(bundle.refusal().contains("/dev/x"));
}
