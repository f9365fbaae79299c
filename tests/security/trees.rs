//! Root file systems in which a name that the engine touches is something else than it should be.
//!
//! ```text
//!   place   /dev /proc /etc/passwd ... each name on the way of some privileged operation
//!   kind    a link (absolute, upwards, through /proc's magic links, in a circle, to nothing), a FIFO, a device, a file
//! ```
//! For every pair: create, copy in and out, export, start, exec, copy again, remove. Each may fail, in one line and
//! soon; the canary that all links aim at may not see a single event.

use crate::harness::{Archive, IMAGE, Layer, Output, Skep, busybox_layer};
use crate::witness::Canary;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Names that set-up, look-ups, copies or masks go through. Those with a dot or in /etc are files.
pub(crate) const PLACES: [&str; 24] = [
    "dev",
    "proc",
    "sys",
    "run",
    "etc",
    "tmp",
    "work",
    "volume",
    "given",
    "scratch",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "dev/null",
    "dev/console",
    "dev/ptmx",
    "etc/passwd",
    "etc/group",
    "etc/hosts",
    "etc/resolv.conf",
    "proc/sys",
    "proc/kcore",
    "sys/fs/cgroup",
    "sys/firmware",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Absolute,
    Upwards,
    MagicRoot,
    MagicDescriptor,
    MagicParent,
    Chain,
    Circle,
    Nothing,
    Fifo,
    Device,
    File,
}

pub(crate) const KINDS: [Kind; 11] = [
    Kind::Absolute,
    Kind::Upwards,
    Kind::MagicRoot,
    Kind::MagicDescriptor,
    Kind::MagicParent,
    Kind::Chain,
    Kind::Circle,
    Kind::Nothing,
    Kind::Fifo,
    Kind::Device,
    Kind::File,
];

/// A tree with busybox in which `place` is of this kind.
pub(crate) fn plant(tree: &Path, place: &str, kind: Kind, canary: &Canary) {
    for directory in ["bin", "etc", "tmp", "hops"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    for name in ["sh", "sleep", "cat", "ls", "touch", "rm", "true"] {
        symlink("busybox", tree.join("bin").join(name)).unwrap();
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nbee:x:7:7::/tmp:/bin/sh\n").unwrap();
    fs::write(tree.join("etc/group"), "root:x:0:\nbee:x:7:\n").unwrap();
    let path = tree.join(place);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    // A name that the canary has leads to that.
    let name = Path::new(place).file_name().unwrap();
    let inner = Path::new(canary.path()).join(name);
    let target = if inner.exists() { inner } else { PathBuf::from(canary.path()) };
    let target = target.display();
    let link = |text: String| symlink(text, &path).unwrap();
    match kind {
        Kind::Absolute => link(target.to_string()),
        Kind::Upwards => link(format!("{}{target}", "../".repeat(16))),
        Kind::MagicRoot => link(format!("/proc/self/root{target}")),
        Kind::MagicDescriptor => link("/proc/self/fd/6".to_owned()),
        Kind::MagicParent => link(format!("/proc/1/root{target}")),
        Kind::Chain => {
            symlink(target.to_string(), tree.join("hops/second")).unwrap();
            symlink("hops/second", tree.join("first")).unwrap();
            link("/first".to_owned());
        }
        Kind::Circle => link(format!("/{place}")),
        Kind::Nothing => link("/nowhere/at/all".to_owned()),
        Kind::Fifo => rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap(),
        Kind::Device => rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 5),
        )
        .unwrap(),
        Kind::File => fs::write(&path, "a file").unwrap(),
    }
}

/// It ended by itself, and if it failed, it said one line.
#[track_caller]
pub(crate) fn assert_orderly(output: &Output) {
    assert!(output.code >= 0, "hung or crashed: {output:#?}");
    assert!(!output.stderr.contains("panicked"), "{output:#?}");
    assert!(!output.stdout.contains(crate::witness::SECRET), "{output:#?}");
    let secret = crate::witness::SECRET.as_bytes();
    assert!(!output.raw.windows(secret.len()).any(|window| window == secret), "{output:#?}");
}

/// Everything that an engine does with a container, in the tree or image `base`.
fn operate(skep: &Skep, base: &str, place: &str, round: usize) -> usize {
    let given = skep.file("given");
    fs::create_dir_all(&given).unwrap();
    let payload = skep.file("payload");
    fs::write(&payload, "payload").unwrap();
    let stream = Layer::new().directory("d").file("d/f", "payload").file("new", "payload").bytes();
    let out = skep.file("out");
    let (inside, below) = (format!("/{place}"), format!("/{place}/new"));
    let bind = format!("{}:/given", given.display());
    let options: &[&[&str]] = &[
        &["-v", &bind, "-v", "/volume", "--tmpfs", "/scratch", "-w", "/work/deep", "-u", "bee"],
        &[
            "--userns",
            "host",
            "-v",
            &bind,
            "-w",
            &inside,
            "--add-host",
            "x:198.51.100.1",
            "--device",
            "/dev/zero:/dev/thing",
        ],
        &["--privileged", "--tmpfs", "/run", "--shm-size", "1m", "-v", "/volume/new", "-t"],
        &["--read-only", "--tmpfs", &inside, "-w", &below, "--init"],
    ];
    let created = skep.run([&["create"], options[round % options.len()], &[base, "/bin/sleep", "1000"]].concat());
    assert_orderly(&created);
    let id = created.stdout.trim();
    if created.code != 0 {
        return 1;
    }
    let mut done = 2;
    let mut go = |words: &[&str]| {
        assert_orderly(&skep.run(words));
        done += 1;
    };
    let to = |path: &str| format!("{id}:{path}");
    for state in ["stopped", "running"] {
        for path in [&inside, &below] {
            let _ = fs::remove_dir_all(&out).or_else(|_| fs::remove_file(&out));
            go(&["cp", &to(path), out.to_str().unwrap()]);
            assert!(out.is_symlink() || !holds_secret(&out), "{place}: the secret came out");
            go(&["cp", "-L", &to(path), "-"]);
            go(&["cp", payload.to_str().unwrap(), &to(path)]);
            assert_orderly(&skep.feed(&stream, ["cp", "-", &to(path)]));
        }
        let exported = skep.file("exported.tar");
        go(&["export", "-o", exported.to_str().unwrap(), id]);
        assert!(!holds_secret(&exported), "{place}: the secret was exported");
        go(&["diff", id]);
        if state == "stopped" {
            let started = skep.run(["start", id]);
            assert_orderly(&started);
            if started.code != 0 {
                break;
            }
            let script =
                format!("cat {inside} {below} {inside}/file; echo x > {below}; touch {inside}/made; rm -rf {below}");
            let script = format!("({script}) < /dev/null > /tmp/log 2>&1 & sleep 0.1; cat /tmp/log; ls / /{place}");
            go(&["exec", id, "/bin/sh", "-c", &script]);
            go(&["exec", "-w", &inside, "-u", "bee", id, "/bin/true"]);
            go(&["exec", "-w", &below, "--privileged", id, "/bin/true"]);
        }
    }
    go(&["rm", "-f", "-v", id]);
    done
}

fn holds_secret(path: &Path) -> bool {
    let secret = crate::witness::SECRET.as_bytes();
    match fs::symlink_metadata(path) {
        Ok(status) if status.is_dir() => fs::read_dir(path).unwrap().any(|entry| holds_secret(&entry.unwrap().path())),
        Ok(status) if status.is_file() => fs::read(path).unwrap().windows(secret.len()).any(|window| window == secret),
        _ => false,
    }
}

/// A fifth of the pairs, every place among them; all of them in a long run. Half of these for each `part`.
fn pairs(part: usize) -> Vec<(&'static str, Kind, usize)> {
    let long = std::env::var_os("SKEP_ROUNDS").is_some();
    let all = PLACES
        .iter()
        .enumerate()
        .flat_map(|(row, place)| KINDS.iter().enumerate().map(move |(column, kind)| (*place, *kind, row + column)));
    all.filter(|(.., number)| number % 2 == part && (long || number % 10 == part)).collect()
}

fn directories(part: usize) {
    let skep = Skep::new();
    let canary = Canary::new();
    let mut operations = 0;
    for (number, (place, kind, round)) in pairs(part).into_iter().enumerate() {
        let tree = skep.file(&format!("tree-{number}"));
        plant(&tree, place, kind, &canary);
        canary.assert_untouched("planting");
        operations += operate(&skep, &format!("rootfs:{}", tree.display()), place, round / 2);
        canary.assert_untouched(&format!("`/{place}` as {kind:?}"));
        fs::remove_dir_all(&tree).unwrap();
    }
    println!("operations: {operations}");
}

#[test]
fn directories_as_roots_one_half() {
    directories(0);
}

#[test]
fn directories_as_roots_other_half() {
    directories(1);
}

#[test]
fn images_whose_names_are_links() {
    let skep = Skep::new();
    let canary = Canary::new();
    for (round, place) in PLACES.iter().enumerate() {
        let mut layer = Layer::new().directory("bin").program("bin/busybox", fs::read("/bin/busybox").unwrap());
        for name in ["sh", "sleep", "cat", "ls", "touch", "rm", "true"] {
            layer = layer.symlink(&format!("bin/{name}"), "busybox");
        }
        if let Some((parent, _)) = place.split_once('/') {
            layer = layer.directory(parent);
        }
        layer = layer.symlink(place, canary.path());
        let config = serde_json::json!({"Env": ["PATH=/bin"], "Volumes": {"/declared": {}, format!("/{place}/declared"): {}},
            "WorkingDir": format!("/{place}/work"), "User": "bee"});
        let archive = Archive::new("links:1").layer(&layer).config(config);
        let loaded = skep.run(["load", "-q", "-i", archive.write(skep.file("links.tar")).to_str().unwrap()]);
        assert_orderly(&loaded);
        if loaded.code == 0 {
            operate(&skep, "links:1", place, round);
            let id = skep.run(["create", "-u", "0", "links:1", "/bin/true"]).stdout;
            assert_orderly(&skep.run(["commit", id.trim(), "committed:1"]));
            assert_orderly(&skep.run(["rm", "-f", id.trim()]));
            assert_orderly(&skep.run(["rmi", "-f", "committed:1", "links:1"]));
        }
        canary.assert_untouched(place);
    }
}

#[test]
fn layers_that_replace_what_lower_layers_have() {
    let skep = Skep::new();
    let canary = Canary::new();
    let up = format!("{}{}", "../".repeat(16), canary.path());
    for target in [canary.path(), &up, "/proc/self/root/tmp", "/proc/self/fd/3"] {
        let lower = busybox_layer().symlink("led", target).directory("plain").file("plain/file", "x");
        let uppers = [
            Layer::new().file("led/file", "attack").file("led/new", "attack"),
            Layer::new().directory("led").file("led/file", "attack"),
            Layer::new().file("led/.wh.file", "").file("led/.wh..wh..opq", ""),
            Layer::new().hard_link("taken", "led/file").file("taken", "attack"),
            Layer::new().symlink("plain", target).file("plain/file", "attack"),
            Layer::new().symlink("plain/file", target).file("plain/file/below", "attack"),
            Layer::new().symlink("etc", target).file("etc/passwd", "attack").file("etc/.wh.group", ""),
        ];
        for upper in &uppers {
            let archive = Archive::new("led:1").layer(&lower).layer(upper);
            let file = archive.write(skep.file("led.tar"));
            let loaded = skep.run(["load", "-q", "-i", file.to_str().unwrap()]);
            assert_orderly(&loaded);
            canary.assert_untouched("load");
            if loaded.code == 0 {
                assert_orderly(&skep.run([
                    "run",
                    "--rm",
                    "led:1",
                    "sh",
                    "-c",
                    "cat /led/file /plain/file /taken; echo x > /led/file",
                ]));
                canary.assert_untouched("run");
                skep.run(["rmi", "-f", "led:1"]);
            }
        }
    }
}

/// What somebody mounted below a directory that becomes a root is not part of it: no operation sees it.
#[test]
fn what_is_mounted_below_a_root_is_not_part_of_it() {
    let skep = Skep::new();
    let canary = Canary::new();
    for place in ["etc", "dev", "proc", "work", "run", "tmp"] {
        let tree = skep.file("mounted");
        plant(&tree, "unused", Kind::File, &canary);
        fs::create_dir_all(tree.join(place)).unwrap();
        // In a mount namespace of its own, which goes with it.
        let script = "mount --bind $0 $1/$2; cat < /dev/null; \
            $SKEP run --rm -w /$2 rootfs:$1 /bin/sh -c \"cat /$2/passwd /$2/sub/file; echo x > /$2/new; rm -rf /$2/sub\"; \
            id=$($SKEP create rootfs:$1 /bin/true); $SKEP cp $id:/$2 - | tr -d '\\0'; $SKEP export $id | tr -d '\\0'; \
            $SKEP cp /etc/hostname $id:/$2/new; $SKEP diff $id; $SKEP rm -f $id";
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c", script, canary.path()]);
        command.args([tree.to_str().unwrap(), place]);
        skep.environment(&mut command);
        assert_orderly(&skep.finish(command));
        canary.assert_untouched(place);
        fs::remove_dir_all(&tree).unwrap();
    }
}

#[test]
fn the_witness_sees_what_it_is_for() {
    let skep = Skep::with_image();
    let canary = Canary::new();
    let bind = format!("{}:/canary", canary.path());
    for script in [
        "cat /canary/passwd",
        "echo x >> /canary/passwd",
        "ls /canary",
        "chmod 600 /canary/sub/file",
        "touch /canary/new",
    ] {
        skep.run(["run", "--rm", "--userns", "host", "-v", &bind, IMAGE, "sh", "-c", script]);
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| canary.assert_untouched(script)));
        assert!(seen.is_err(), "`{script}` went unseen");
    }
}
