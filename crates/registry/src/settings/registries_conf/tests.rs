use super::*;

const FILE: &str = "/etc/containers/registries.conf";

fn rules(text: &str) -> Rules {
    let mut rules = Rules::default();
    rules.add(Path::new(FILE), text).unwrap();
    rules
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Where the reference is asked for, in order.
fn places(rules: &Rules, text: &str) -> Vec<String> {
    let reference = reference(text);
    let Some(rule) = rules.of(&reference) else { return vec!["as it is".to_owned()] };
    let mirrors = rule.mirrors.iter().filter(|mirror| mirror.use_for.covers(&reference));
    let mirrors = mirrors.map(|mirror| rule.mirrored(mirror, &reference));
    let all = mirrors.chain([rule.physical(&reference)]);
    all.map(|place| format!("{}/{}", place.host, place.path)).collect()
}

#[test]
fn the_example_of_the_manual() {
    let rules = rules(
        r#"
        unqualified-search-registries = ["example.com"]

        [[registry]]
        prefix = "example.com/foo"
        insecure = false
        blocked = false
        location = "internal-registry-for-example.com/bar"

        [[registry.mirror]]
        location = "example-mirror-0.local/mirror-for-foo"

        [[registry.mirror]]
        location = "example-mirror-1.local/mirrors/foo"
        insecure = true

        [[registry]]
        location = "registry.com"

        [[registry.mirror]]
        location = "mirror.registry.com"
        "#,
    );
    assert_eq!(
        places(&rules, "example.com/foo/image:latest"),
        [
            "example-mirror-0.local/mirror-for-foo/image",
            "example-mirror-1.local/mirrors/foo/image",
            "internal-registry-for-example.com/bar/image"
        ]
    );
    assert_eq!(places(&rules, "registry.com/image"), ["mirror.registry.com/image", "registry.com/image"]);
    assert_eq!(places(&rules, "example.com/food/image"), ["as it is"]);
    assert_eq!(places(&rules, "example.com/foo:1"), places(&rules, "example.com/foo"));
    assert_eq!(rules.search, Some((vec!["example.com".to_owned()], FILE.into())));
    let rule = rules.of(&reference("example.com/foo")).unwrap();
    assert_eq!(rule.mirrors[1].insecure, Some(true));
}

#[test]
fn the_longest_prefix_wins_and_ends_where_a_part_ends() {
    let rules = rules(
        r#"
        [[registry]]
        prefix = "*.example.com"
        location = "wild.local/deep"
        [[registry]]
        prefix = "*.a.example.com"
        location = "wilder.local"
        [[registry]]
        prefix = "registry.a.example.com/team"
        location = "team.local"
        [[registry]]
        prefix = "*.untouched.net"
        blocked = true
        [[registry]]
        prefix = "docker.io"
        location = "hub.local:5000/hub"
        [[registry]]
        prefix = "tagged.net/app:1"
        location = "one.local/app"
        "#,
    );
    for (name, place) in [
        ("x.example.com/app:1", "wild.local/deep/app"),
        ("x.y.example.com/app", "wild.local/deep/app"),
        ("registry.a.example.com/app", "wilder.local/app"),
        ("registry.a.example.com/team/app", "team.local/app"),
        ("registry.a.example.com/teams/app", "wilder.local/teams/app"),
        ("example.com/app", "as it is"),
        ("badexample.com/app", "as it is"),
        ("x.example.com:5000/app", "as it is"),
        ("x.untouched.net/app", "x.untouched.net/app"),
        ("busybox", "hub.local:5000/hub/library/busybox"),
        ("docker.io.evil.net/busybox", "as it is"),
        ("tagged.net/app:1", "one.local/app"),
        ("tagged.net/app:12", "as it is"),
        ("tagged.net/app/more", "as it is"),
    ] {
        assert_eq!(places(&rules, name), [place], "{name}");
    }
    assert!(rules.of(&reference("a.untouched.net/x")).unwrap().blocked);
}

#[test]
fn mirrors_for_digests_and_for_tags() {
    let rules = rules(
        r#"
        [[registry]]
        location = "a.net"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.net"
        [[registry]]
        location = "b.net"
        [[registry.mirror]]
        location = "digest.net"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tag.net"
        pull-from-mirror = "tag-only"
        [[registry.mirror]]
        location = "all.net/"
        pull-from-mirror = "all"
        "#,
    );
    let pinned = format!("@sha256:{}", "0".repeat(64));
    assert_eq!(places(&rules, "a.net/x"), ["a.net/x"]);
    assert_eq!(places(&rules, &format!("a.net/x{pinned}")), ["m.net/x", "a.net/x"]);
    assert_eq!(places(&rules, "b.net/x"), ["tag.net/x", "all.net/x", "b.net/x"]);
    assert_eq!(places(&rules, &format!("b.net/x{pinned}")), ["digest.net/x", "all.net/x", "b.net/x"]);
}

#[test]
fn drop_ins_replace_what_they_name() {
    let mut rules = rules(
        r#"
        unqualified-search-registries = ["docker.io", "quay.io"]
        [aliases]
        "fedora" = "registry.fedoraproject.org/fedora"
        "centos" = "quay.io/centos/centos"
        [[registry]]
        location = "a.net"
        insecure = true
        [[registry]]
        location = "b.net"
        "#,
    );
    let drop_in = r#"
        unqualified-search-registries = ["docker.io"]
        [aliases]
        "centos" = ""
        "fedora" = "docker.io/library/fedora"
        [[registry]]
        location = "a.net"
        blocked = true
        "#;
    rules.add(Path::new("/etc/containers/registries.conf.d/50.conf"), drop_in).unwrap();
    let aliases: Vec<_> = rules.aliases.iter().map(|(name, (target, _))| (name.as_str(), target.full())).collect();
    assert_eq!(aliases, [("fedora", "docker.io/library/fedora:latest".to_owned())]);
    assert_eq!(rules.search.as_ref().unwrap().0, ["docker.io"]);
    assert_eq!(rules.registries.len(), 2);
    let a = rules.of(&reference("a.net/x")).unwrap();
    assert_eq!((a.blocked, a.insecure), (true, None));
}

#[test]
fn mistakes_are_named_with_their_line() {
    let mut long = String::new();
    for number in 0..=MOST {
        long.push_str(&format!("[[registry]]\nlocation = 'a{number}.net'\n"));
    }
    for (text, reason) in [
        ("[registries.search]\nregistries = ['docker.io']\n", ", line 1: this is version 1 of the format"),
        ("\n[[registry]]\nblocked = true\n", ", line 2: a registry needs a `prefix` or a `location`"),
        ("[[registry]]\nlocation = 'http://a.net'", ", line 2: `http://a.net` is a URL"),
        ("[[registry]]\nlocation = 'a net'", ", line 2: `a net` is not HOST[:PORT][/PATH]"),
        ("[[registry]]\nlocation = 'a.net/../b'", ", line 2: `a.net/../b` is not HOST"),
        ("[[registry]]\nprefix = '*.'\nlocation='x.net'", ", line 2: prefix `*.` must be"),
        ("[[registry]]\nprefix = 'a.*.net'\nlocation='x.net'", ", line 2: prefix `a.*.net` must be"),
        ("[[registry]]\nlocation='a'\n[[registry]]\nprefix='a'", ", line 3: a second registry with the prefix `a`"),
        ("[[registry]]\nlocation='a'\ninsecure='x'", ", line 3: invalid type: a string, expected a boolean"),
        (
            "[[registry]]\nlocation='a'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='b'\npull-from-mirror='all'",
            ", line 6: `pull-from-mirror` cannot be set",
        ),
        (
            "[[registry]]\nlocation='a'\n[[registry.mirror]]\nlocation='b'\npull-from-mirror='x'",
            ", line 5: unknown variant `x`",
        ),
        ("[aliases]\n'a:1' = 'docker.io/library/a'", ", line 2: alias `a:1` must be a name without"),
        ("[aliases]\n'a' = 'b'", ", line 2: alias `a`: `b` must be a repository in full"),
        ("[aliases]\n'a' = 'docker.io/b:1'", ", line 2: alias `a`: `docker.io/b:1` must be"),
        ("unqualified-search-registries = ['https://x']", ", line 1: `https://x` is a URL"),
        ("\n\nx = ", ", line 3: "),
        (&long, ": more than 10000 registries"),
    ] {
        let error = Rules::default().add(Path::new(FILE), text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{FILE}`{reason}")), "{error}");
    }
}

#[test]
fn unknown_keys_are_left_to_who_knows_them() {
    rules("short-name-mode = 'permissive'\ncredential-helpers = ['containers-auth.json']\n[future]\nx = 1\n");
}
