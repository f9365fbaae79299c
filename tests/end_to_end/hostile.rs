//! Archives and root file systems made by an attacker: refused or contained, the host untouched, nothing left.

use crate::harness::{Archive, IMAGE, Layer, Skep, busybox_archive, busybox_layer, entries, have, sh};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tar::EntryType;

/// A directory of the host that every attack of this file aims at, and its state to compare.
struct Victim {
    directory: PathBuf,
    before: String,
}

impl Victim {
    fn new(skep: &Skep) -> Self {
        let directory = skep.file("victim");
        fs::create_dir(&directory).unwrap();
        for name in ["passwd", "hosts", "hostname", "resolv.conf", "null", "console"] {
            fs::write(directory.join(name), "the host's own\n").unwrap();
        }
        let before = Self::state(&directory);
        Self { directory, before }
    }

    fn state(directory: &Path) -> String {
        sh(&format!(
            "cd {} && find . -printf '%p %y %m %U %n %s %T@\\n' | LC_ALL=C sort; cat * | sha256sum",
            directory.display()
        ))
    }

    fn path(&self) -> &str {
        self.directory.to_str().unwrap()
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Self::state(&self.directory), self.before);
    }
}

/// Nothing of a refused image is in the store.
#[track_caller]
fn assert_store_is_empty(skep: &Skep) {
    assert_eq!(skep.ok(["images", "-aq"]), "");
    for directory in ["layers", "blobs/sha256", "leases"] {
        assert_eq!(entries(&skep.root().join(directory)), Vec::<String>::new(), "{directory}");
    }
}

/// Loads an archive that may be refused or made harmless; true if an image came of it.
#[track_caller]
fn load_warily(skep: &Skep, archive: &Archive) -> bool {
    let file = archive.write(skep.file("hostile.tar"));
    let output = skep.run(["load", "-q", "-i", file.to_str().unwrap()]);
    if output.code != 0 {
        output.assert_one_line_error(1, &[]);
        assert_store_is_empty(skep);
    }
    output.code == 0
}

fn image(layer: &Layer) -> Archive {
    Archive::new("hostile:1").layer(layer).config(serde_json::json!({"Env": ["PATH=/bin"]}))
}

#[test]
fn names_that_lead_out_of_the_root() {
    let skep = Skep::new();
    let victim = Victim::new(&skep);
    let absolute = format!("{}/absolute", victim.path());
    let up = format!("../../../../../../../../..{}/up", victim.path());
    let hidden = format!("srv/../../../../../../../../../..{}/hidden", victim.path());
    for name in [&absolute, &up, &hidden] {
        for kind in [EntryType::Regular, EntryType::Directory, EntryType::Fifo] {
            load_warily(&skep, &image(&busybox_layer().entry(name, kind, 0o666, None, &[])));
            victim.assert_untouched();
            skep.run(["rmi", "-f", "hostile:1"]);
        }
    }
}

#[test]
fn links_that_lead_out_of_the_root() {
    let skep = Skep::new();
    let victim = Victim::new(&skep);
    let passwd = format!("{}/passwd", victim.path());
    let layers = [
        busybox_layer().symlink("srv", victim.path()).file("srv/through", "attack"),
        busybox_layer().symlink("srv", victim.path()).file("srv/passwd", "attack"),
        busybox_layer().symlink("srv", victim.path()).directory("srv/passwd"),
        busybox_layer().symlink("srv", victim.path()).symlink("srv/hosts", "x"),
        busybox_layer().symlink("srv", victim.path()).file("srv/.wh.passwd", ""),
        busybox_layer().symlink("srv", victim.path()).file("srv/.wh..wh..opq", ""),
        busybox_layer().symlink("srv", victim.path()).hard_link("taken", "srv/passwd").file("taken", "attack"),
        busybox_layer().hard_link("taken", &passwd).file("taken", "attack"),
        busybox_layer().hard_link("taken", &format!("../../../../../../../..{passwd}")),
        busybox_layer().symlink("a", "b").symlink("b", &format!("..{}", victim.path())).file("a/x", "attack"),
    ];
    for (number, layer) in layers.iter().enumerate() {
        let loaded = load_warily(&skep, &image(layer));
        victim.assert_untouched();
        if loaded {
            skep.run(["run", "--rm", "hostile:1", "sh", "-c", "ls -R /srv /taken; echo attack > /taken"]);
            victim.assert_untouched();
        }
        skep.run(["rmi", "-f", "hostile:1"]);
        println!("attack {number}: {}", if loaded { "contained" } else { "refused" });
    }
}

#[test]
fn links_of_a_lower_layer_do_not_guide_an_upper_one() {
    let skep = Skep::new();
    let victim = Victim::new(&skep);
    let lower = busybox_layer().symlink("srv", victim.path());
    for upper in [
        Layer::new().file("srv/passwd", "attack"),
        Layer::new().file("srv/.wh.passwd", ""),
        Layer::new().directory("srv").file("srv/passwd", "attack"),
    ] {
        let archive = image(&lower).layer(&upper);
        if load_warily(&skep, &archive) {
            skep.run(["run", "--rm", "hostile:1", "sh", "-c", "cat /srv/passwd; echo attack > /srv/passwd"]);
        }
        victim.assert_untouched();
        skep.run(["rmi", "-f", "hostile:1"]);
    }
}

#[test]
fn device_nodes_of_an_image_open_nothing() {
    let skep = Skep::new();
    // /dev/zero stands for /dev/mem and the disks: it exists everywhere and does no harm if the wall is broken.
    let layer = busybox_layer().device("zero", 1, 5).directory("srv").device("srv/zero", 1, 5);
    if load_warily(&skep, &image(&layer)) {
        for path in ["/zero", "/srv/zero"] {
            let output = skep.run(["run", "--rm", "hostile:1", "head", "-c", "4", path]);
            assert_ne!(output.code, 0, "the device works inside: {output:#?}");
        }
        assert_eq!(skep.ok(["run", "--rm", "hostile:1", "head", "-c", "4", "/dev/zero"]).len(), 4);
    }
}

#[test]
fn device_nodes_of_an_image_open_nothing_in_a_volume_either() {
    let skep = Skep::new();
    // /dev/full, which rules for devices always allow, and tun, which they do not.
    let layer = busybox_layer().directory("data").device("data/full", 1, 7).device("data/tun", 10, 200);
    let layer = layer.device("tun", 10, 200);
    let archive = Archive::new("nodes:1").layer(&layer).config(serde_json::json!({"Volumes": {"/data": {}}}));
    skep.ok(["load", "-q", "-i", archive.write(skep.file("nodes.tar")).to_str().unwrap()]);
    let open = "mount -o remount,bind,dev / 2>/dev/null; mount -o remount,bind,dev /data 2>/dev/null; \
                for node in $0; do (exec 3< $node) 2>/dev/null && echo opened $node; done; true";
    for volume in [&[][..], &["-v", "named:/data"]] {
        let run = [&["run", "--rm"], volume, &["nodes:1", "sh", "-c", open, "/data/full /data/tun /tun"]].concat();
        assert_eq!(skep.ok(run), "", "{volume:?}");
    }
    // Who may mount in the container may lift the mounts' `nodev`, but not the rules.
    let add = ["run", "--rm", "--cap-add", "SYS_ADMIN", "nodes:1", "sh", "-c", open, "/data/tun /tun"];
    assert_eq!(skep.ok(add), "");
    let id = skep.ok(["run", "-d", "nodes:1", "sleep", "100"]);
    assert_eq!(skep.ok(["exec", "--privileged", &id, "sh", "-c", open, "/data/tun /tun"]), "");
}

#[test]
fn a_sparse_bomb_takes_no_room() {
    let skep = Skep::new();
    let loaded = load_warily(&skep, &image(&busybox_layer().sparse_file("bomb", 10 << 30)));
    let used: u64 = sh(&format!("du -sk {} | cut -f1", skep.root().display())).parse().unwrap();
    assert!(used < 50_000, "{used} kB");
    if loaded {
        assert_eq!(skep.ok(["run", "--rm", "hostile:1", "stat", "-c", "%s", "/bomb"]), (10u64 << 30).to_string());
    }
}

#[test]
fn a_hundred_thousand_entries_in_one_directory() {
    let skep = Skep::new();
    let mut layer = busybox_layer().directory("crowd");
    for number in 0..100_000 {
        layer = layer.file(&format!("crowd/{number}"), "");
    }
    assert!(load_warily(&skep, &image(&layer)));
    assert_eq!(skep.ok(["run", "--rm", "hostile:1", "sh", "-c", "ls -A /crowd | wc -l"]), "100000");
    skep.ok(["rmi", "hostile:1"]);
    assert_store_is_empty(&skep);
}

#[test]
fn headers_that_lie() {
    let skep = Skep::new();
    let mut huge = tar::Header::new_gnu();
    huge.as_gnu_mut().unwrap().name[..4].copy_from_slice(b"huge");
    huge.set_entry_type(EntryType::Regular);
    huge.set_mode(0o644);
    huge.set_size(u64::MAX / 2);
    huge.set_cksum();
    let mut wrong_sum = tar::Header::new_gnu();
    wrong_sum.as_gnu_mut().unwrap().name[..3].copy_from_slice(b"sum");
    wrong_sum.set_size(0);
    for layer in [
        busybox_layer().raw(huge, b"short"),
        busybox_layer().raw(wrong_sum, b""),
        busybox_layer().pax("size", "18446744073709551615").file("pax", "x"),
        busybox_layer().pax("path", "").file("empty", "x"),
        busybox_layer().pax("GNU.sparse.realsize", "-1").pax("GNU.sparse.map", "9,9,9").file("map", "x"),
        busybox_layer().entry("long", EntryType::GNULongName, 0o644, None, &vec![b'a'; 3_000_000]).file("x", ""),
        Layer::new().file(".wh.", "").file(".wh...", "").file(".wh..", "attack"),
    ] {
        load_warily(&skep, &image(&layer));
        skep.run(["rmi", "-f", "hostile:1"]);
    }
}

#[test]
fn digests_are_checked() {
    let skep = Skep::new();
    let wrong = format!("sha256:{}", "0".repeat(64));
    let file = image(&busybox_layer()).diff_ids(vec![wrong]).write(skep.file("wrong.tar"));
    let output = skep.run(["load", "-i", file.to_str().unwrap()]);
    output.assert_one_line_error(1, &["digest"]);
    assert_store_is_empty(&skep);
    if !have("skopeo") {
        return;
    }
    let layout = skep.file("layout");
    sh(&format!("skopeo copy -q docker-archive:{} oci:{}:one", busybox_archive().display(), layout.display()));
    let flip = "f=$(ls -S blobs/sha256/* | head -n 1); printf X | dd of=$f bs=1 seek=5000 conv=notrunc status=none";
    sh(&format!("cd {} && {flip}", layout.display()));
    let output = skep.run(["run", "--rm", &format!("oci:{}:one", layout.display()), "true"]);
    assert_eq!(output.code, 125, "{output:#?}");
    assert_store_is_empty(&skep);
}

#[test]
fn truncated_and_corrupt_archives_leave_nothing() {
    let skep = Skep::new();
    let whole = fs::read(busybox_archive()).unwrap();
    let packed = skep.file("packed.gz");
    sh(&format!("gzip -1 < {} > {}", busybox_archive().display(), packed.display()));
    let packed = fs::read(packed).unwrap();
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let file = skep.file("broken");
    let attempts: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"not an archive at all".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..700].to_vec(),
        packed[..packed.len() / 2].to_vec(),
        packed[..packed.len() - 4].to_vec(),
        flipped,
        vec![0; 10_240],
        [0x1f, 0x8b].to_vec(),
        [0x28, 0xb5, 0x2f, 0xfd].to_vec(),
        Layer::new()
            .file("manifest.json", "[{\"Config\":\"../../etc/passwd\",\"RepoTags\":[\"x:1\"],\"Layers\":[]}]")
            .bytes(),
        Layer::new()
            .file("manifest.json", "[{\"Config\":\"absent.json\",\"RepoTags\":[\"x:1\"],\"Layers\":[\"absent\"]}]")
            .bytes(),
        Layer::new().file("manifest.json", "{{{").bytes(),
        Layer::new().symlink("manifest.json", "/etc/passwd").bytes(),
    ];
    for (number, bytes) in attempts.iter().enumerate() {
        fs::write(&file, bytes).unwrap();
        println!("attempt {number}");
        skep.run(["load", "-i", file.to_str().unwrap()]).assert_one_line_error(1, &[]);
        let piped = skep.feed(bytes, ["load"]);
        assert_eq!(piped.code, 1, "{piped:#?}");
        assert_store_is_empty(&skep);
    }
    skep.ok(["load", "-q", "-i", busybox_archive().to_str().unwrap()]);
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let skep = Skep::new();
    let layer = busybox_layer().file("ballast", vec![7; 30_000_000]);
    let file = image(&layer).write(skep.file("big.tar"));
    fs::create_dir_all(skep.root()).unwrap();
    // A small disk that only this command sees; what is left on it is listed before it goes.
    let script = "mount -t tmpfs -o size=12m none $SKEP_ROOT; code=0; $SKEP load -q -i $0 || code=$?; \
                  find $SKEP_ROOT/layers $SKEP_ROOT/blobs $SKEP_ROOT/leases -mindepth 1 ! -name sha256; exit $code";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, file.to_str().unwrap()]);
    skep.environment(&mut command);
    let output = skep.finish(command);
    output.assert_one_line_error(1, &["disk"]);
    assert_eq!(output.stdout, "");
}

#[test]
fn a_container_that_fills_the_disk_ends_as_it_ended() {
    let skep = Skep::new();
    fs::create_dir_all(skep.root()).unwrap();
    let script = "set -e; mount -t tmpfs -o size=200m none $SKEP_ROOT; $SKEP load -q -i $0 > $SKEP_ROOT/load; \
                  id=$($SKEP run -d busybox sh -c 'cat /dev/zero > /all; sleep 100') 2>&1; \
                  until [ \"$(df --output=avail $SKEP_ROOT | tail -1)\" -eq 0 ]; do sleep 0.1; done; \
                  $SKEP kill $id > /dev/null; $SKEP wait $id; $SKEP inspect -f '{{.State.Status}} {{.State.ExitCode}}' $id; \
                  $SKEP rm $id > /dev/null; $SKEP run --rm busybox echo room";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, busybox_archive().to_str().unwrap()]);
    skep.environment(&mut command);
    assert_eq!(skep.finish(command).stdout, "137\nexited 137\nroom\n");
}

#[test]
fn images_whose_standard_directories_are_links_to_the_host() {
    let skep = Skep::new();
    let victim = Victim::new(&skep);
    for directory in ["proc", "sys", "dev", "etc", "run", "tmp"] {
        let name = format!("trap-{directory}:1");
        let mut layer = Layer::new().directory("bin").program("bin/busybox", fs::read("/bin/busybox").unwrap());
        layer = layer.symlink("bin/sh", "busybox").symlink(directory, victim.path());
        let archive = Archive::new(&name).layer(&layer).config(serde_json::json!({"Env": ["PATH=/bin"]}));
        let file = archive.write(skep.file("trap.tar"));
        skep.ok(["load", "-q", "-i", file.to_str().unwrap()]);
        attack(&skep, &name, directory);
        victim.assert_untouched();
    }
}

#[test]
fn directories_whose_standard_directories_are_links_to_the_host() {
    let skep = Skep::with_image();
    let victim = Victim::new(&skep);
    for directory in ["proc", "sys", "dev", "etc", "dev/shm", "proc/sys"] {
        let tree = skep.file(&format!("tree-{}", directory.replace('/', "-")));
        sh(&format!(
            "mkdir -p {0}/bin {0}/$(dirname {1}); cp /bin/busybox {0}/bin/; ln -s busybox {0}/bin/sh; ln -s {2} {0}/{1}",
            tree.display(),
            directory,
            victim.path()
        ));
        attack(&skep, &format!("rootfs:{}", tree.display()), directory);
        victim.assert_untouched();
    }
}

/// Runs, if it runs, with everything that makes an engine touch those paths; then writes to them from inside.
fn attack(skep: &Skep, image: &str, directory: &str) {
    let script =
        format!("echo attack > /{directory}/passwd; echo attack > /{directory}/new; busybox rm /{directory}/hosts");
    for options in [
        &["--rm"][..],
        &["--rm", "--userns", "host"],
        &["--rm", "--privileged"],
        &["--rm", "--device", "/dev/zero:/dev/console2", "--add-host", "x:198.51.100.1", "--dns", "198.51.100.2"],
        &["--rm", "--tmpfs", "/run", "--tmpfs", "/dev/shm", "--shm-size", "1m", "-v", "/anonymous"],
        &["--rm", "-w", "/etc/deep/er", "--read-only"],
    ] {
        let output = skep.run([&["run"][..], options, &[image, "/bin/sh", "-c", &script]].concat());
        assert!(output.code >= 0 && !output.stderr.contains("panicked"), "{output:#?}");
    }
    assert_eq!(skep.ok(["ps", "-aq"]), "");
}

#[test]
fn mount_targets_cannot_be_led_out() {
    let skep = Skep::new();
    let victim = Victim::new(&skep);
    let layer =
        busybox_layer().symlink("out", victim.path()).symlink("up", "../../../../../..").symlink("loop", "loop");
    assert!(load_warily(&skep, &image(&layer)));
    let given = skep.file("given");
    fs::create_dir(&given).unwrap();
    for target in ["/out", "/out/deep/new", "/up/out", &format!("/up{}/x", victim.path()), "/loop/x"] {
        let bind = format!("{}:{target}", given.display());
        skep.run(["run", "--rm", "-v", &bind, "hostile:1", "true"]);
        skep.run(["run", "--rm", "--tmpfs", target, "hostile:1", "true"]);
        skep.run(["run", "--rm", "-w", target, "hostile:1", "touch", "x"]);
        victim.assert_untouched();
    }
}

#[test]
fn the_engine_cannot_be_reached_through_its_own_program() {
    let skep = Skep::with_image();
    let before = fs::read(crate::harness::binary()).unwrap();
    skep.run(["run", "--rm", IMAGE, "/proc/self/exe"]);
    let id = skep.sleeper(&[]);
    let script = "for p in /proc/[0-9]*/exe; do (echo attack > $p) 2>/dev/null; done; true";
    for _ in 0..5 {
        skep.ok(["exec", &id, "sh", "-c", script]);
        skep.run(["exec", &id, "/proc/self/exe"]);
    }
    assert!(fs::read(crate::harness::binary()).unwrap() == before);
}

#[test]
fn what_the_caller_has_open_does_not_come_along_into_a_container() {
    let skep = Skep::with_image();
    // The one who may look: with the host's ids, and allowed to trace.
    let script = "while :; do ls -l /proc/[2-9]*/fd /proc/[1-9][0-9]*/fd; done 2>/dev/null";
    let id = skep.ok(["run", "-d", "--userns", "host", "--cap-add", "SYS_PTRACE", IMAGE, "sh", "-c", script]);
    for _ in 0..100 {
        skep.ok(["exec", &id, "true"]);
    }
    let seen = skep.ok(["logs", &id]);
    let open = format!("-> {}\n", skep.root().display());
    assert!(seen.contains("-> pipe:") && !seen.contains(&open), "the helper of exec has the data directory open");
}

#[test]
fn users_beyond_all_bounds_are_refused() {
    let skep = Skep::with_image();
    for user in ["4294967296", "-1", "2147483648", "0:99999999999", "18446744073709551616", "65536"] {
        let output = skep.run(["run", "--rm", "-u", user, IMAGE, "id", "-u"]);
        assert_eq!(output.code, 125, "{user}: {output:#?}");
    }
}

#[test]
fn keys_of_the_callers_session_stay_outside() {
    let skep = Skep::new();
    // Perl is on every Debian, and calls by number: keyctl is 250, add_key is 248.
    let search = "my ($kind, $name) = (q(user), q(skep-secret)); \
                  print syscall(250, 10, -3, $kind, $name, 0) < 0 ? q(none) : q(found);";
    let script = "my ($kind, $name, $text, $search) = (q(user), q(skep-secret), q(honey), shift); \
                  syscall(250, 1, 0) > 0 and syscall(248, $kind, $name, $text, 5, -3) > 0 or die q(no keys); $| = 1; \
                  eval $search; system($ENV{SKEP}, qw(run --rm), @ARGV, qw(host: perl -e), $search);";
    for options in [&["--security-opt", "seccomp=unconfined"][..], &["--privileged"]] {
        let mut command = std::process::Command::new("perl");
        command.args(["-e", script, search]).args(options);
        skep.environment(&mut command);
        let output = skep.finish(command);
        assert_eq!(output.stdout, "foundnone", "{options:?} {output:#?}");
    }
}

#[test]
fn the_callers_mask_neither_opens_nor_closes_anything() {
    let skep = Skep::with_image();
    for mask in ["077", "000"] {
        let mut command = std::process::Command::new("sh");
        let run = "umask \"$0\"; exec \"$SKEP\" run --rm -u bee -v \"data$0:/data\" busybox sh -c \"$1\"";
        let script =
            "umask; cat /etc/hosts /etc/resolv.conf /etc/hostname > /dev/null && ls /data && stat -c %a /data /";
        command.args(["-c", run, mask, script]);
        skep.environment(&mut command);
        let output = skep.finish(command);
        assert_eq!((output.code, &*output.stdout), (0, "0022\n755\n755\n"), "{output:#?}");
    }
    let id = skep.sleeper(&[]);
    let socket = skep.run_root().join(id).join("monitor.sock");
    assert_eq!(fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
}
