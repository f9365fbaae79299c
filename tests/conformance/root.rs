//! The version, the root, and what is only handed through.

use std::fs;

use serde_json::json;

use crate::harness::{Bundle, field};

#[test]
fn versions_of_the_specification_are_checked() {
    let _field = field(&["ociVersion"]);
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
        let mut bundle = Bundle::new("echo ran");
        bundle.spec["ociVersion"] = json!(version);
        assert_eq!(bundle.output(), "ran\n", "{version}");
    }
    for version in ["", "2.0.0", "one", "0.1.0"] {
        let mut bundle = Bundle::new("echo ran");
        bundle.spec["ociVersion"] = json!(version);
        let line = bundle.refusal();
        assert!(line.contains("ociVersion") || line.contains("version"), "{line}");
    }
}

#[test]
fn the_root_is_relative_to_the_bundle_or_absolute() {
    let _field = field(&["root.path"]);
    let mut bundle = Bundle::new("cat /mark; ls -a / | grep -c rootfs");
    fs::write(bundle.root().join("mark"), "mine\n").unwrap();
    assert_eq!(bundle.run().stdout, "mine\n0\n");
    bundle.spec["root"]["path"] = json!(bundle.root());
    assert_eq!(bundle.run().stdout, "mine\n0\n");
    bundle.spec["root"]["path"] = json!("missing");
    assert!(bundle.refusal().contains("missing"));
}

#[test]
fn a_read_only_root_cannot_be_written() {
    let _field = field(&["root.readonly"]);
    let mut bundle =
        Bundle::new("echo x 2>/dev/null > /file && echo written; echo x > /dev/shm/file && echo mounts can");
    bundle.spec["root"]["readonly"] = json!(true);
    assert_eq!(bundle.output(), "mounts can\n");
    bundle.spec["root"]["readonly"] = json!(false);
    assert_eq!(bundle.output(), "written\nmounts can\n");
}

#[test]
fn annotations_come_back_in_the_state() {
    let _field = field(&["annotations"]);
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["annotations"] = json!({"org.example.color": "amber", "empty": ""});
    bundle.create();
    assert_eq!(bundle.state()["annotations"], bundle.spec["annotations"]);
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn properties_that_are_not_known_are_ignored_and_values_are_not() {
    let mut bundle = Bundle::new("echo ran");
    bundle.spec["org.example.extension"] = json!({"x": [1]});
    bundle.spec["linux"]["newer"] = json!(true);
    assert_eq!(bundle.output(), "ran\n");
    bundle.spec["linux"]["namespaces"][0]["type"] = json!("flavor");
    assert!(bundle.refusal().contains("flavor"));
}
