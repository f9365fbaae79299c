//! `rmi`, `image prune` and the collection of what nothing needs.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs;
use std::time::Duration;

use failure::Kind;
use ground::{Ground, image};
use store::collect::{InUse, Removed, User, collect, prune, remove};
use store::commit::{Commit, commit};
use store::{Digest, Image, Need, RESUME_FOR, Reference, Staging};

/// `base` with one layer, and `child` (also called `other/child`) with one more.
fn scene() -> Option<(Ground, Image, Image)> {
    let ground = Ground::new()?;
    let base = image(&ground, "base", "echo x > x");
    let writable = ground.writable("one");
    fs::write(writable.join("upper/y"), "y").unwrap();
    let request = Commit {
        base: Some(&base),
        writable: &writable,
        config: base.document(&ground.store).unwrap(),
        changes: &[],
        author: "",
        message: "",
        created_by: "",
        reference: Some(name("child")),
        epoch: None,
    };
    commit(&ground.store, request).unwrap();
    ground.store.tag("child", &name("other/child")).unwrap();
    let child = ground.store.resolve("child").unwrap();
    Some((ground, base, child))
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn used(image: &Image, running: bool) -> InUse {
    let user = User {
        container: "c1".into(),
        running,
        manifest: image.manifest,
        image: image.id,
        layers: image.layers.clone(),
    };
    InUse { containers: vec![user], ..InUse::default() }
}

fn unused() -> failure::Result<InUse> {
    Ok(InUse::default())
}

/// How many blobs and layers there are.
fn stock(ground: &Ground) -> (usize, usize) {
    let count = |directory: &str| fs::read_dir(ground.store.root().join(directory)).unwrap().count();
    (count("blobs/sha256"), count("layers"))
}

#[test]
fn names_go_first_and_the_image_with_the_last() {
    let Some((ground, base, child)) = scene() else { return };
    assert_eq!(stock(&ground), (6, 2));
    assert_eq!(remove(&ground.store, "child", false, unused).unwrap(), [Removed::Untagged(name("child"))]);
    assert_eq!(stock(&ground), (6, 2));
    let gone = remove(&ground.store, "other/child:latest", false, unused).unwrap();
    let expected =
        [Removed::Untagged(name("other/child")), Removed::Deleted(child.id.0), Removed::Deleted(child.layers[1].0)];
    assert_eq!(gone, expected);
    assert_eq!(stock(&ground), (3, 1));
    let gone = remove(&ground.store, &base.id.short(), false, unused).unwrap();
    assert_eq!(
        gone,
        [Removed::Untagged(name("base")), Removed::Deleted(base.id.0), Removed::Deleted(base.layers[0].0)]
    );
    assert_eq!(stock(&ground), (0, 0));
    assert_eq!(fs::read_dir(ground.store.root().join("trash")).unwrap().count(), 0);
    assert_eq!(remove(&ground.store, "base", false, unused).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_a_container_uses_is_kept() {
    let Some((ground, base, child)) = scene() else { return };
    let refused = |text: &str, force: bool, image: &Image, running: bool| {
        let error = remove(&ground.store, text, force, || Ok(used(image, running))).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        error.to_string()
    };
    let id = base.id.short();
    let message = format!(
        "unable to remove repository reference `base:latest` (must force): container `c1` is using its referenced image {id}"
    );
    assert_eq!(refused("base", false, &base, false), message);
    let message = format!("unable to delete `{id}` (must be forced): image is being used by stopped container `c1`");
    assert_eq!(refused(&id, false, &base, false), message);
    let message = format!("unable to delete `{id}` (cannot be forced): image is being used by running container `c1`");
    assert_eq!(refused(&id, true, &base, true), message);
    let message = format!(
        "unable to delete `{}` (must be forced): image is referenced in multiple repositories",
        child.id.short()
    );
    assert_eq!(refused(&child.id.to_string(), false, &base, true), message);

    // By force a name goes, and the image stays for the container without one.
    let gone = remove(&ground.store, "base", true, || Ok(used(&base, true))).unwrap();
    assert_eq!(gone, [Removed::Untagged(name("base"))]);
    assert!(ground.store.resolve(&base.id.to_string()).unwrap().names.is_empty());
    // By force and id everything goes but the layers under the container.
    remove(&ground.store, &child.id.to_string(), true, || Ok(used(&child, false))).unwrap();
    assert!(child.layers.iter().all(|layer| ground.store.has_layer(layer)));
    let collected = collect(&ground.store, unused).unwrap();
    assert_eq!(collected.layers, [child.layers[1]]);
    assert!(collected.bytes > 0);
    assert!(ground.store.image(&base.manifest).is_ok());
}

#[test]
fn pruning_takes_nameless_images_or_all_unused_ones() {
    let Some((ground, base, child)) = scene() else { return };
    remove(&ground.store, "base", true, || Ok(used(&base, false))).unwrap();
    let (gone, collected) = prune(&ground.store, false, |_| false, || Ok(used(&base, false))).unwrap();
    assert!(gone.is_empty() && collected.blobs.is_empty());
    let (gone, _) = prune(&ground.store, false, |_| true, unused).unwrap();
    assert!(gone.is_empty());
    let (gone, _) = prune(&ground.store, false, |_| false, unused).unwrap();
    assert_eq!(gone, [Removed::Deleted(base.id.0)]);
    assert_eq!(stock(&ground), (4, 2));
    let (gone, _) = prune(&ground.store, true, |_| false, unused).unwrap();
    assert_eq!(gone.len(), 3);
    assert!(gone.contains(&Removed::Deleted(child.id.0)));
    assert_eq!(stock(&ground), (0, 0));
}

#[test]
fn what_is_being_made_is_not_collected() {
    let Some((ground, ..)) = scene() else { return };
    let mut staging = Staging::new(&ground.store).unwrap();
    staging.put(b"half an image").unwrap();
    let before = stock(&ground);
    assert!(collect(&ground.store, unused).unwrap().blobs.is_empty());
    assert_eq!(stock(&ground), before);
    assert!(staging.has_blob(&Digest::of(b"half an image")));
}

/// A collection that waits for cut-off commands.
fn patiently() -> failure::Result<InUse> {
    Ok(InUse { resume_for: RESUME_FOR, ..InUse::default() })
}

/// Puts a file where blobs are kept that are half fetched.
fn partial(ground: &Ground, bytes: &[u8]) -> std::path::PathBuf {
    let directory = ground.store.root().join("partial");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(Digest::of(bytes).hex());
    fs::write(&path, bytes).unwrap();
    path
}

/// Ends the owner of a lease as a kill would: nothing is tidied up, but the lock is free.
fn cut_off(mut staging: Staging<'_>) {
    staging.put(b"half an image").unwrap();
    let path = fs::read_dir(staging.store().root().join("leases")).unwrap();
    let directory = path.map(|entry| entry.unwrap().path()).find(|path| path.join("needs").exists()).unwrap();
    let aside = staging.store().root().join("aside");
    fs::rename(&directory, &aside).unwrap();
    drop(staging);
    fs::rename(&aside, &directory).unwrap();
    fs::write(directory.with_extension("lock"), "").unwrap();
}

#[test]
fn what_a_lease_needs_is_kept_while_its_owner_lives_and_a_day_longer() {
    let Some((ground, base, child)) = scene() else { return };
    let needs: Vec<Need> = [Need::Blob(base.blobs[0].digest), Need::Layer(base.layers[0])].into();
    let half = partial(&ground, b"half a blob");
    let staging = Staging::new(&ground.store).unwrap();
    staging.need(&[&needs[..], &[Need::Blob(Digest::of(b"half a blob"))]].concat()).unwrap();
    remove(&ground.store, "child", false, unused).unwrap();
    remove(&ground.store, "other/child", false, unused).unwrap();
    remove(&ground.store, "base", false, unused).unwrap();
    // The manifest and the configuration of the image are gone, its layer is not.
    assert_eq!(stock(&ground), (1, 1));
    assert!(half.exists());

    cut_off(staging);
    collect(&ground.store, patiently).unwrap();
    assert_eq!((stock(&ground), half.exists()), ((1, 1), true));
    ground.store.sweep().unwrap();
    let leases = || fs::read_dir(ground.store.root().join("leases")).unwrap().count();
    assert_eq!(leases(), 2, "what it staged is gone, what it needs is known");
    let collected = collect(&ground.store, unused).unwrap();
    assert_eq!((stock(&ground), half.exists(), leases()), ((0, 0), false, 0));
    assert_eq!((collected.blobs, collected.layers), (vec![base.blobs[0].digest], vec![base.layers[0]]));
    assert_ne!(child.layers[1], base.layers[0]);
}

#[test]
fn a_dead_lease_goes_when_another_needs_the_same() {
    let Some((ground, base, _)) = scene() else { return };
    let leases = || fs::read_dir(ground.store.root().join("leases")).unwrap().count();
    for needs in [vec![Need::Blob(base.manifest)], vec![Need::Blob(base.manifest), Need::Layer(base.layers[0])]] {
        let staging = Staging::new(&ground.store).unwrap();
        staging.need(&needs).unwrap();
        assert_eq!(leases(), 2);
        cut_off(staging);
    }
    let other = Staging::new(&ground.store).unwrap();
    other.need(&[Need::Blob(base.manifest)]).unwrap();
    assert_eq!(leases(), 4, "one that needed more stays");
}

#[test]
fn a_blob_that_is_half_fetched_stays_while_somebody_fetches_it_or_did_lately() {
    let Some(ground) = Ground::new() else { return };
    let path = partial(&ground, b"half");
    let file = fs::File::options().write(true).open(&path).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    collect(&ground.store, unused).unwrap();
    assert!(path.exists(), "it is being fetched");
    drop(file);
    collect(&ground.store, patiently).unwrap();
    assert!(path.exists(), "it is young");
    let before = std::time::SystemTime::now() - RESUME_FOR - Duration::from_secs(60);
    fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    assert_eq!(collect(&ground.store, patiently).unwrap().bytes, 4);
    assert!(!path.exists());
}

#[test]
fn a_lease_that_cannot_be_read_stops_the_collection() {
    let Some((ground, ..)) = scene() else { return };
    let staging = Staging::new(&ground.store).unwrap();
    staging.need(&[]).unwrap();
    let lease = fs::read_dir(ground.store.root().join("leases")).unwrap();
    let directory = lease.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    fs::write(directory.join("needs"), "blob sha256:12\n").unwrap();
    let before = stock(&ground);
    assert_eq!(collect(&ground.store, unused).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(stock(&ground), before);
}

#[test]
fn an_image_that_cannot_be_read_stops_a_collection_and_can_be_removed() {
    let Some((ground, base, child)) = scene() else { return };
    fs::write(ground.store.blob_path(&child.manifest), "{").unwrap();
    let error = collect(&ground.store, unused).unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains("skep system check"), "{error}");
    assert!(prune(&ground.store, true, |_| false, unused).is_err());
    assert!(ground.store.resolve("base").is_ok() && ground.store.has_layer(&base.layers[0]));
    for name in ["child", "other/child"] {
        assert_eq!(remove(&ground.store, name, false, unused).unwrap(), [Removed::Untagged(self::name(name))]);
    }
    assert!(child.layers[1..].iter().all(|layer| !ground.store.has_layer(layer)));
    assert!(!ground.store.has_blob(&child.manifest));
}
