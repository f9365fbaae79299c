//! Who sees what is mounted later: between the host, the container, and its own mounts. The host is a mount namespace of the
//! test's own here, with a shared tree in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::path::Path;

use harness::{Container, in_mount_namespace};
use runtime::cgroup::Cgroup;
use runtime::{DirectoryRoot, launch};
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::{Value, json};

/// Waits until the host says go by making `/flags/go`, and tells it by `/flags/ready`.
const WAIT: &str = "touch /flags/ready; while [ ! -e /flags/go ]; do sleep 0.02; done; ";

fn mount_tmpfs(path: &Path) {
    rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), None).unwrap();
}

/// What the container prints, and whether the host sees what it mounted. The source is a shared tmpfs with `early`, a mount
/// of its own, before the start, and `late` mounted while the container runs; the container mounts on `inside`.
fn seen(host_ids: bool, source_shared: bool, options: &[&str]) -> (String, bool) {
    let script = format!(
        "{WAIT} for place in early late; do [ -e /data/$place/mark ] && echo $place; done; \
         mount -t tmpfs mine /data/inside && touch /data/inside/mark; touch /flags/done; \
         while [ -e /flags/go ]; do sleep 0.02; done"
    );
    let mut container = match host_ids {
        true => Container::with_host_ids(&script),
        false => Container::new(&script),
    };
    let capabilities = container.spec["process"]["capabilities"].as_object_mut().unwrap();
    capabilities.values_mut().for_each(|set| set.as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN")));
    let path = container.root.path.clone();
    for name in ["source", "flags"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    std::fs::set_permissions(path.join("flags"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    in_mount_namespace(move || {
        let source = path.join("source");
        mount_tmpfs(&source);
        if source_shared {
            rustix::mount::mount_change(&source, MountPropagationFlags::SHARED).unwrap();
        }
        for name in ["early", "late", "inside"] {
            std::fs::create_dir(source.join(name)).unwrap();
        }
        mount_tmpfs(&source.join("early"));
        std::fs::write(source.join("early/mark"), "").unwrap();
        let mount = json!({"destination": "/data", "type": "bind", "source": source, "options": options});
        let flags = json!({"destination": "/flags", "type": "bind", "source": path.join("flags"), "options": ["bind"]});
        container.spec["mounts"].as_array_mut().unwrap().extend([mount, flags]);
        let (running, output) = container.start().unwrap();
        wait_for(&path.join("flags/ready"));
        mount_tmpfs(&source.join("late"));
        std::fs::write(source.join("late/mark"), "").unwrap();
        std::fs::write(path.join("flags/go"), "").unwrap();
        wait_for(&path.join("flags/done"));
        let back = source.join("inside/mark").exists();
        std::fs::remove_file(path.join("flags/go")).unwrap();
        let ended = harness::finish(&running, output);
        Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
        (ended.output, back)
    })
}

fn wait_for(path: &Path) {
    for _ in 0..500 {
        if path.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{} did not come", path.display());
}

#[test]
fn without_a_word_a_bind_is_private() {
    assert_eq!(seen(true, true, &["rbind"]), ("early\n".to_owned(), false));
}

#[test]
fn private_binds_see_nothing_later() {
    assert_eq!(seen(true, true, &["rbind", "rprivate"]), ("early\n".to_owned(), false));
    assert_eq!(seen(true, true, &["rbind", "private"]), ("early\n".to_owned(), false));
    assert_eq!(seen(true, true, &["rbind", "unbindable"]), ("early\n".to_owned(), false));
    assert_eq!(seen(true, true, &["rbind", "runbindable"]), ("early\n".to_owned(), false));
}

#[test]
fn slaves_see_what_the_host_mounts() {
    assert_eq!(seen(true, true, &["rbind", "rslave"]), ("early\nlate\n".to_owned(), false));
    assert_eq!(seen(true, true, &["rbind", "slave"]), ("early\nlate\n".to_owned(), false));
}

#[test]
fn shared_binds_go_both_ways() {
    assert_eq!(seen(true, true, &["rbind", "rshared"]), ("early\nlate\n".to_owned(), true));
    assert_eq!(seen(true, true, &["rbind", "shared"]), ("early\nlate\n".to_owned(), true));
}

#[test]
fn a_shared_slave_sees_and_gives_nothing_back() {
    assert_eq!(seen(true, true, &["rbind", "rslave", "rshared"]), ("early\nlate\n".to_owned(), false));
}

#[test]
fn a_user_namespace_never_gives_mounts_to_the_host() {
    assert_eq!(seen(false, true, &["rbind", "rshared"]), ("early\nlate\n".to_owned(), false));
    assert_eq!(seen(false, true, &["rbind", "rslave"]), ("early\nlate\n".to_owned(), false));
}

#[test]
fn what_the_host_does_not_share_stays_apart() {
    assert_eq!(seen(true, false, &["rbind", "rslave"]), ("early\n".to_owned(), false));
    assert_eq!(seen(true, false, &["rbind", "rshared"]), ("early\n".to_owned(), false));
}

/// The optional fields of mountinfo: `shared:1`, `master:2`, `unbindable`, for the mount on a place.
fn fields(container: &mut Container, place: &str) -> String {
    container.spec["process"]["args"] = json!(["cat", "/proc/self/mountinfo"]);
    let text = container.run().unwrap().output;
    let line = text.lines().find(|line| line.split(' ').nth(4) == Some(place)).unwrap();
    let words = line.split(' ').skip(6).take_while(|word| *word != "-");
    words.map(|word| word.split(':').next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn new_mounts_can_be_shared_or_unbindable() {
    let expected =
        [("shared", "shared"), ("rshared", "shared"), ("private", ""), ("slave", ""), ("unbindable", "unbindable")];
    for (option, field) in expected {
        let mut container = Container::with_host_ids("");
        let mount = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": [option]});
        container.spec["mounts"].as_array_mut().unwrap().push(mount);
        assert_eq!(fields(&mut container, "/data"), field, "{option}");
    }
}

#[test]
fn the_root_has_its_propagation() {
    // What follows the host's mount has a master if that one is shared, as systemd makes all of them.
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let host = table.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
    let slave = if host.contains(" shared:") { "master" } else { "" };
    for (word, field) in [
        (Value::Null, ""),
        (json!("private"), ""),
        (json!("rprivate"), ""),
        (json!("slave"), slave),
        (json!("shared"), "shared"),
        (json!("rshared"), "shared"),
        (json!("unbindable"), "unbindable"),
        (json!("runbindable"), "unbindable"),
    ] {
        for mut container in [Container::with_host_ids(""), Container::new("")] {
            if !word.is_null() {
                container.spec["linux"]["rootfsPropagation"] = word.clone();
            }
            // A machine whose own tree is shared is followed by a slave.
            let found = fields(&mut container, "/");
            assert!(found == field || (found == "master" && word == "slave"), "{word}: {found}");
        }
    }
    let mut container = Container::with_host_ids("");
    container.spec["linux"]["rootfsPropagation"] = json!("rshared");
    assert_eq!(fields(&mut container, "/sys"), "shared");
    container.spec["linux"]["rootfsPropagation"] = json!("shared");
    assert_eq!(fields(&mut container, "/sys"), "");
    container.spec["linux"]["rootfsPropagation"] = json!("sharing");
    assert!(container.plan().unwrap_err().to_string().contains("sharing"));
}

/// Whether a container whose root is a shared tree of the host sees what is mounted there later.
fn root_follows(word: &str) -> bool {
    let script = format!("{WAIT} [ -e /data/mark ] && echo seen; true");
    let mut container = Container::with_host_ids(&script);
    container.spec["linux"]["rootfsPropagation"] = json!(word);
    let path = container.root.path.clone();
    std::fs::create_dir(path.join("flags")).unwrap();
    in_mount_namespace(move || {
        rustix::mount::mount_bind(&path, &path).unwrap();
        rustix::mount::mount_change(&path, MountPropagationFlags::SHARED).unwrap();
        let root = DirectoryRoot::open(&path).unwrap();
        let (stdio, output) = harness::piped();
        let running = launch(container.plan().unwrap(), &root, stdio).unwrap().start().unwrap();
        wait_for(&path.join("flags/ready"));
        mount_tmpfs(&path.join("data"));
        std::fs::write(path.join("data/mark"), "").unwrap();
        std::fs::write(path.join("flags/go"), "").unwrap();
        let ended = harness::finish(&running, output);
        Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
        ended.output == "seen\n"
    })
}

#[test]
fn only_a_slave_root_follows_the_host() {
    assert!(root_follows("slave"));
    assert!(root_follows("rslave"));
    assert!(!root_follows("private"));
    assert!(!root_follows("shared"));
}
