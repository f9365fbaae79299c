//! Commits: the new image has the tree that the container had, and its layers come back from an archive equal.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::path::Path;

use ground::{Ground, UserNamespace, has, image, listing, make_opaque, place, shell};
use store::commit::{Commit, commit};
use store::overlay::{Base, Overlay};
use store::{ConfigChange, Image, ImageId, Reference};

fn commit_all(ground: &Ground, base: &Image, writable: &Path, name: &str) -> ImageId {
    let changes = [ConfigChange::parse(r#"CMD ["run"]"#).unwrap()];
    let config = base.document(&ground.store).unwrap();
    let request = Commit {
        base: Some(base),
        writable,
        config,
        changes: &changes,
        author: "someone",
        message: "a change",
        created_by: "sh -c x",
        reference: Some(Reference::parse(name).unwrap()),
        epoch: None,
    };
    commit(&ground.store, request).unwrap()
}

const BASE: &str = "mkdir -p etc var/log/old opt/a/b bin; echo x > etc/passwd; echo x > var/log/old/m; echo y > opt/a/b/c; \
                    echo tool > bin/tool; chown -R 5:6 opt; ln etc/passwd etc/hard";

#[test]
fn the_image_has_the_tree_that_the_container_had() {
    let Some(ground) = Ground::new() else { return };
    let namespace = UserNamespace::new();
    let base = image(&ground, "base", BASE);
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(base.layers.clone()), &writable).unwrap();
    let mount = overlay.mount(Some(namespace.map())).unwrap();
    namespace.run(
        &mount,
        "rm etc/hard; rm -r var/log; mkdir var/log; echo new > var/log/new; rm -r opt/a; echo file > opt/a; echo y >> etc/passwd; \
         mkdir -p srv/www; echo z > srv/www/index; ln srv/www/index srv/link; ln -s index srv/www/soft; chown -h 33:33 srv/www/index; \
         mkfifo fifo; truncate -s 3M hole; chmod 4755 bin/tool; touch -d @12.25 srv/www; rm -r opt/a; mkdir opt/a",
    );
    drop(mount);
    let id = commit_all(&ground, &base, &writable, "committed:v1");
    let image = ground.store.resolve("committed:v1").unwrap();
    assert_eq!(image.id, id);
    assert_eq!((image.layers.len(), image.config.history().as_ref().unwrap().len()), (2, 2));
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.cmd().as_ref().unwrap(), &["run"]);
    assert_eq!(config.env().as_ref().unwrap(), &["A=1"]);
    assert_eq!(image.config.author().as_deref(), Some("someone"));
    let line = &image.config.history().as_ref().unwrap()[1];
    assert_eq!((line.comment().as_deref(), line.created_by().as_deref()), (Some("a change"), Some("sh -c x")));

    let again = Overlay::new(&ground.store, &Base::Layers(image.layers.clone()), &ground.writable("two")).unwrap();
    let before = overlay.mount_for_reading().unwrap();
    let after = again.mount_for_reading().unwrap();
    assert_eq!(listing(place(&after)), listing(place(&before)));
    assert_eq!(shell(place(&after), "ls var/log; ls -A opt/a; stat -c %a%u bin/tool"), "new\n47550");

    // The same changes make the same layer.
    let twin = commit_all(&ground, &base, &writable, "twin");
    assert_eq!(ground.store.image(&ground.store.resolve("twin").unwrap().manifest).unwrap().layers, image.layers);
    assert_eq!(ground.store.resolve(&twin.to_string()).unwrap().id, twin);
}

#[test]
fn nothing_changed_makes_no_layer() {
    let Some(ground) = Ground::new() else { return };
    let base = image(&ground, "base", BASE);
    commit_all(&ground, &base, &ground.writable("one"), "same");
    let image = ground.store.resolve("same").unwrap();
    assert_eq!(image.layers, base.layers);
    assert_eq!(image.config.history().as_ref().unwrap()[1].empty_layer(), Some(true));
}

#[test]
fn capabilities_set_inside_a_user_namespace_are_plain_in_the_layer() {
    let Some(ground) = Ground::new() else { return };
    let namespace = UserNamespace::new();
    let base = image(&ground, "base", BASE);
    let writable = ground.writable("one");
    let overlay = Overlay::new(&ground.store, &Base::Layers(base.layers.clone()), &writable).unwrap();
    let mount = overlay.mount(Some(namespace.map())).unwrap();
    if !has("setcap") {
        return;
    }
    namespace.run(&mount, "setcap cap_net_bind_service+ep bin/tool");
    drop(mount);
    commit_all(&ground, &base, &writable, "capable");
    let image = ground.store.resolve("capable").unwrap();
    let tool = ground.store.layer_tree(image.layers.last().unwrap()).join("bin/tool");
    let mut value = [0; 32];
    let length = rustix::fs::getxattr(&tool, "security.capability", &mut value).unwrap();
    assert_eq!(&value[..length], &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // What the container itself sees of it, in both images, has its own root.
    let again = Overlay::new(&ground.store, &Base::Layers(image.layers.clone()), &ground.writable("two")).unwrap();
    let mount = again.mount(Some(namespace.map())).unwrap();
    assert_eq!(namespace.run(&mount, "getcap bin/tool"), "bin/tool cap_net_bind_service=ep");
}

#[test]
fn a_container_without_an_image_is_told_what_to_do() {
    let Some(ground) = Ground::new() else { return };
    let request = Commit {
        base: None,
        writable: &ground.writable("one"),
        config: store::ConfigDocument::empty(),
        changes: &[],
        author: "",
        message: "",
        created_by: "",
        reference: None,
        epoch: None,
    };
    let error = commit(&ground.store, request).unwrap_err().to_string();
    assert!(error.contains("`skep export` and `skep import`"), "{error}");
}

#[test]
fn an_opaque_directory_hides_what_the_base_has() {
    let Some(ground) = Ground::new() else { return };
    let base = image(&ground, "base", BASE);
    let writable = ground.writable("one");
    shell(writable.join("upper"), "mkdir -p opt/a; echo only > opt/a/only; mknod etc c 0 0");
    make_opaque(&writable.join("upper/opt/a"));
    commit_all(&ground, &base, &writable, "opaque");
    let layers = ground.store.resolve("opaque").unwrap().layers;
    let overlay = Overlay::new(&ground.store, &Base::Layers(layers), &ground.writable("two")).unwrap();
    assert_eq!(
        shell(place(&overlay.mount_for_reading().unwrap()), "ls -A opt/a; ls -A"),
        "only\nbin\ndev\nopt\nproc\nsys\nvar"
    );
}

#[test]
fn only_large_holes_are_holes_of_a_layer() {
    use std::os::unix::fs::MetadataExt;
    let Some(ground) = Ground::new() else { return };
    let base = image(&ground, "base", BASE);
    let writable = ground.writable("one");
    shell(
        writable.join("upper"),
        "truncate -s 200M large; echo end >> large; truncate -s 2M small; touch -d @9 large small",
    );
    commit_all(&ground, &base, &writable, "holes");
    let image = ground.store.resolve("holes").unwrap();
    // What others cannot write again is left out only where it would fill disks.
    assert!((2 << 20..3 << 20).contains(&image.blobs[1].size), "{}", image.blobs[1].size);
    let large = ground.store.layer_tree(&image.layers[1]).join("large").metadata().unwrap();
    assert_eq!(large.size(), (200 << 20) + 4);
    assert!(large.blocks() * 512 < 1 << 20, "{}", large.blocks());
    let sums = |place: &Path| shell(place, "sha256sum large small");
    assert_eq!(sums(&ground.store.layer_tree(&image.layers[1])), sums(&writable.join("upper")));
}
