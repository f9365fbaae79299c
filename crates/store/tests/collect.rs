//! `rmi`, `image prune` and the collection of what nothing needs.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs;

use failure::Kind;
use ground::{Ground, image};
use store::collect::{InUse, Removed, User, collect, prune, remove};
use store::commit::{Commit, commit};
use store::{Image, Reference};

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
    InUse { containers: vec![user] }
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
    let mut staging = store::Staging::new(&ground.store).unwrap();
    staging.put(b"half an image").unwrap();
    let before = stock(&ground);
    assert!(collect(&ground.store, unused).unwrap().blobs.is_empty());
    assert_eq!(stock(&ground), before);
    assert!(staging.has_blob(&store::Digest::of(b"half an image")));
}
