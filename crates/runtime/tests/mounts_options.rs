//! Every mount option of the specification, as the kernel shows it in the container.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use harness::Container;
use serde_json::{Value, json};

/// What mountinfo says of each mount on `/m/<number>`: the options of the mount, and those of the file system.
fn mounted(mounts: &[Value]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut container = Container::with_host_ids("cat /proc/self/mountinfo");
    std::fs::create_dir(container.root.path.join("source")).unwrap();
    for (number, mount) in mounts.iter().enumerate() {
        let mut mount = mount.clone();
        mount["destination"] = json!(format!("/m/{number}"));
        if mount["type"] == "bind" {
            mount["source"] = json!(container.root.path.join("source"));
        }
        container.spec["mounts"].as_array_mut().unwrap().push(mount);
    }
    let ended = container.run().unwrap();
    let find = |number: usize| {
        let place = format!("/m/{number}");
        let line = ended.output.lines().find(|line| line.split(' ').nth(4) == Some(&place));
        let fields: Vec<&str> = line.unwrap_or_else(|| panic!("no {place}: {}", ended.output)).split(' ').collect();
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        (words(fields[5]), words(fields.last().unwrap()))
    };
    (0..mounts.len()).map(find).collect()
}

fn tmpfs(options: &[&str]) -> Value {
    json!({"type": "tmpfs", "source": "tmpfs", "options": options})
}

fn bind(options: &[&str]) -> Value {
    json!({"type": "bind", "options": options})
}

/// The option, what mountinfo must have, and what it must not.
const ATTRIBUTES: [(&str, &str, &str); 34] = [
    ("ro", "ro", "rw"),
    ("rw", "rw", "ro"),
    ("nosuid", "nosuid", ""),
    ("suid", "", "nosuid"),
    ("nodev", "nodev", ""),
    ("dev", "", "nodev"),
    ("noexec", "noexec", ""),
    ("exec", "", "noexec"),
    ("noatime", "noatime", "relatime"),
    ("atime", "relatime", "noatime"),
    ("relatime", "relatime", "noatime"),
    ("norelatime", "", "relatime"),
    ("strictatime", "", "relatime"),
    ("nostrictatime", "relatime", ""),
    ("nodiratime", "nodiratime", ""),
    ("diratime", "", "nodiratime"),
    ("nosymfollow", "nosymfollow", ""),
    ("symfollow", "", "nosymfollow"),
    ("rro", "ro", "rw"),
    ("rrw", "rw", "ro"),
    ("rnosuid", "nosuid", ""),
    ("rsuid", "", "nosuid"),
    ("rnodev", "nodev", ""),
    ("rdev", "", "nodev"),
    ("rnoexec", "noexec", ""),
    ("rexec", "", "noexec"),
    ("rnoatime", "noatime", "relatime"),
    ("ratime", "relatime", "noatime"),
    ("rrelatime", "relatime", "noatime"),
    ("rstrictatime", "", "relatime"),
    ("rnostrictatime", "relatime", ""),
    ("rnodiratime", "nodiratime", ""),
    ("rdiratime", "", "nodiratime"),
    ("rnosymfollow", "nosymfollow", ""),
];

fn check(mounts: &[Value]) {
    for ((option, with, without), (words, _)) in ATTRIBUTES.iter().zip(mounted(mounts)) {
        assert!(with.is_empty() || words.iter().any(|word| word == with), "{option}: {words:?}");
        assert!(without.is_empty() || words.iter().all(|word| word != without), "{option}: {words:?}");
    }
}

#[test]
fn attributes_of_new_mounts() {
    check(&ATTRIBUTES.map(|(option, ..)| tmpfs(&[option])));
}

#[test]
fn attributes_of_binds() {
    check(&ATTRIBUTES.map(|(option, ..)| bind(&["bind", option])));
}

#[test]
fn attributes_together_and_against_each_other() {
    let found = mounted(&[
        tmpfs(&["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow", "rw"]),
        bind(&["rbind", "rro", "rnosuid", "rnoexec", "noatime", "exec"]),
        tmpfs(&["defaults"]),
    ]);
    for word in ["rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"] {
        assert!(found[0].0.iter().any(|found| found == word), "{word}: {:?}", found[0].0);
    }
    for word in ["ro", "nosuid", "noatime"] {
        assert!(found[1].0.iter().any(|found| found == word), "{word}: {:?}", found[1].0);
    }
    assert!(!found[1].0.iter().any(|found| found == "noexec"), "{:?}", found[1].0);
    assert_eq!(found[2].0, ["rw", "relatime"]);
}

#[test]
fn words_for_the_whole_file_system() {
    let words = ["sync", "dirsync", "lazytime", "mand", "async", "nolazytime", "nomand", "iversion", "noiversion"];
    let mut mounts: Vec<Value> = words.iter().map(|word| tmpfs(&[word])).collect();
    mounts.push(tmpfs(&["silent", "loud"]));
    mounts.push(bind(&["bind", "sync", "iversion", "silent", "lazytime"]));
    mounts.push(tmpfs(&["sync", "async", "size=64k", "nr_inodes=10", "mode=700"]));
    let found = mounted(&mounts);
    for (number, word) in ["sync", "dirsync", "lazytime", "mand"].iter().enumerate() {
        assert!(found[number].1.iter().any(|found| found == word), "{word}: {:?}", found[number].1);
    }
    assert!(!found[4].1.iter().any(|word| word == "sync"));
    let last = &found[11].1;
    assert!(last.iter().any(|word| word == "size=64k") && last.iter().any(|word| word == "mode=700"), "{last:?}");
    assert!(!last.iter().any(|word| word == "sync"), "{last:?}");
}

#[test]
fn options_of_the_file_system_that_are_wrong_are_refused() {
    let mut container = Container::with_host_ids("true");
    let wrong = json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["sizes=4k"]});
    container.spec["mounts"].as_array_mut().unwrap().push(wrong);
    let failed = container.run().map(|ended| ended.output).unwrap_err().to_string();
    assert!(failed.contains("tmpfs") && failed.contains("sizes=4k"), "{failed}");
}

#[test]
fn remounts_change_what_is_there() {
    let mut container = Container::with_host_ids(
        "touch /data/x 2>&1 | grep -o Read-only; grep ' /data ' /proc/self/mountinfo | cut -d' ' -f6; \
         grep ' /tmp ' /proc/self/mountinfo | grep -o size=8k; grep ' / ' /proc/self/mountinfo | cut -d' ' -f6 | grep -o noatime",
    );
    let source = container.root.path.join("etc");
    container.spec["mounts"].as_array_mut().unwrap().extend([
        json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", "nosuid"]}),
        json!({"destination": "/data", "options": ["bind", "remount", "ro", "noexec"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "size=8k"]}),
        json!({"destination": "/", "options": ["bind", "remount", "noatime"]}),
    ]);
    // How the machine's own root keeps access times is not ours.
    let text = container.run().unwrap().output.replace(",relatime", "").replace("noexec,noatime", "noexec");
    assert_eq!(text, "Read-only\nro,nosuid,noexec\nsize=8k\nnoatime\n");
}

#[test]
fn a_remount_of_no_mount_is_an_error() {
    let mut container = Container::with_host_ids("true");
    let wrong = json!({"destination": "/data", "options": ["bind", "remount", "ro"]});
    container.spec["mounts"].as_array_mut().unwrap().push(wrong);
    let failed = container.run().map(|ended| ended.output).unwrap_err().to_string();
    assert!(failed.contains("/data"), "{failed}");
}

#[test]
fn recursive_attributes_reach_what_is_mounted_below() {
    let script = "touch /data/x 2>/dev/null && echo top; touch /data/sub/x 2>/dev/null && echo below; true";
    for (options, expected) in [
        (["rbind", "rro"], ""),
        (["rbind", "ro"], "below\n"),
        (["bind", "rw"], "top\nbelow\n"),
        (["rbind", "rnoexec"], "top\nbelow\n"),
    ] {
        let mut container = Container::with_host_ids(script);
        let path = container.root.path.join("tree");
        std::fs::create_dir_all(path.join("sub")).unwrap();
        let text = harness::in_mount_namespace(move || {
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("tmpfs", path.join("sub"), "tmpfs", flags, None).unwrap();
            let mount = json!({"destination": "/data", "type": "bind", "source": path, "options": options});
            container.spec["mounts"].as_array_mut().unwrap().push(mount);
            container.run().unwrap().output
        });
        assert_eq!(text, expected, "{options:?}");
    }
}
