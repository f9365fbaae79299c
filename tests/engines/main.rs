//! Other engines with this runtime: dockerd, containerd and podman as Debian has them, each told to use `skep-runtime`.
//!
//! Each test is one story through what its engine does with a runtime: run, exec, terminals, exit codes, limits, pause,
//! kill, restart, statistics, removal; and in the end nothing is left. It says what it exercised, with the engine's
//! version. An engine that is not there is skipped, in words: `make test` fetches all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

#[path = "../end_to_end/harness/archive.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod archive;
mod containerd;
mod docker;
#[path = "../end_to_end/harness/image.rs"]
mod image;
#[allow(dead_code, reason = "the trials of registries use the rest")]
mod place;
mod podman;

use archive::{Archive, Layer};
use std::path::{Path, PathBuf};

/// The busybox image, for `docker load` and its like.
fn archive() -> PathBuf {
    image::busybox_archive()
}

/// A limit of the cgroup of a process: `cpu` (microseconds of 100,000), `memory` or `pids`.
fn limit(place: &place::Place, pid: &str, controller: &str) -> String {
    let groups = place.run(&["cat", &format!("/proc/{pid}/cgroup")]).ok();
    let top = Path::new("/sys/fs/cgroup");
    let has = |line: &&str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller));
    let first = match (groups.lines().find(has), controller) {
        (Some(line), _) => {
            let group = top.join(controller).join(line.rsplit(':').next().unwrap().trim_start_matches('/'));
            let name = match controller {
                "cpu" => "cpu.cfs_quota_us",
                "memory" => "memory.limit_in_bytes",
                _ => "pids.max",
            };
            group.join(name)
        }
        (None, _) => {
            let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
            top.join(path).join(format!("{controller}.max"))
        }
    };
    let text = std::fs::read_to_string(&first).unwrap_or_else(|error| panic!("{}: {error}", first.display()));
    text.split_whitespace().next().unwrap().to_owned()
}
