//! Mounts: where from, where to, of what type and with which options; what is masked, protected and passed on.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Bundle, binary, field};

/// The line of mountinfo for a place: the options of the mount, what it shares, its type, source and the rest.
fn line(text: &str, place: &str) -> String {
    let found = text.lines().rfind(|line| line.split(' ').nth(4) == Some(place));
    let line = found.unwrap_or_else(|| panic!("nothing on {place}: {text}"));
    line.split(' ').skip(5).collect::<Vec<_>>().join(" ")
}

/// As [`line`], for `/data` in a container that has this mount.
fn mounted(mount: Value) -> String {
    let mut bundle = Bundle::new("cat /proc/self/mountinfo");
    bundle.mount(mount);
    line(&bundle.output(), "/data")
}

fn tmpfs(options: &[&str]) -> Value {
    json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

#[test]
fn destinations_are_absolute_relative_or_through_links() {
    let _field = field(&["mounts[].destination"]);
    let mut bundle =
        Bundle::new("for place in /a /rel/b /root/c /made/d; do stat -f -c %T $place; done; cat /a/deep/file");
    symlink("/root", bundle.root().join("link")).unwrap();
    symlink("../../../../made", bundle.root().join("up")).unwrap();
    let deep = bundle.file("deep");
    fs::create_dir(&deep).unwrap();
    fs::write(deep.join("file"), "inside\n").unwrap();
    for destination in ["/a", "rel/b", "/link/c", "/up/d"] {
        bundle.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
    }
    bundle.mount(bind(&deep, "/a/deep", &["rbind"]));
    assert_eq!(bundle.output(), "tmpfs\ntmpfs\ntmpfs\ntmpfs\ninside\n");
    for destination in ["/", "/proc/self", "/proc/sys/kernel"] {
        let mut bundle = Bundle::new("true");
        bundle.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        assert!(bundle.refusal().contains(destination));
    }
}

#[test]
fn sources_are_directories_files_sockets_and_relative_to_the_bundle() {
    let _field = field(&["mounts[].source"]);
    let mut bundle = Bundle::new("cat /data/file /new/file /etc/file; stat -c %F /socket");
    let source = bundle.file("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    fs::write(bundle.root().join("etc/file"), "covered").unwrap();
    let _listener = UnixListener::bind(source.join("socket")).unwrap();
    bundle.mount(bind(Path::new("source"), "/data", &["rbind"]));
    bundle.mount(bind(&source.join("file"), "/new/file", &["bind"]));
    bundle.mount(bind(Path::new("./source/file"), "/etc/file", &["bind", "ro"]));
    bundle.mount(bind(&source.join("socket"), "/socket", &["bind"]));
    assert_eq!(bundle.output(), "xxxsocket\n");
    let mut bundle = Bundle::new("true");
    bundle.mount(bind(Path::new("missing"), "/data", &["bind"]));
    assert!(bundle.refusal().contains("missing"));
}

#[test]
fn types_are_those_of_the_kernel() {
    let mut field = field(&["mounts[].type"]);
    for kind in ["tmpfs", "ramfs", "proc", "sysfs", "mqueue", "devpts"] {
        let found = mounted(json!({"destination": "/data", "type": kind, "source": "source"}));
        assert!(found.contains(&format!(" - {kind} ")), "{kind}: {found}");
    }
    let mut bundle = Bundle::new("true");
    bundle.mount(json!({"destination": "/data", "type": "nosuchfs", "source": "x"}));
    assert!(bundle.refusal().contains("nosuchfs"));
    let image = bundle.file("image");
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&image).status().is_ok_and(|status| status.success());
    let device = Command::new("losetup").args(["--find", "--show"]).arg(&image).output();
    match device.ok().filter(|output| made && output.status.success()) {
        None => field.lacks("no loop device for a file system with a device"),
        Some(output) => {
            let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
            let mut bundle = Bundle::new("cat /proc/self/mountinfo");
            bundle.mount(json!({"destination": "/data", "type": "ext4", "source": device, "options": ["ro"]}));
            let outcome = bundle.run();
            assert!(Command::new("losetup").args(["--detach", &device]).status().unwrap().success());
            assert!(line(&outcome.stdout, "/data").contains(&format!(" - ext4 {device} ro")), "{outcome:?}");
        }
    }
}

#[test]
fn options_of_mounts() {
    let _field = field(&["mounts[].options"]);
    let mut bundle = Bundle::new("cat /proc/self/mountinfo");
    let words = [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("relatime", "relatime"),
        ("nodiratime", "nodiratime"),
        ("nosymfollow", "nosymfollow"),
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rrelatime", "relatime"),
        ("rnodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow"),
    ];
    let source = bundle.file("source");
    fs::create_dir(&source).unwrap();
    for (word, _) in words {
        let place = format!("/new/{word}");
        bundle.mount(json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": [word]}));
        bundle.mount(bind(&source, &format!("/bound/{word}"), &["rbind", word]));
    }
    let text = bundle.output();
    for (word, expected) in words {
        for place in ["new", "bound"] {
            let found = line(&text, &format!("/{place}/{word}"));
            let options = found.split(' ').next().unwrap();
            assert!(options.split(',').any(|option| option == expected), "{place} {word}: {found}");
        }
    }
}

#[test]
fn options_that_clear_and_options_that_say_nothing() {
    let _field = field(&["mounts[].options"]);
    let clear = ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "nodiratime", "diratime"];
    assert!(mounted(tmpfs(&clear)).starts_with("rw,relatime "));
    assert!(mounted(tmpfs(&["defaults", "silent", "loud", "iversion", "noiversion"])).starts_with("rw,relatime "));
    assert!(mounted(tmpfs(&["strictatime"])).starts_with("rw "));
    assert!(mounted(tmpfs(&["nosymfollow", "symfollow", "noatime", "atime"])).starts_with("rw,relatime "));
}

#[test]
fn options_of_file_systems() {
    let _field = field(&["mounts[].options"]);
    for word in ["sync", "dirsync", "lazytime", "mand"] {
        let found = mounted(tmpfs(&[word, "size=64k"]));
        let options = found.rsplit(' ').next().unwrap();
        assert!(options.split(',').any(|option| option == word) && options.contains("size=64k"), "{word}: {found}");
    }
    let found = mounted(tmpfs(&["sync", "async", "lazytime", "nolazytime", "mand", "nomand"]));
    assert!(!found.contains("sync") && !found.contains("lazytime") && !found.contains("mand"), "{found}");
    let found = mounted(
        json!({"destination": "/data", "type": "proc", "source": "proc", "options": ["hidepid=2", "subset=pid"]}),
    );
    assert!(found.contains("hidepid=") && found.contains("subset=pid"), "{found}");
    let mut bundle = Bundle::new("true");
    bundle.mount(tmpfs(&["sizes=4k"]));
    assert!(bundle.refusal().contains("sizes=4k"));
}

#[test]
fn remount_changes_what_is_mounted() {
    let _field = field(&["mounts[].options"]);
    let mut bundle = Bundle::new("cat /proc/self/mountinfo");
    bundle.mount(tmpfs(&["size=64k"]));
    bundle.mount(json!({"destination": "/data", "options": ["bind", "remount", "ro", "noexec"]}));
    bundle.mount(
        json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "size=128k"]}),
    );
    let found = line(&bundle.output(), "/data");
    assert!(found.starts_with("ro,noexec,relatime ") && found.contains("size=128k"), "{found}");
}

#[test]
fn tmpcopyup_fills_a_tmpfs() {
    let _field = field(&["mounts[].options"]);
    let mut bundle =
        Bundle::new("cd /data; stat -c '%n %a %u:%g %h' file name; readlink link; cat sub/deep; echo new > sub/deep");
    let data = bundle.root().join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("file"), "old").unwrap();
    chown(data.join("file"), Some(5), Some(6)).unwrap();
    fs::set_permissions(data.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(data.join("file"), data.join("name")).unwrap();
    fs::write(data.join("sub/deep"), "deep\n").unwrap();
    symlink("/etc/shadow", data.join("link")).unwrap();
    bundle.mount(tmpfs(&["tmpcopyup", "size=1m"]));
    assert_eq!(bundle.output(), "file 640 5:6 2\nname 640 5:6 2\n/etc/shadow\ndeep\n");
    assert_eq!(fs::read(data.join("sub/deep")).unwrap(), b"deep\n");
}

/// What a container sees of a tree that is shared on the host: what was mounted below before and after it was made.
fn shared(options: &[&str]) -> String {
    let script =
        "for place in early late; do [ -e /data/$place/mark ] && echo $place; done > /out/seen; touch /out/done";
    let mut bundle = Bundle::new(script);
    let (source, out) = (bundle.file("source"), bundle.file("out"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&out).unwrap();
    bundle.mount(bind(&source, "/data", options));
    bundle.mount(bind(&out, "/out", &["bind"]));
    bundle.write();
    let host = "set -e; cd \"$1\"; mount -t tmpfs source source; mount --make-shared source; mkdir source/early source/late; \
                mount -t tmpfs early source/early; touch source/early/mark; \
                \"$2\" runtime --root state create --bundle . \"$3\" > /dev/null < /dev/null 2> error || { cat error; exit 1; }; \
                mount -t tmpfs late source/late; touch source/late/mark; \"$2\" runtime --root state start \"$3\"; \
                for i in $(seq 600); do [ -e out/done ] && break; sleep 0.1; done; \
                \"$2\" runtime --root state delete --force \"$3\"; cat out/seen";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", host, "sh"])
        .args([bundle.directory.as_os_str(), binary().as_os_str(), bundle.id.as_ref()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn propagation_of_binds() {
    let _field = field(&["mounts[].options"]);
    assert_eq!(shared(&["rbind"]), "early\n");
    assert_eq!(shared(&["rbind", "rprivate"]), "early\n");
    assert_eq!(shared(&["rbind", "rslave"]), "early\nlate\n");
    assert_eq!(shared(&["rbind", "rshared"]), "early\nlate\n");
    assert_eq!(shared(&["bind", "private"]), "");
    for (word, expected) in
        [("shared", "shared:"), ("rshared", "shared:"), ("unbindable", "unbindable"), ("private", "- tmpfs")]
    {
        let found = mounted(tmpfs(&[word]));
        assert!(found.split_once(' ').unwrap().1.starts_with(expected), "{word}: {found}");
    }
}

#[test]
fn propagation_of_the_root() {
    let _field = field(&["linux.rootfsPropagation"]);
    for (word, expected) in [("private", "- "), ("slave", ""), ("shared", "shared:"), ("unbindable", "unbindable")] {
        let mut bundle = Bundle::new("cat /proc/self/mountinfo");
        bundle.spec["linux"]["rootfsPropagation"] = json!(word);
        let found = line(&bundle.output(), "/");
        assert!(found.split_once(' ').unwrap().1.starts_with(expected), "{word}: {found}");
    }
    let mut bundle = Bundle::new("true");
    bundle.spec["linux"]["rootfsPropagation"] = json!("sharing");
    assert!(bundle.refusal().contains("sharing"));
}

#[test]
fn mounts_have_maps_of_their_own() {
    let _field = field(&["mounts[].uidMappings", "mounts[].gidMappings"]);
    let mut bundle = Bundle::new("stat -c %u:%g /data/file /own/file");
    let source = bundle.file("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    chown(source.join("file"), Some(5), Some(6)).unwrap();
    let map = |outside: u32| json!([{"containerID": 0, "hostID": outside, "size": 10}]);
    for (place, options) in [("/data", json!(["bind", "idmap"])), ("/own", json!(["rbind", "ridmap"]))] {
        let mut mount = bind(&source, place, &[]);
        (mount["options"], mount["uidMappings"], mount["gidMappings"]) = (options, map(1000), map(2000));
        bundle.mount(mount);
    }
    assert_eq!(bundle.output(), "1005:2006\n1005:2006\n");

    let mut bundle = Bundle::new("stat -c %u:%g /data/file");
    let source = bundle.file("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    chown(source.join("file"), Some(5), Some(6)).unwrap();
    bundle.with_user_namespace().mount(bind(&source, "/data", &["bind", "idmap"]));
    assert_eq!(bundle.output(), "5:6\n");

    let mut bundle = Bundle::new("true");
    bundle.mount(bind(Path::new("/etc"), "/data", &["bind", "idmap"]));
    assert!(bundle.refusal().contains("uidMappings"));
    let mut half = bind(Path::new("/etc"), "/half", &["bind", "idmap"]);
    half["uidMappings"] = map(0);
    let mut bundle = Bundle::new("true");
    bundle.mount(half);
    assert!(bundle.refusal().contains("both"));
}

#[test]
fn masked_paths_show_nothing_and_protected_ones_take_nothing() {
    let _field = field(&["linux.maskedPaths", "linux.readonlyPaths"]);
    let mut bundle = Bundle::new(
        "cat /root/secret /link; ls /hidden; for place in /etc /tmp /root/secret; do \
         (echo x > $place/x) 2>/dev/null && echo $place; (echo x > $place) 2>/dev/null && echo $place; done; \
         rm -f /root/secret 2>/dev/null; cat /root/secret",
    );
    let root = bundle.root();
    fs::write(root.join("root/secret"), "secret\n").unwrap();
    symlink("root/secret", root.join("link")).unwrap();
    fs::create_dir(root.join("hidden")).unwrap();
    fs::write(root.join("hidden/file"), "").unwrap();
    bundle.spec["linux"]["maskedPaths"] = json!(["/link", "/hidden", "/nowhere", "/proc/kcore", "/sys/firmware"]);
    bundle.spec["linux"]["readonlyPaths"] = json!(["/etc", "/nowhere", "/proc/sys"]);
    assert_eq!(bundle.output(), "/tmp\n");
}

#[test]
fn mount_labels_need_selinux() {
    let mut field = field(&["linux.mountLabel"]);
    let mut bundle = Bundle::new("cat /proc/self/mountinfo");
    bundle.spec["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    if Path::new("/sys/fs/selinux").exists() {
        bundle.mount(tmpfs(&[]));
        assert!(line(&bundle.output(), "/data").contains("context="));
    } else {
        field.lacks("a kernel with SELinux");
        assert!(bundle.refusal().contains("SELinux"));
    }
}
