//! The root file system of a bundle: a directory of the host, with what is mounted below it, and how it is shared.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::path::Path;

use harness::{Container, finish, piped};
use runtime::cgroup::Cgroup;
use runtime::{DirectoryRoot, launch};

#[test]
fn a_directory_is_a_root_with_the_ids_of_the_host() {
    let container = Container::with_host_ids("stat -c '%u %g' /data; test -x /bin/sh && echo root");
    std::os::unix::fs::chown(container.root.path.join("data"), Some(77), Some(78)).unwrap();
    let root = DirectoryRoot::open(&container.root.path).unwrap();
    let (stdio, output) = piped();
    let running = launch(container.plan().unwrap(), &root, stdio).unwrap().start().unwrap();
    let ended = finish(&running, output);
    Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
    assert_eq!(ended.output, "77 78\nroot\n");
}

#[test]
fn a_root_that_is_no_directory_is_named() {
    for path in ["/etc/passwd", "/nonexistent/rootfs"] {
        let failed = DirectoryRoot::open(Path::new(path)).unwrap_err().to_string();
        assert!(failed.contains(path), "{failed}");
    }
}
