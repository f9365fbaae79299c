//! Where mounts come from and where they go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use harness::Container;
use runtime::{Plan, Request};
use serde_json::{Value, json};

fn run(container: &mut Container, mounts: &[Value], script: &str) -> Result<String, String> {
    container.spec["mounts"].as_array_mut().unwrap().extend_from_slice(mounts);
    container.spec["process"]["args"] = json!(["sh", "-c", script]);
    container.run().map(|ended| ended.output).map_err(|failed| failed.to_string())
}

fn tmpfs(destination: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
}

fn bind(source: &Path, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]})
}

#[test]
fn relative_destinations_start_at_the_root() {
    let mut container = Container::with_host_ids("");
    let text = run(
        &mut container,
        &[tmpfs("data/relative"), tmpfs("./tmp/../data/other")],
        "stat -f -c %T /data/relative /data/other",
    );
    assert_eq!(text.unwrap(), "tmpfs\ntmpfs\n");
}

#[test]
fn mounts_are_made_in_their_order_one_in_another() {
    let mut container = Container::with_host_ids("");
    let source = container.root.path.join("etc");
    fs::write(source.join("file"), "x").unwrap();
    let mounts = [tmpfs("/data"), tmpfs("/data/a/b"), bind(&source, "/data/a/b/c"), tmpfs("/data/a/b/c/d")];
    let text = run(
        &mut container,
        &mounts,
        "cat /data/a/b/c/file; ls /data/a/b/c; busybox grep -c ' /data' /proc/self/mountinfo",
    );
    assert_eq!(text.unwrap(), "xd\nfile\n4\n");
    // A later mount covers what lies below.
    let mut container = Container::with_host_ids("");
    assert_eq!(run(&mut container, &[tmpfs("/data/a"), tmpfs("/data")], "ls /data").unwrap(), "");
}

#[test]
fn links_of_the_image_are_followed_inside_the_root() {
    let mut container = Container::with_host_ids("");
    let root = container.root.path.clone();
    fs::create_dir(root.join("run")).unwrap();
    fs::create_dir(root.join("var")).unwrap();
    symlink("/run", root.join("var/run")).unwrap();
    symlink("../../../../../../data", root.join("up")).unwrap();
    symlink("/made/later", root.join("dangling")).unwrap();
    let mounts = [tmpfs("/var/run/x"), tmpfs("/up"), tmpfs("/dangling")];
    let text = run(&mut container, &mounts, "stat -f -c %T /run/x /data /made/later").unwrap();
    assert_eq!(text, "tmpfs\ntmpfs\ntmpfs\n");
    assert!(!Path::new("/made").exists());
}

#[test]
fn files_sockets_and_directories_are_bound() {
    let mut container = Container::with_host_ids("");
    let root = container.root.path.clone();
    fs::write(root.join("one"), "one").unwrap();
    fs::write(root.join("etc/two"), "two").unwrap();
    let _listener = UnixListener::bind(root.join("socket")).unwrap();
    let mounts = [
        bind(&root.join("one"), "/etc/two"),
        bind(&root.join("one"), "/new/file"),
        bind(&root.join("socket"), "/run/socket"),
        bind(&root.join("etc"), "/new/directory"),
    ];
    let text =
        run(&mut container, &mounts, "cat /etc/two /new/file /new/directory/two; stat -c %F /run/socket").unwrap();
    assert_eq!(text, "oneonetwosocket\n");
    assert_eq!(fs::read(root.join("etc/two")).unwrap(), b"two");
}

#[test]
fn a_directory_over_a_file_is_an_error_and_so_is_the_opposite() {
    let mut container = Container::with_host_ids("");
    let root = container.root.path.clone();
    fs::write(root.join("file"), "").unwrap();
    assert!(run(&mut container, &[bind(&root.join("etc"), "/file")], "true").unwrap_err().contains("/file"));
    let mut container = Container::with_host_ids("");
    assert!(run(&mut container, &[bind(&root.join("file"), "/data")], "true").unwrap_err().contains("/data"));
}

#[test]
fn a_relative_source_starts_in_the_bundle() {
    let mut container = Container::with_host_ids("");
    let bundle = container.root.path.join("bundle");
    fs::create_dir_all(bundle.join("sub")).unwrap();
    fs::write(bundle.join("sub/file"), "of the bundle").unwrap();
    container.spec["mounts"].as_array_mut().unwrap().push(bind(Path::new("sub"), "/data"));
    assert!(container.plan().unwrap_err().to_string().contains("sub"));
    container.spec["process"]["args"] = json!(["cat", "/data/file"]);
    let spec = container.spec();
    let plan =
        Plan::new(&Request { bundle: Some(&bundle), ..Request::new(&container.id, &spec, &container.cgroup) }).unwrap();
    let (stdio, output) = harness::piped();
    let running = runtime::launch(plan, &container.root, stdio).unwrap().start().unwrap();
    let ended = harness::finish(&running, output);
    runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
    assert_eq!(ended.output, "of the bundle");
}

#[test]
fn a_source_that_is_not_there_is_named_before_anything_is_made() {
    let mut container = Container::with_host_ids("true");
    container.spec["mounts"].as_array_mut().unwrap().push(bind(Path::new("/nonexistent/source"), "/data"));
    assert!(container.plan().unwrap_err().to_string().contains("/nonexistent/source"));
    container.spec["mounts"].as_array_mut().unwrap().pop();
    container.spec["mounts"].as_array_mut().unwrap().push(json!({"destination": "/data", "type": "bind"}));
    assert!(container.plan().unwrap_err().to_string().contains("no source"));
}

#[test]
fn proc_is_covered_by_proc_and_what_shows_limits_only() {
    let refused = |mount: Value| {
        let mut container = Container::with_host_ids("true");
        container.spec["mounts"].as_array_mut().unwrap().push(mount);
        container.plan().unwrap_err().to_string()
    };
    for mount in [
        tmpfs("/proc"),
        tmpfs("/proc/self"),
        tmpfs("proc/../proc/sys"),
        bind(Path::new("/etc"), "/proc"),
        bind(Path::new("/proc/sys"), "/proc"),
        bind(Path::new("/etc/passwd"), "/proc/self/attr/exec"),
        tmpfs("/"),
    ] {
        let text = refused(mount.clone());
        assert!(text.contains("/proc") || text.contains("root"), "{mount}: {text}");
    }
    let mut container = Container::with_host_ids("");
    let file = container.root.path.join("fake");
    fs::write(&file, "fake\n").unwrap();
    let mounts = [bind(&file, "/proc/uptime"), bind(&file, "/proc/net/dev")];
    // The second is taken, as elsewhere; the kernel forgets what is mounted below a process's own directory.
    assert_eq!(run(&mut container, &mounts, "cat /proc/uptime").unwrap(), "fake\n");
    let mut container = Container::with_host_ids("");
    assert!(run(&mut container, &[bind(Path::new("/proc"), "/proc")], "ls /proc/self/exe").is_ok());
}

#[test]
fn a_bind_with_words_for_a_file_system_is_made_and_warned_about() {
    let mut container = Container::with_host_ids("true");
    let mount = json!({"destination": "/data", "type": "bind", "source": "/etc", "options": ["bind", "mode=755", "z"]});
    container.spec["mounts"].as_array_mut().unwrap().push(mount);
    let plan = container.plan().unwrap();
    let warnings = plan.warnings().join("\n");
    assert!(warnings.contains("mode=755,z"), "{warnings}");
}

#[test]
fn masks_and_protection_of_every_kind_of_path() {
    let mut container = Container::with_host_ids("");
    let root = container.root.path.clone();
    fs::write(root.join("etc/secret"), "secret").unwrap();
    fs::create_dir(root.join("etc/hidden")).unwrap();
    fs::write(root.join("etc/hidden/file"), "secret").unwrap();
    symlink("/etc/secret", root.join("link")).unwrap();
    fs::set_permissions(root.join("data"), PermissionsExt::from_mode(0o777)).unwrap();
    container.spec["linux"]["maskedPaths"] =
        json!(["/link", "/etc/hidden", "/nonexistent", "/etc/passwd/x", "/data/../etc/none"]);
    container.spec["linux"]["readonlyPaths"] = json!(["/data", "/tmp", "/nonexistent"]);
    let script = "cat /etc/secret; ls /etc/hidden; touch /data/x /tmp/x 2>&1 | busybox grep -c Read-only; \
                  busybox rm -f /etc/secret 2>/dev/null; cat /etc/secret; (echo x > /etc/secret) 2>/dev/null || echo kept";
    assert_eq!(run(&mut container, &[tmpfs("/tmp")], script).unwrap(), "2\nkept\n");
}

#[test]
fn a_read_only_root_leaves_its_mounts_writable() {
    let mut container = Container::with_host_ids("");
    container.spec["root"]["readonly"] = json!(true);
    let text = run(
        &mut container,
        &[tmpfs("/data")],
        "touch /x 2>&1 | busybox grep -o Read-only; touch /data/x && echo written",
    );
    assert_eq!(text.unwrap(), "Read-only\nwritten\n");
}

#[test]
fn a_read_only_tmpfs_has_its_mount_points_and_devices() {
    for mut container in [Container::with_host_ids(""), Container::new("")] {
        let source = container.root.path.join("etc");
        container.spec["mounts"][1]["options"].as_array_mut().unwrap().push(json!("ro"));
        container.spec["linux"]["devices"] = json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3}]);
        let closed = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=711"]});
        let covered = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]});
        let mounts = [closed, bind(&source, "/data/deep/sub"), covered, tmpfs("/tmp")];
        let script = "for place in /data /dev /tmp; do touch $place/x 2>/dev/null && echo $place; done; \
                      echo x > /dev/extra && stat -c %a /data; touch /data/deep/sub/x && echo below";
        fs::set_permissions(&source, PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(run(&mut container, &mounts, script).unwrap(), "/tmp\n711\nbelow\n");
    }
}
