//! Images: into the store, out of it, and between skep and the tools that others use.

use crate::harness::{Archive, IMAGE, Layer, Skep, busybox_archive, busybox_layer, have, sh, sha256};
use std::fs;
use std::path::Path;

/// Paths, kinds, modes, owners, links and contents of a tree, as text to compare.
fn tree(directory: &Path) -> String {
    sh(&format!(
        "cd {} && find . -mindepth 1 -printf '%P %y %m %U:%G %l %n\\n' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum",
        directory.display()
    ))
}

/// Two layers: the second hides, replaces and empties what the first brought.
fn layered() -> Archive {
    let lower = busybox_layer()
        .directory("srv")
        .file("srv/hidden", "a")
        .file("srv/replaced", "b")
        .directory("srv/emptied")
        .file("srv/emptied/old", "c")
        .file("srv/linked", "one file")
        .hard_link("srv/link", "srv/linked");
    let upper = Layer::new()
        .file("srv/.wh.hidden", "")
        .file("srv/replaced", "new")
        .file("srv/emptied/.wh..wh..opq", "")
        .file("srv/emptied/new", "d")
        .symlink("srv/arrow", "replaced");
    Archive::new("layered:1").layer(&lower).layer(&upper).config(serde_json::json!({"Env": ["PATH=/bin"]}))
}

#[test]
fn layers_stack_with_whiteouts_opaque_directories_and_links() {
    let skep = Skep::new();
    let archive = layered().write(skep.file("layered.tar"));
    skep.ok(["load", "-i", archive.to_str().unwrap()]);
    let run = |script: &str| skep.ok(["run", "--rm", "layered:1", "sh", "-c", script]);
    assert_eq!(run("cd srv; ls; cat replaced; echo; ls emptied"), "arrow\nemptied\nlink\nlinked\nreplaced\nnew\nnew");
    assert_eq!(run("stat -c %h /srv/link"), "2");
    assert_eq!(run("readlink /srv/arrow"), "replaced");
}

#[test]
fn load_reads_plain_gzip_and_zstd_from_file_and_standard_input() {
    for pack in ["cat", "gzip -1", "zstd -q"] {
        if pack.starts_with("zstd") && !have("zstd") {
            continue;
        }
        let skep = Skep::new();
        let packed = skep.file("image");
        sh(&format!("{pack} < {} > {}", busybox_archive().display(), packed.display()));
        let printed = skep.ok(["load", "-i", packed.to_str().unwrap()]);
        assert!(printed.contains("busybox:latest"), "{printed}");
        let again = skep.feed(&fs::read(&packed).unwrap(), ["load"]);
        assert_eq!(again.code, 0, "{again:#?}");
        assert_eq!(skep.ok(["images", "-q"]).lines().count(), 1);
        assert_eq!(skep.ok(["run", "--rm", IMAGE, "echo", "works"]), "works");
    }
}

#[test]
fn oci_archives_and_layouts_come_from_skopeo_and_umoci() {
    if !have("skopeo") || !have("umoci") {
        return;
    }
    let skep = Skep::new();
    let archive = layered().write(skep.file("layered.tar"));
    let (oci, layout, bundle) = (skep.file("oci.tar"), skep.file("layout"), skep.file("bundle"));
    sh(&format!("skopeo copy -q docker-archive:{} oci-archive:{}:layered:2", archive.display(), oci.display()));
    skep.ok(["load", "-i", oci.to_str().unwrap()]);
    assert_eq!(skep.ok(["run", "--rm", "layered:2", "ls", "/srv/emptied"]), "new");

    sh(&format!("skopeo copy -q docker-archive:{} oci:{}:one", archive.display(), layout.display()));
    sh(&format!("umoci unpack --image {}:one {}", layout.display(), bundle.display()));
    let theirs = tree(&bundle.join("rootfs"));
    let layers = fs::read_dir(skep.root().join("layers")).unwrap().count();
    assert!(layers >= 2, "{layers}");
    let ours = skep.file("ours");
    fs::create_dir(&ours).unwrap();
    skep.ok(["create", "--name", "exported", "layered:2", "true"]);
    sh(&format!(
        "SKEP_ROOT={} SKEP_RUN={} {} export exported | tar -C {} -xf -",
        skep.root().display(),
        skep.run_root().display(),
        crate::harness::binary().display(),
        ours.display()
    ));
    assert_eq!(without_engine_files(&tree(&ours)), without_engine_files(&theirs));
}

/// Docker, too, puts these into an exported tree; the link counts of parents move with them.
fn without_engine_files(tree: &str) -> Vec<String> {
    let engine =
        ["dev", "etc", "proc", "sys", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"];
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let sum = |line: &str| engine.iter().any(|file| line.ends_with(&format!("./{file}")));
    let below = |name: &str| name.starts_with("dev/") || name.starts_with("proc/") || name.starts_with("sys/");
    let keep = |line: &&str| !engine.contains(&name(line).as_str()) && !below(&name(line)) && !sum(line);
    tree.lines().filter(keep).map(str::to_owned).collect()
}

#[test]
fn what_skep_saves_others_read() {
    if !have("skopeo") || !have("umoci") {
        return;
    }
    let skep = Skep::new();
    let archive = layered().write(skep.file("layered.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    let (docker, oci) = (skep.file("saved.tar"), skep.file("saved-oci.tar"));
    skep.ok(["save", "-o", docker.to_str().unwrap(), "layered:1"]);
    skep.ok(["save", "--format", "oci-archive", "-o", oci.to_str().unwrap(), "layered:1"]);
    let original = skep.file("original");
    unpack_with_umoci(&skep, &format!("docker-archive:{}", archive.display()), &original);
    for (number, source) in [format!("docker-archive:{}", docker.display()), format!("oci-archive:{}", oci.display())]
        .into_iter()
        .enumerate()
    {
        sh(&format!("skopeo inspect {source}"));
        let unpacked = skep.file(&format!("unpacked-{number}"));
        unpack_with_umoci(&skep, &source, &unpacked);
        assert_eq!(tree(&unpacked.join("rootfs")), tree(&original.join("rootfs")), "{source}");
    }
}

fn unpack_with_umoci(skep: &Skep, source: &str, bundle: &Path) {
    let layout = skep.file(&format!("layout-{}", sha256(source.as_bytes())));
    sh(&format!(
        "skopeo copy -q {source} oci:{0}:x && umoci unpack --image {0}:x {1}",
        layout.display(),
        bundle.display()
    ));
}

#[test]
fn podman_loads_what_skep_saves_and_the_other_way() {
    if !have("podman") {
        return;
    }
    let skep = Skep::with_image();
    let (ours, theirs) = (skep.file("ours.tar"), skep.file("theirs.tar"));
    let storage = skep.file("podman");
    let podman =
        format!("podman --root {0}/root --runroot {0}/run --tmpdir {0}/tmp --storage-driver vfs", storage.display());
    fs::create_dir(&storage).unwrap();
    skep.ok(["save", "-o", ours.to_str().unwrap(), IMAGE]);
    sh(&format!("{podman} load -q -i {}", ours.display()));
    let id = sh(&format!("{podman} images --no-trunc -q"));
    assert_eq!(id, skep.ok(["images", "--no-trunc", "-q"]), "the same image has the same id");
    sh(&format!("{podman} save -q -o {} {id}", theirs.display()));
    sh(&format!("{podman} rmi -f {id}"));
    let other = Skep::new();
    let printed = other.ok(["load", "-i", theirs.to_str().unwrap()]);
    assert!(printed.contains("sha256:"), "an image without a name is told by its id: {printed}");
    assert_eq!(other.ok(["images", "--no-trunc", "-q", "-a"]), id);
}

#[test]
fn a_round_trip_keeps_the_id_and_the_names() {
    let skep = Skep::new();
    let archive = layered().write(skep.file("layered.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    skep.ok(["tag", "layered:1", "registry.example/meadow/layered:v2"]);
    let id = skep.ok(["images", "-q", "--no-trunc", "layered"]);
    for format in ["docker-archive", "oci-archive"] {
        let saved = skep.file(format);
        skep.ok([
            "save",
            "--format",
            format,
            "-o",
            saved.to_str().unwrap(),
            "layered:1",
            "registry.example/meadow/layered:v2",
        ]);
        let other = Skep::new();
        other.ok(["load", "-q", "-i", saved.to_str().unwrap()]);
        let shown = other.ok(["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
        let mut shown: Vec<_> = shown.lines().collect();
        shown.sort_unstable();
        assert_eq!(shown, [format!("layered:1 {id}"), format!("registry.example/meadow/layered:v2 {id}")], "{format}");
    }
}

#[test]
fn saved_to_standard_output() {
    let skep = Skep::with_image();
    let saved = skep.run(["save", IMAGE]);
    assert_eq!(saved.code, 0, "{}", saved.stderr);
    let other = Skep::new();
    assert_eq!(other.feed(&saved.raw, ["load", "-q"]).code, 0);
    assert_eq!(other.ok(["images", "-q"]), skep.ok(["images", "-q"]));
}

#[test]
fn from_one_home_to_another_and_into_a_directory() {
    let (skep, other) = (Skep::new(), Skep::new());
    let archive = layered().write(skep.file("layered.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    let line = |from: &Skep, to: &Skep| {
        let at = |skep: &Skep| {
            format!(
                "{} --root {} --run-root {}",
                crate::harness::binary().display(),
                skep.root().display(),
                skep.run_root().display()
            )
        };
        format!("{} save layered:1 | {} load", at(from), at(to))
    };
    assert_eq!(sh(&line(&skep, &other)).trim(), "Loaded image: layered:1");
    assert_eq!(skep.ok(["images", "-q", "--no-trunc"]), other.ok(["images", "-q", "--no-trunc"]));
    // On one host there is nothing to do, and nothing changes.
    let before = tree(&skep.root());
    assert_eq!(sh(&line(&skep, &skep)).trim(), "Loaded image: layered:1");
    assert_eq!(tree(&skep.root()), before);

    let error = skep.fails(1, ["save", "--format", "oci-dir", "layered:1"]);
    assert!(error.contains("-o"), "{error}");
    let directory = skep.file("layout");
    skep.ok(["save", "--format", "oci-dir", "-o", directory.to_str().unwrap(), "layered:1"]);
    let error = skep.fails(1, ["save", "--format", "oci-dir", "-o", directory.to_str().unwrap(), "layered:1"]);
    assert!(error.contains("not empty"), "{error}");
    let third = Skep::new();
    third.ok(["load", "-q", "-i", &format!("oci:{}", directory.display())]);
    assert_eq!(third.ok(["images", "-q", "--no-trunc"]), skep.ok(["images", "-q", "--no-trunc"]));
    skep.fails(1, ["save", "--platform", "linux/s390x", "-o", "/dev/null", "layered:1"]);
    skep.fails(1, ["load", "--platform", "linux/s390x", "-i", archive.to_str().unwrap()]);
    if have("umoci") {
        unpack_with_umoci(&skep, &format!("docker-archive:{}", archive.display()), &skep.file("original"));
        sh(&format!(
            "umoci unpack --image {}:layered:1 {} 2>/dev/null || umoci unpack --image {0}:docker.io/library/layered:1 {1}",
            directory.display(),
            skep.file("ours").display()
        ));
        assert_eq!(tree(&skep.file("ours/rootfs")), tree(&skep.file("original/rootfs")));
    }
}

#[test]
fn import_makes_an_image_of_a_tree() {
    let skep = Skep::new();
    let tar = busybox_layer().file("etc/flag", "bees").bytes();
    fs::write(skep.file("tree.tar"), &tar).unwrap();
    let file = skep.file("tree.tar");
    let changes = ["--change", "CMD [\"cat\", \"/etc/flag\"]", "--change", "ENV PATH=/bin", "-c", "WORKDIR /tmp"];
    let arguments = [&["import"][..], &changes, &["-m", "from a tree", file.to_str().unwrap(), "made:here"]].concat();
    let id = skep.ok(arguments);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(skep.ok(["run", "--rm", "made:here"]), "bees");
    assert_eq!(skep.ok(["run", "--rm", "made:here", "pwd"]), "/tmp");
    let piped = skep.feed(&tar, ["import", "-", "piped:1"]);
    assert_eq!(piped.code, 0, "{piped:#?}");
    assert_eq!(skep.ok(["run", "--rm", "piped:1", "/bin/cat", "/etc/flag"]), "bees");
    assert!(skep.ok(["history", "made:here"]).contains("from a tree"));
}

#[test]
fn names_tags_and_removal() {
    let skep = Skep::with_image();
    skep.ok(["tag", "busybox", "other:1"]);
    skep.ok(["tag", "busybox:latest", "registry.example/deep/name"]);
    let id = skep.ok(["images", "-q", "--no-trunc", "busybox"]);
    assert_eq!(skep.ok(["images", "--format", "{{.Repository}}"]).lines().count(), 3, "a row for every name");
    let printed = skep.ok(["rmi", "other:1"]);
    assert_eq!(printed, "Untagged: other:1");
    assert_eq!(skep.inspect(&id[..20], "{{.Id}}"), id);
    skep.ok(["rmi", "registry.example/deep/name"]);
    let last = skep.ok(["rmi", "busybox"]);
    assert!(last.contains("Untagged: busybox:latest") && last.contains(&format!("Deleted: {id}")), "{last}");
    assert_eq!(skep.ok(["images", "-q"]), "");
    assert_eq!(crate::harness::entries(&skep.root().join("layers")), Vec::<String>::new());
    assert_eq!(crate::harness::entries(&skep.root().join("blobs/sha256")), Vec::<String>::new());
}

#[test]
fn an_image_in_use_is_not_removed() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let error = skep.fails(1, ["rmi", IMAGE]);
    assert!(error.contains(&id[..12]), "says who uses it: {error}");
    assert_eq!(skep.ok(["exec", &id, "echo", "alive"]), "alive");
    skep.ok(["rm", "-f", &id]);
    skep.ok(["rmi", IMAGE]);
}

#[test]
fn inspect_and_history() {
    let skep = Skep::new();
    let archive = layered().write(skep.file("layered.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&skep.ok(["image", "inspect", "layered:1"])).unwrap();
    let image = &json[0];
    assert_eq!(image["RepoTags"][0], "layered:1");
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert!(Path::new(image["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap()).join("srv").is_dir());
    let manifest = image["Descriptor"]["digest"].as_str().unwrap();
    assert_eq!(image["RepoDigests"][0], format!("layered@{manifest}"));
    assert_eq!(image["Descriptor"]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let own = format!("linux/{}", image["Architecture"].as_str().unwrap());
    let id = image["Id"].as_str().unwrap();
    for name in ["layered:1", id] {
        skep.ok(["image", "inspect", "--platform", &own, name]);
        skep.ok(["history", "--platform", &own, name]);
        for command in [&["image", "inspect"][..], &["history"]] {
            let error = skep.fails(1, [command, &["--platform", "linux/s390x", name]].concat());
            assert!(error.contains("linux/s390x"), "{error}");
        }
    }
    assert_eq!(image["Config"]["Env"][0], "PATH=/bin");
    assert_eq!(skep.ok(["history", "-q", "layered:1"]).lines().count(), 2);
    assert!(skep.ok(["history", "layered:1"]).starts_with("IMAGE"));
}

#[test]
fn a_hundred_and_twenty_layers() {
    let skep = Skep::new();
    let mut archive = Archive::new("deep:1").layer(&busybox_layer()).config(serde_json::json!({"Env": ["PATH=/bin"]}));
    for number in 1..120 {
        archive = archive.layer(&Layer::new().directory("deep").file(&format!("deep/{number}"), number.to_string()));
    }
    let file = archive.write(skep.file("deep.tar"));
    skep.ok(["load", "-q", "-i", file.to_str().unwrap()]);
    assert_eq!(skep.ok(["run", "--rm", "deep:1", "sh", "-c", "ls /deep | wc -l; cat /deep/119"]), "119\n119");
}

#[test]
fn special_files_attributes_and_capabilities_survive() {
    let skep = Skep::new();
    let long = format!("srv/{}/{}", "long".repeat(30), "name".repeat(40));
    let layer = busybox_layer()
        .directory("srv")
        .pax("path", &long)
        .file("short", "long name")
        .pax("SCHILY.xattr.user.flower", "clover")
        .file("srv/attribute", "x")
        .entry("srv/fifo", tar::EntryType::Fifo, 0o600, None, &[])
        .entry("srv/setuid", tar::EntryType::Regular, 0o4755, None, b"x")
        .device("srv/device", 1, 3);
    let archive = Archive::new("special:1").layer(&layer).config(serde_json::json!({"Env": ["PATH=/bin"]}));
    let file = archive.write(skep.file("special.tar"));
    skep.ok(["load", "-q", "-i", file.to_str().unwrap()]);
    let run = |script: &str| skep.ok(["run", "--rm", "special:1", "sh", "-c", script]);
    assert_eq!(run(&format!("cat /{long}")), "long name");
    assert_eq!(run("stat -c '%F %a' /srv/fifo /srv/setuid"), "fifo 600\nregular file 4755");
    assert_eq!(run("stat -c '%F %t %T' /srv/device"), "character special file 1 3");
}

#[test]
fn the_layers_of_an_image_never_change() {
    let skep = Skep::with_image();
    let before = tree(&skep.root().join("layers"));
    let script =
        "echo x >> /etc/passwd; rm -r /home; chmod 700 /tmp; chown 5:5 /root; ln /bin/busybox /twin; mv /var /rav";
    skep.ok(["run", "--rm", IMAGE, "sh", "-c", script]);
    let id = skep.sleeper(&[]);
    skep.ok(["exec", &id, "sh", "-c", script]);
    assert_eq!(tree(&skep.root().join("layers")), before);
}
