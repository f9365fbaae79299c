//! Trees as archives, read back by GNU tar.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use ground::{BASE_ID, Ground, UserNamespace, listing, place, shell};
use store::export::export;
use store::overlay::{Base, Overlay};

fn fill(tree: &Path) {
    let long = "n".repeat(120);
    shell(
        tree,
        &format!(
            "mkdir -p d/e empty; printf hello > d/file; ln d/file d/e/hard; ln -s ../file d/e/soft; ln -s {long} longlink; \
             touch {long}; mkdir -p {long}-d/{long}; echo x > {long}-d/{long}/f; ln {long}-d/{long}/f {long}-d/{long}/g; \
             mkfifo fifo; mknod null c 1 3; mknod loop b 7 0; chmod 4755 d/file; chmod 1777 empty; chown -h 33:44 d/e/soft; \
             chown 65534:3000000 fifo; truncate -s 10M holes; printf start | dd of=holes conv=notrunc status=none; \
             printf middle | dd of=holes bs=1M seek=5 conv=notrunc status=none; truncate -s 3M hole; truncate -s 3M tail; \
             printf end >> tail; touch -d 1960-02-03T04:05:06.7 old; touch -d @5.25 young; \
             touch \"$(printf 'new\\nline \\377')\""
        ),
    );
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(tree.join("d/file"), "user.note", b"a\0b=\n", flags).unwrap();
    rustix::fs::setxattr(tree.join("d"), "user.dir", b"x", flags).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(tree.join("old"), "security.capability", &capability, flags).unwrap();
}

#[test]
fn gnu_tar_reads_back_an_equal_tree() {
    let Some(ground) = Ground::new() else { return };
    let (tree, back) = (ground.path.join("tree"), ground.path.join("back"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&back).unwrap();
    fill(&tree);
    let mut archives = [Vec::new(), Vec::new()];
    for archive in &mut archives {
        export(File::open(&tree).unwrap().as_fd(), 0, archive).unwrap();
    }
    assert!(archives[0] == archives[1]);
    assert!(archives[0].len() < 400_000, "{}", archives[0].len());
    fs::write(ground.path.join("tar"), &archives[0]).unwrap();
    shell(&back, "tar --numeric-owner --xattrs --xattrs-include='*' -xpf ../tar");
    assert_eq!(listing(&back), listing(&tree));
    assert!(shell(&back, "stat -c %b holes").parse::<u32>().unwrap() < 200);
    let mut value = [0; 32];
    assert_eq!(rustix::fs::getxattr(back.join("d/file"), "user.note", &mut value).unwrap(), 5);
    assert_eq!(&value[..5], b"a\0b=\n");
    assert_eq!(rustix::fs::getxattr(back.join("d"), "user.dir", &mut value).unwrap(), 1);
    assert_eq!(rustix::fs::getxattr(back.join("old"), "security.capability", &mut value).unwrap(), 20);
}

#[test]
fn a_mapped_container_is_exported_with_its_own_ids() {
    let Some(ground) = Ground::new() else { return };
    let namespace = UserNamespace::new();
    let layer = ground.layer(1, |tree| {
        shell(tree, "mkdir etc; echo x > etc/file; chown 33:34 etc/file; cp /bin/true tool");
    });
    let overlay = Overlay::new(&ground.store, &Base::Layers(vec![layer]), &ground.writable("one")).unwrap();
    let mount = overlay.mount(Some(namespace.map())).unwrap();
    namespace.run(&mount, "echo y > new; chown 7:8 new; mkdir -p d; rm etc/file; mkdir etc/file");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::write(ground.path.join("capability"), capability).unwrap();
    namespace.run(&mount, "command -v setcap >/dev/null && setcap cap_net_raw+ep tool || true");
    let mut archive = Vec::new();
    export(mount.as_fd(), BASE_ID, &mut archive).unwrap();
    fs::write(ground.path.join("tar"), &archive).unwrap();
    let names = shell(&ground.path, "tar --numeric-owner -tvf tar | awk '{print $1, $2, $NF}'");
    assert_eq!(
        names,
        "drwxr-xr-x 0/0 d/\ndrwxr-xr-x 0/0 dev/\ndrwxr-xr-x 0/0 etc/\ndrwxr-xr-x 0/0 etc/file/\n\
         -rw-r--r-- 0/0 etc/hostname\n-rw-r--r-- 0/0 etc/hosts\n-rw-r--r-- 0/0 etc/resolv.conf\n-rw-r--r-- 7/8 new\n\
         drwxr-xr-x 0/0 proc/\ndrwxr-xr-x 0/0 sys/\n-rwxr-xr-x 0/0 tool"
    );
    let whole = overlay.mount_for_reading().unwrap();
    assert_eq!(shell(place(&whole), "stat -c %u:%g new"), "7:8");
}
