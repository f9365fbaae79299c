//! `system check`: each kind of damage is found and named, what can be repaired is, and a store that is whole is said to be.
//! Runs as root.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ground::{Ground, image, shell};
use store::check::{Finding, Options, Report, check, repair};
use store::collect::{InUse, User};
use store::{Digest, Image, Need, Staging};

const FILL: &str = "mkdir -p etc/x; echo root > etc/passwd; echo other > etc/group; ln etc/passwd etc/link; \
                    ln -s passwd etc/soft; mkfifo pipe; mknod null c 1 3; chmod 4755 etc/group; chown 3:4 etc/x; \
                    head -c 100000 /dev/urandom > large";

fn unused() -> failure::Result<InUse> {
    Ok(InUse::default())
}

fn look(ground: &Ground, quick: bool) -> Report {
    let options = Options { quick, foreign: &["containers"] };
    check(&ground.store, &options, unused, &mut |_, _| {}).unwrap()
}

/// The only finding.
#[track_caller]
fn only(ground: &Ground) -> Finding {
    let report = look(ground, false);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    report.findings[0].clone()
}

#[track_caller]
fn assert_clean(ground: &Ground) {
    let report = look(ground, false);
    assert!(report.findings.is_empty() && report.leftovers.is_empty(), "{report:#?}");
}

/// Repairs all that is wrong; what was done, or why not.
fn mend(ground: &Ground, in_use: &InUse) -> Vec<Result<String, String>> {
    let report = look(ground, false);
    let repaired = repair(&ground.store, &report, &|| Ok(in_use.clone()));
    repaired.into_iter().map(|one| one.outcome.map_err(|error| error.to_string())).collect()
}

fn scene() -> Option<(Ground, Image)> {
    let ground = Ground::new()?;
    let image = image(&ground, "base", FILL);
    assert_clean(&ground);
    Some((ground, image))
}

fn running_on(image: &Image) -> InUse {
    let (manifest, layers) = (image.manifest, image.layers.clone());
    let user = User { container: "c1".into(), running: true, manifest, image: image.id, layers };
    InUse { containers: vec![user], ..InUse::default() }
}

#[test]
fn an_intact_store_is_said_to_be_so() {
    let Some((ground, image)) = scene() else { return };
    let report = look(&ground, false);
    assert_eq!((report.names, report.blobs, report.layers, report.unproven), (1, 3, 1, 0));
    assert!(report.bytes > 2 * image.blobs[0].size, "each blob is hashed, and the layer's compared");
    assert_eq!(look(&ground, true).bytes, 0);
}

#[test]
fn every_change_of_a_layer_is_found_and_repaired() {
    let changes = [
        ("printf X | dd of=large bs=1 seek=70000 conv=notrunc status=none; touch -r etc/passwd large", "bytes"),
        ("truncate -s 99999 large", "length"),
        ("rm etc/passwd", "missing"),
        ("rm -r etc/x", "missing"),
        ("echo new > new", "should not be there"),
        ("mkdir -p very/deep", "should not be there"),
        ("chmod 755 etc/group", "mode 755 and should have 4755"),
        ("chmod 700 etc", "mode 700"),
        ("chown 9 etc/passwd", "belongs to 9:0 and should to 0:0"),
        ("chown 9 etc/x", "belongs to 9:4 and should to 3:4"),
        ("touch etc/passwd", "time of change"),
        ("ln -sf group etc/soft", "symbolic link"),
        ("cp -p etc/link copy && mv copy etc/link", "hard link"),
        ("rm null; mknod null c 1 5", "device"),
        ("rm pipe; echo > pipe", "a pipe"),
        ("rm -r etc/x; echo > etc/x", "should be a directory"),
        ("python3 -c 'import os; os.setxattr(\"large\", \"user.a\", b\"b\")'", "attributes"),
        ("python3 -c 'import os; os.setxattr(\"etc\", \"trusted.overlay.opaque\", b\"y\")'", "hides the layers below"),
    ];
    let Some((ground, image)) = scene() else { return };
    let tree = ground.store.layer_tree(&image.layers[0]);
    for (change, expected) in changes {
        shell(&tree, change);
        let found = only(&ground);
        assert_eq!(found.object, format!("layer {}", image.layers[0]));
        assert!(found.problem.contains(expected), "{change}: {found:?}");
        assert!(found.remedy.contains("--repair"));
        assert!(look(&ground, true).findings.is_empty(), "a quick check reads no tree");
        assert_eq!(mend(&ground, &InUse::default()), [Ok("unpacked again".to_owned())], "{change}");
        assert_clean(&ground);
    }
}

#[test]
fn a_layer_that_is_gone_or_wrongly_weighed_is_unpacked_again() {
    let Some((ground, image)) = scene() else { return };
    let directory = ground.store.layer_directory(&image.layers[0]);
    let before = ground::listing(directory.join("tree"));
    for line in ["rm -r .", "rm -r tree", "echo 5 > size", "rm size", "echo x > size"] {
        let line = line.replace("rm -r .", &format!("rm -r {}", directory.display()));
        shell(&directory, &line);
        let found = only(&ground);
        assert_eq!(found.object, format!("layer {}", image.layers[0]), "{line}: {found:?}");
        mend(&ground, &InUse::default());
        assert_clean(&ground);
        assert_eq!(ground::listing(directory.join("tree")), before);
    }
}

#[test]
fn a_tree_under_a_running_container_is_left_alone() {
    let Some((ground, image)) = scene() else { return };
    let tree = ground.store.layer_tree(&image.layers[0]);
    shell(&tree, "echo new > new");
    let refused = mend(&ground, &running_on(&image));
    assert!(refused[0].as_ref().unwrap_err().contains("`c1` runs on it; stop it"), "{refused:?}");
    assert!(tree.join("new").exists());
}

/// Turns one bit of a file.
fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn every_blob_with_other_bytes_is_found_and_made_room_for() {
    let Some((ground, image)) = scene() else { return };
    let blobs = [image.manifest, image.id.0, image.blobs[0].digest];
    for (blob, at) in blobs.into_iter().zip([20, 20, 60_000]) {
        let path = ground.store.blob_path(&blob);
        let bytes = fs::read(&path).unwrap();
        let damages: [&dyn Fn(); 3] = [
            &|| flip(&path, at),
            &|| fs::File::options().write(true).open(&path).unwrap().set_len(bytes.len() as u64 / 2).unwrap(),
            &|| fs::write(&path, "").unwrap(),
        ];
        for damage in damages {
            damage();
            let found = only(&ground);
            assert_eq!(found.object, format!("blob {blob}"), "{found:?}");
            assert!(
                found.problem.contains("name base:latest needs it")
                    || found.problem.contains("needed by name base:latest"),
                "{found:?}"
            );
            assert!(found.remedy.contains("pull"), "{found:?}");
            assert_eq!(mend(&ground, &InUse::default())[0], Ok("deleted; pull the image again".to_owned()));
            assert!(only(&ground).problem.contains("is missing"));
            fs::write(&path, &bytes).unwrap();
            assert_clean(&ground);
        }
    }
}

#[test]
fn a_missing_blob_is_found_by_a_quick_check_too() {
    let Some((ground, image)) = scene() else { return };
    for blob in [image.blobs[0].digest, image.id.0, image.manifest] {
        let path = ground.store.blob_path(&blob);
        let aside = ground.path.join("aside");
        fs::rename(&path, &aside).unwrap();
        let report = look(&ground, true);
        let found = &report.findings[0];
        assert_eq!((report.findings.len(), &found.object), (1, &format!("blob {blob}")), "{report:#?}");
        fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn strangers_are_named_and_left_where_they_are() {
    let Some((ground, image)) = scene() else { return };
    let root = ground.store.root().to_owned();
    let layer = ground.store.layer_directory(&image.layers[0]);
    let places: Vec<PathBuf> =
        ["notes", "blobs/note", "blobs/sha256/note", "layers/note", "leases/note", "partial/note"]
            .iter()
            .map(|name| root.join(name))
            .chain([layer.join("note")])
            .collect();
    fs::create_dir_all(root.join("partial")).unwrap();
    for place in places {
        fs::write(&place, "mine").unwrap();
        let found = only(&ground);
        assert_eq!(found.object, format!("file {}", place.display()));
        assert_eq!(mend(&ground, &InUse::default()), []);
        assert!(place.exists());
        fs::remove_file(&place).unwrap();
    }
    symlink("/etc/passwd", root.join("blobs/sha256").join(Digest::of(b"x").hex())).unwrap();
    assert!(only(&ground).object.starts_with("file "), "a link is no blob");
}

#[test]
fn an_index_that_is_lost_is_made_anew_without_names() {
    let Some((ground, image)) = scene() else { return };
    for damage in ["", "{", "{\"schemaVersion\":2}"] {
        fs::write(ground.store.root().join("index.json"), damage).unwrap();
        let report = look(&ground, false);
        assert_eq!(report.findings[0].object, "file index.json", "{report:#?}");
        let outcome = mend(&ground, &InUse::default());
        assert_eq!(outcome[0], Ok("1 images without names are in it".to_owned()), "{outcome:?}");
        assert_clean(&ground);
        assert!(ground.store.image(&image.manifest).unwrap().names.is_empty());
    }
    ground.store.images().unwrap();
    let catalog = ground.store.root().join("catalog.json");
    let text = fs::read_to_string(&catalog).unwrap();
    assert_clean(&ground);
    fs::write(&catalog, text.replace("\"size\":", "\"size\":1")).unwrap();
    assert_eq!(only(&ground).object, "file catalog.json");
    mend(&ground, &InUse::default());
    assert_clean(&ground);
    fs::write(ground.store.root().join("oci-layout"), "?").unwrap();
    assert_eq!(only(&ground).object, "file oci-layout");
    mend(&ground, &InUse::default());
    assert_clean(&ground);
}

#[test]
fn leftovers_are_no_findings_and_go_with_a_repair() {
    let Some((ground, _)) = scene() else { return };
    let root = ground.store.root().to_owned();
    for directory in ["partial", "trash"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let before = shell(&root, "find . -printf '%P %s\n' | sort");
    let orphan = Digest::of(b"orphan");
    fs::write(ground.store.blob_path(&orphan), "orphan").unwrap();
    for directory in ["partial", "trash/0123/deep", "leases/0123456789abcdef"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("partial").join(orphan.hex()), "orp").unwrap();
    fs::write(root.join("leases/0123456789abcdef.lock"), "").unwrap();
    fs::write(root.join("leases/0123456789abcdef/b0"), "half").unwrap();
    fs::write(root.join(".index.json.new"), "{").unwrap();
    fs::write(root.join("collected.new"), "sha256:").unwrap();
    let layer = ground.layer(7, |tree| fs::write(tree.join("f"), "f").unwrap());
    let report = look(&ground, false);
    assert!(report.findings.is_empty(), "{report:#?}");
    let mut objects: Vec<&str> = report.leftovers.iter().map(|leftover| leftover.object.as_str()).collect();
    objects.sort_unstable();
    let (orphan, layer) = (orphan.hex(), layer.to_string());
    let expected = [
        ".index.json.new",
        &format!("blob sha256:{orphan}"),
        "collected.new",
        &format!("layer {layer}"),
        "leases/0123456789abcdef",
        &format!("partial/{orphan}"),
        "trash/0123",
    ];
    assert_eq!(objects, expected);
    assert_eq!(mend(&ground, &InUse::default()), [Ok("collected".to_owned())]);
    assert_clean(&ground);
    assert_eq!(shell(&root, "find . -printf '%P %s\n' | sort"), before, "to the byte");
}

#[test]
fn leases_without_a_lock_or_with_unknown_words_are_found() {
    let Some((ground, _)) = scene() else { return };
    let leases = ground.store.root().join("leases");
    fs::create_dir(leases.join("0123456789abcdef")).unwrap();
    assert!(only(&ground).problem.contains("no lock"));
    assert_eq!(mend(&ground, &InUse::default()), [Ok("deleted".to_owned())]);
    fs::create_dir(leases.join("0123456789abcdef")).unwrap();
    fs::write(leases.join("0123456789abcdef.lock"), "").unwrap();
    fs::write(leases.join("0123456789abcdef/needs"), "everything\n").unwrap();
    assert_eq!(only(&ground).object, "lease 0123456789abcdef");
    assert_eq!(mend(&ground, &InUse::default())[0], Ok("deleted".to_owned()));
    assert_clean(&ground);
}

#[test]
fn what_a_living_command_owns_is_neither() {
    let Some((ground, _)) = scene() else { return };
    let mut staging = Staging::new(&ground.store).unwrap();
    staging.put(b"half an image").unwrap();
    let blob = Digest::of(b"fetched");
    staging.need(&[Need::Blob(blob), Need::Blob(Digest::of(b"to come"))]).unwrap();
    fs::write(ground.store.blob_path(&blob), "fetched").unwrap();
    fs::set_permissions(ground.store.blob_path(&blob), fs::Permissions::from_mode(0o600)).unwrap();
    assert_clean(&ground);
    drop(staging);
    assert_eq!(look(&ground, false).leftovers.len(), 1);
}
