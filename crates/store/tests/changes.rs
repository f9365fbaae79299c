//! What `skep diff` says of what a container did.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod ground;

use ground::{Ground, UserNamespace};
use store::changes::changes;
use store::overlay::{Base, Overlay};

fn diff(line: &str) -> Option<String> {
    let ground = Ground::new()?;
    let namespace = UserNamespace::new();
    let bottom = ground.layer(1, |tree| {
        ground::shell(
            tree,
            "mkdir -p etc var/log/old usr/bin tree/a/b; echo x > etc/passwd; echo x > etc/hosts; echo x > var/log/messages; \
             echo x > usr/bin/tool; echo x > tree/a/b/c; echo x > gone; ln -s etc link",
        );
    });
    let top = ground.layer(2, |tree| {
        ground::shell(tree, "mknod gone c 0 0; mkdir opt");
    });
    let base = Base::Layers(vec![bottom, top]);
    let writable = ground.writable("one");
    let mount = Overlay::new(&ground.store, &base, &writable).unwrap().mount(Some(namespace.map())).unwrap();
    namespace.run(&mount, line);
    let lines = changes(&ground.store, &base, &writable).unwrap();
    Some(lines.iter().map(|change| format!("{} {}", change.kind, change.path.display())).collect::<Vec<_>>().join("\n"))
}

#[test]
fn changes_are_added_changed_and_deleted() {
    let cases = [
        ("true", ""),
        ("echo y >> etc/passwd", "C /etc\nC /etc/passwd"),
        ("echo y > etc/new", "C /etc\nA /etc/new"),
        ("rm etc/hosts", "C /etc\nD /etc/hosts"),
        ("rm -r tree/a; mkdir -p tree/a/x", "C /tree\nC /tree/a\nD /tree/a/b\nA /tree/a/x"),
        ("rm -r var", "D /var"),
        ("rm -r var; echo x > var", "C /var"),
        ("rm etc/hosts; mkdir etc/hosts; touch etc/hosts/x", "C /etc\nC /etc/hosts\nA /etc/hosts/x"),
        ("echo x > gone", "A /gone"),
        ("echo x > a; rm a", ""),
        ("mkdir -p srv/www; touch srv/www/index", "A /srv\nA /srv/www\nA /srv/www/index"),
        ("chmod 700 opt", "C /opt"),
        ("ln -sfn usr link", "C /link"),
        ("mv usr/bin/tool etc/tool", "C /etc\nA /etc/tool\nC /usr\nC /usr/bin\nD /usr/bin/tool"),
        ("echo y >> tree/a/b/c", "C /tree\nC /tree/a\nC /tree/a/b\nC /tree/a/b/c"),
    ];
    for (line, expected) in cases {
        let Some(seen) = diff(line) else { return };
        assert_eq!(seen, expected, "{line}");
    }
}
