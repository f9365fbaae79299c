use super::*;
use crate::endpoint::Scheme::{Http, Https, HttpsOrHttp};
use crate::endpoint::Tls;
use std::fs;

/// A directory for the files of one test.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skep-settings-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn settings(&self) -> Result<Settings> {
        let path = |name| self.0.join(name);
        let places = Places {
            registries: vec![path("absent.conf"), path("registries.conf")],
            hosts: vec![path("own/certs.d"), path("containerd/certs.d")],
            certificates: vec![path("docker/certs.d")],
        };
        Settings::read(places, Proxies::default(), Accounts::default())
    }

    /// `scheme host prefix repository ns` of each endpoint.
    fn lines(&self, name: &str, access: Access) -> Vec<String> {
        let settings = self.settings().unwrap();
        let endpoints = settings.endpoints(&Reference::parse(name).unwrap(), access).unwrap();
        let line = |endpoint: Endpoint| {
            let scheme = match (endpoint.scheme, endpoint.tls.unverified) {
                (Https, false) => "https",
                (Https, true) => "https-unverified",
                (Http, _) => "http",
                (HttpsOrHttp, true) => "insecure",
                (HttpsOrHttp, false) => "either",
            };
            let namespace = endpoint.namespace.map(|it| format!(" ns={it}")).unwrap_or_default();
            format!("{scheme} {}{}/{}{namespace}", endpoint.host, endpoint.prefix, endpoint.repository)
        };
        endpoints.into_iter().map(line).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn without_files_each_host_stands_for_itself() {
    let files = Files::new("none");
    assert_eq!(files.lines("busybox", Access::Pull), ["https registry-1.docker.io/v2/library/busybox"]);
    assert_eq!(files.lines("ghcr.io/a/b:1", Access::Push), ["https ghcr.io/v2/a/b"]);
    assert_eq!(files.lines("localhost:5000/a", Access::Push), ["insecure localhost:5000/v2/a"]);
    assert_eq!(files.lines("127.1.2.3/a", Access::Pull), ["insecure 127.1.2.3/v2/a"]);
}

#[test]
fn registries_conf_and_hosts_toml_work_together() {
    let files = Files::new("both")
        .with(
            "registries.conf",
            "[[registry]]\nprefix='a.net'\nlocation='inside.net/a'\n[[registry.mirror]]\nlocation='docker.io/mirror'\n",
        )
        .with("registries.conf.d/10-x.conf", "[[registry]]\nlocation='b.net'\ninsecure=true\n")
        .with("registries.conf.d/readme", "not toml")
        .with(
            "containerd/certs.d/docker.io/hosts.toml",
            "[host.'http://hub.local:5000']\ncapabilities=['pull','resolve']\n",
        )
        .with("containerd/certs.d/_default/hosts.toml", "[host.'https://all.local']\ncapabilities=['pull']\n");
    assert_eq!(
        files.lines("a.net/x", Access::Pull),
        [
            "http hub.local:5000/v2/mirror/x ns=docker.io",
            "https registry-1.docker.io/v2/mirror/x",
            "https all.local/v2/a/x ns=inside.net",
            "https inside.net/v2/a/x"
        ]
    );
    // A push goes to the name's own host, and to no mirror.
    assert_eq!(files.lines("a.net/x", Access::Push), ["https a.net/v2/x"]);
    assert_eq!(files.lines("busybox", Access::Push), ["https registry-1.docker.io/v2/library/busybox"]);
    assert_eq!(files.lines("b.net/x", Access::Push), ["insecure b.net/v2/x"]);
}

#[test]
fn this_machine_stays_insecure_until_something_is_said_of_it() {
    let files = Files::new("loopback")
        .with("registries.conf", "[[registry]]\nlocation='127.0.0.1:7'\ninsecure=false\n")
        .with("own/certs.d/_default/hosts.toml", "[host.'https://all.local']\ncapabilities=['pull']\n");
    let own = files.lines("localhost:5000/x", Access::Pull).pop();
    assert_eq!(own.as_deref(), Some("insecure localhost:5000/v2/x"));
    assert_eq!(files.lines("127.0.0.1:7/x", Access::Push), ["https 127.0.0.1:7/v2/x"]);
}

#[test]
fn a_host_that_is_listed_is_not_asked_twice() {
    let files = Files::new("listed")
        .with(
            "own/certs.d/a.net_5000_/hosts.toml",
            "server='https://a.net:5000'\n[host.'https://a.net:5000']\nskip_verify=true\n",
        )
        .with("own/certs.d/b.net/hosts.toml", "[host.'http://b.net']\n")
        .with("own/certs.d/c.net/hosts.toml", "[host.'http://c.net']\ncapabilities=['pull']\n");
    assert_eq!(files.lines("a.net:5000/x", Access::Pull), ["https-unverified a.net:5000/v2/x"]);
    assert_eq!(files.lines("b.net/x", Access::Push), ["http b.net/v2/x"]);
    assert_eq!(files.lines("c.net/x", Access::Push), ["https c.net/v2/x"]);
}

#[test]
fn certificates_are_found_in_each_ones_directory() {
    let files = Files::new("certificates")
        .with("docker/certs.d/a.net:5000/ca.crt", "")
        .with("docker/certs.d/a.net:5000/client.cert", "")
        .with("docker/certs.d/a.net:5000/client.key", "")
        .with("docker/certs.d/localhost:5000/ca.crt", "")
        .with("containerd/certs.d/c.net/own.crt", "");
    let endpoint = |name| {
        let endpoints = files.settings().unwrap().endpoints(&Reference::parse(name).unwrap(), Access::Pull);
        endpoints.unwrap().remove(0)
    };
    let a = endpoint("a.net:5000/x");
    assert_eq!((a.scheme, a.tls.unverified, a.tls.authorities.len()), (Https, false, 1));
    assert!(a.tls.identity.unwrap().1.ends_with("docker/certs.d/a.net:5000/client.key"));
    // Who put a certificate there wants it to be checked, on this machine too.
    let own = endpoint("localhost:5000/x");
    assert_eq!((own.scheme, own.tls.unverified), (Https, false));
    assert!(endpoint("c.net/x").tls.authorities[0].ends_with("containerd/certs.d/c.net/own.crt"));
    assert_eq!(endpoint("d.net/x").tls, Tls::default());
}

#[test]
fn blocked_registries_are_refused_with_the_file() {
    let files = Files::new("blocked").with("registries.conf", "[[registry]]\nprefix='*.evil.net'\nblocked=true\n");
    let settings = files.settings().unwrap();
    let error = settings.endpoints(&Reference::parse("a.evil.net/x").unwrap(), Access::Push).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let file = files.0.join("registries.conf");
    assert_eq!(error.to_string(), format!("`a.evil.net/x:latest`: its registry is blocked in `{}`", file.display()));
}

#[test]
fn a_mistake_for_one_host_hurts_only_there() {
    let files = Files::new("mistake").with("own/certs.d/a.net/hosts.toml", "server = 1\n");
    let settings = files.settings().unwrap();
    let error = settings.endpoints(&Reference::parse("a.net/x").unwrap(), Access::Pull).unwrap_err().to_string();
    assert!(error.contains("own/certs.d/a.net/hosts.toml`, line 1: invalid type: integer"), "{error}");
    assert_eq!(files.lines("b.net/x", Access::Pull), ["https b.net/v2/x"]);
}

#[test]
fn files_that_are_too_long_are_not_read() {
    let files = Files::new("long").with("registries.conf", &"#".repeat((1 << 20) + 1));
    let error = files.settings().unwrap_err().to_string();
    assert!(error.ends_with("registries.conf` is longer than 1048576 bytes"), "{error}");
}

#[test]
fn short_names_are_found_by_alias_then_by_search() {
    let alias = "[aliases]\n'fedora'='registry.fedoraproject.org/fedora'\n'team/app'='quay.io/team/app'\n";
    let named = |text: &str, conf: &str| {
        let mut settings = Settings::default();
        settings.rules.add(Path::new("/r.conf"), conf).unwrap();
        settings.named(text).map(|reference| reference.full()).map_err(|error| error.to_string())
    };
    let digest = format!("sha256:{}", "0".repeat(64));
    for (text, conf, full) in [
        ("busybox", "", "docker.io/library/busybox:latest"),
        ("fedora:41", alias, "registry.fedoraproject.org/fedora:41"),
        (&format!("fedora@{digest}"), alias, &format!("registry.fedoraproject.org/fedora@{digest}")),
        ("team/app", alias, "quay.io/team/app:latest"),
        ("docker.io/library/fedora", alias, "docker.io/library/fedora:latest"),
        ("localhost:5000/fedora", alias, "localhost:5000/fedora:latest"),
        ("busybox:1", "unqualified-search-registries=['quay.io']", "quay.io/busybox:1"),
        ("busybox", "unqualified-search-registries=['docker.io']", "docker.io/library/busybox:latest"),
        ("quay.io/a/b", "unqualified-search-registries=[]", "quay.io/a/b:latest"),
    ] {
        assert_eq!(named(text, conf).as_deref(), Ok(full), "{text}");
    }
    assert_eq!(
        named("app:1", "unqualified-search-registries=['docker.io', 'quay.io']").unwrap_err(),
        "`app` can be docker.io/app or quay.io/app: `/r.conf` searches 2 registries; write it in full, or add it to [aliases]"
    );
    assert_eq!(
        named("app", "unqualified-search-registries=[]").unwrap_err(),
        "`app` names no registry, and `/r.conf` turns short names off; write it in full, or add it to [aliases]"
    );
}
