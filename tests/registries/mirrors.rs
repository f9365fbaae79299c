//! Mirrors for any registry, from either of the two files that have them; and what happens when one fails.

use crate::harness::cutter::{Cut, Cutter, blob_bytes};
use crate::harness::http::dead_host;
use crate::harness::liar::{Liar, Lie};
use crate::harness::registry::Registry;
use crate::harness::scene::Scene;
use crate::harness::tools::layers;

/// A mirror that refuses, one that breaks down, one that lacks the image, and one that has it.
struct Mirrors {
    scene: Scene,
    broken: Liar,
    empty: Registry,
    good: Registry,
    hosts: Vec<String>,
}

impl Mirrors {
    fn new(test: &str, repositories: &[&str]) -> Option<Self> {
        let scene = Scene::new(test, &[])?;
        let broken = Liar::start(Lie::Status("503 Service Unavailable", &[]));
        let (empty, good) = (Registry::open(&scene, "empty"), Registry::open(&scene, "good"));
        for repository in repositories {
            scene.push("orchard:1", &[1], &format!("{}/{repository}:1", good.host()));
        }
        let hosts = vec![dead_host(), broken.host(), empty.host(), good.host()];
        Some(Self { scene, broken, empty, good, hosts })
    }

    fn assert_used(&self) {
        assert!(!self.broken.requests().is_empty());
        assert!(!self.empty.accesses().is_empty());
        assert!(!self.good.fetches().is_empty());
    }

    /// containerd's file for a registry, with all mirrors.
    fn hosts_toml(&self, server: &str) -> String {
        let table = |host: &String| format!("[host.\"http://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        let tables: String = self.hosts.iter().map(table).collect();
        format!("server = \"{server}\"\n{tables}")
    }

    /// The same as a table of registries.conf.
    fn registries_conf(&self, prefix: &str) -> String {
        let table = |host: &String| format!("[[registry.mirror]]\nlocation = \"{host}\"\ninsecure = true\n");
        let mirrors: String = self.hosts.iter().map(table).collect();
        format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{prefix}\"\n{mirrors}")
    }
}

#[test]
fn mirrors_of_hosts_toml() {
    let Some(mirrors) = Mirrors::new("hosts", &["library/orchard", "team/app"]) else { return };
    let scene = &mirrors.scene;
    let write = |host: &str, server: &str| {
        scene.write(&format!("/etc/containerd/certs.d/{host}/hosts.toml"), &mirrors.hosts_toml(server));
    };
    write("docker.io", "https://registry-1.docker.io");
    write("ghcr.io", "https://ghcr.io");
    scene.ok("one", &["pull", "-q", "orchard:1"]);
    mirrors.assert_used();
    scene.ok("one", &["pull", "-q", "ghcr.io/team/app:1"]);
    let listed = scene.ok("one", &["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(listed.contains("orchard:1") && listed.contains("ghcr.io/team/app:1"), "{listed}");
    // For whoever has no directory of its own.
    write("_default", "http://127.0.0.1:1");
    scene.ok("one", &["pull", "-q", "registry.example.com/team/app:1"]);
    // A mirror of containerd's may be below a path, and then says it all itself.
    let toml = format!("server = \"http://{}\"\n[host.\"http://{}/v2/team\"]\n", dead_host(), mirrors.good.host());
    let toml = format!("{toml}capabilities = [\"pull\", \"resolve\"]\noverride_path = true\n");
    scene.write("/etc/containerd/certs.d/quay.io/hosts.toml", &toml);
    scene.ok("one", &["pull", "-q", "quay.io/app:1"]);
}

#[test]
fn mirrors_of_registries_conf() {
    let Some(mirrors) = Mirrors::new("conf", &["library/orchard", "team/app", "mirrored/team/app"]) else { return };
    let scene = &mirrors.scene;
    let good = mirrors.good.host();
    let prefixed = format!(
        "[[registry]]\nprefix = \"quay.io/their\"\nlocation = \"{good}/mirrored/team\"\ninsecure = true\n\
         [[registry]]\nlocation = \"bad.example.com\"\nblocked = true\n\
         [aliases]\n\"apple\" = \"ghcr.io/team/app\"\n"
    );
    let tables = [mirrors.registries_conf("docker.io"), mirrors.registries_conf("ghcr.io"), prefixed];
    scene.write("/etc/containers/registries.conf", &tables.concat());
    scene.ok("one", &["pull", "-q", "orchard:1"]);
    mirrors.assert_used();
    scene.ok("one", &["pull", "-q", "ghcr.io/team/app:1"]);
    scene.ok("one", &["pull", "-q", "quay.io/their/app:1"]);
    scene.ok("one", &["pull", "-q", "apple:1"]);
    scene.fails("one", &["pull", "-q", "bad.example.com/app:1"], &["bad.example.com", "blocked"]);
    let listed = scene.ok("one", &["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    for name in ["orchard:1", "ghcr.io/team/app:1", "quay.io/their/app:1"] {
        assert!(listed.contains(name), "{name} is not in {listed}");
    }
}

#[test]
fn a_mirror_that_fails_in_the_middle_of_a_layer() {
    let Some(mirrors) = Mirrors::new("middle", &["library/orchard"]) else { return };
    let scene = &mirrors.scene;
    let layers = layers(&scene.manifest(&format!("{}/library/orchard:1", mirrors.good.host())));
    let total: u64 = layers.iter().map(|(_, size)| size).sum();
    let digests: Vec<String> = layers.into_iter().map(|(digest, _)| digest).collect();
    let first = Cutter::start(mirrors.good.address, &digests);
    let second = Cutter::start(mirrors.good.address, &digests);
    let table = |host: String| format!("[[registry.mirror]]\nlocation = \"{host}\"\ninsecure = true\n");
    let conf = format!("[[registry]]\nlocation = \"docker.io\"\n{}{}", table(first.host()), table(second.host()));
    scene.write("/etc/containers/registries.conf", &conf);
    first.cut(total / 2, Cut::Outage);
    scene.ok("one", &["pull", "-q", "orchard:1"]);
    let (here, there) = (blob_bytes(&first.take_log()), blob_bytes(&second.take_log()));
    assert_eq!((here, here + there), (total / 2, total), "the second goes on where the first ended");
}

#[test]
fn all_mirrors_fail() {
    let Some(scene) = Scene::new("nothing", &[]) else { return };
    let (first, second) = (dead_host(), dead_host());
    let table = |host: &str| format!("[[registry.mirror]]\nlocation = \"{host}\"\ninsecure = true\n");
    let tables = format!("{}{}", table(&first), table(&second));
    let conf = format!("[[registry]]\nprefix = \"hive.example.com\"\nlocation = \"{}\"\n{tables}", dead_host());
    scene.write("/etc/containers/registries.conf", &conf);
    scene.fails("one", &["pull", "-q", "hive.example.com/app:1"], &["hive.example.com"]);
}
