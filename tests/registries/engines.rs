//! Other engines: each reads what skep pushed, and skep reads what each pushed; the trees are the same.
//!
//! ```text
//! docker-archive ─ skep load ─ skep push ─> registry ─> skopeo + umoci, podman, dockerd, containerd
//!                └ podman, docker, ctr, skopeo push ──> registry ─> skep pull       gzip, zstd, lists, indexes
//! ```
//! Every tool's daemon and storage are in the scene, and its mounts are looked at through the scene's root.

use crate::harness::orchard;
use crate::harness::registry::Registry;
use crate::harness::scene::Scene;
use crate::harness::tree::Tree;
use crate::place::{Output, retry};
use serde_json::Value;

/// A registry with what skep pushed, and what that is.
struct Fair {
    scene: Scene,
    registry: Registry,
    tree: Tree,
}

impl Fair {
    fn new(test: &str, programs: &[&str]) -> Option<Self> {
        let scene = Scene::new(test, programs)?;
        let registry = Registry::open(&scene, "registry");
        let tree = scene.archive_tree(&orchard::image("orchard:1", &[1]));
        let fair = Self { scene, registry, tree };
        fair.scene.allow_plain(&[&fair.registry.host()]);
        Some(fair)
    }

    fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.registry.host())
    }

    /// skep pushes the image; its name.
    fn push(&self) -> String {
        let (scene, image) = (&self.scene, self.name("by-skep:1"));
        scene.ok("one", &["load", "-q", "-i", &scene.image("orchard:1", &[1])]);
        scene.ok("one", &["tag", "orchard:1", &image]);
        scene.ok("one", &["push", "-q", &image]);
        image
    }

    /// skep pulls what a tool pushed.
    #[track_caller]
    fn pull(&self, image: &str) {
        let store = image.replace(['/', ':', '.'], "-");
        self.scene.ok(&store, &["pull", "-q", image]);
        self.tree.assert_same(&self.scene.skep_tree(&store, image), image);
        self.scene.ok(&store, &["system", "check"]);
    }

    /// A directory of the scene's, seen through its mounts.
    fn seen(&self, directory: &str) -> Tree {
        Tree::read(&self.scene.place.outside(directory))
    }
}

#[test]
fn skopeo_and_umoci() {
    let Some(fair) = Fair::new("skopeo", &[]) else { return };
    let (scene, pushed) = (&fair.scene, fair.push());
    fair.tree.assert_same(&scene.registry_tree(&pushed), "skep -> umoci");
    for (name, options) in [
        ("gzip", &["--format", "oci"][..]),
        ("zstd", &["--format", "oci", "--dest-compress-format", "zstd"]),
        ("docker", &["--format", "v2s2"]),
    ] {
        let image = fair.name(&format!("{name}:1"));
        scene.forget_blobs();
        scene.push_with("orchard:1", &[1], &image, options);
        let manifest = scene.manifest(&image);
        let media_type = manifest["layers"][0]["mediaType"].as_str().unwrap();
        let expected = match name {
            "docker" => "rootfs.diff.tar.gzip",
            name => &format!("layer.v1.tar+{name}"),
        };
        assert!(media_type.ends_with(expected), "{name}: {media_type}");
        fair.pull(&image);
    }
}

#[test]
fn podman() {
    let Some(fair) = Fair::new("podman", &["podman"]) else { return };
    let (scene, pushed) = (&fair.scene, fair.push());
    let directories = ["--root", &scene.path("root"), "--runroot", &scene.path("run"), "--tmpdir", &scene.path("tmp")];
    let first = [&["podman"], &directories[..], &["--cgroup-manager=cgroupfs", "--storage-driver=overlay"]].concat();
    let podman = |words: &[&str]| scene.tool(&[&first[..], words].concat());
    podman(&["pull", "-q", "--tls-verify=false", &pushed]);
    let mounted = podman(&["image", "mount", &pushed]);
    fair.tree.assert_same(&fair.seen(mounted.lines().last().unwrap()), "skep -> podman");
    podman(&["image", "unmount", &pushed]);
    let zstd = fair.name("by-skep:zstd");
    scene.ok("one", &["tag", "orchard:1", &zstd]);
    scene.ok("one", &["push", "-q", "--compression", "zstd", &zstd]);
    let kind = scene.manifest(&zstd)["layers"][0]["mediaType"].as_str().unwrap().to_owned();
    assert!(kind.ends_with("tar+zstd"), "{kind}");
    podman(&["pull", "-q", "--tls-verify=false", &zstd]);
    let mounted = podman(&["image", "mount", &zstd]);
    fair.tree.assert_same(&fair.seen(mounted.lines().last().unwrap()), "skep -> zstd -> podman");
    podman(&["image", "unmount", &zstd]);
    podman(&["load", "-q", "-i", &scene.image("orchard:1", &[1])]);
    for (name, options) in [
        ("docker", &["--format", "v2s2"][..]),
        ("oci", &["--format", "oci"]),
        ("zstd", &["--format", "oci", "--compression-format", "zstd"]),
    ] {
        let image = fair.name(&format!("{name}:1"));
        scene.forget_blobs();
        podman(&[&["push", "-q", "--tls-verify=false"], options, &["orchard:1", &image]].concat());
        fair.pull(&image);
    }
    // Several platforms, of which skep takes this machine's.
    podman(&["manifest", "create", "trees"]);
    let other = scene.image("other:1", &[2]);
    let foreign = scene.archive_tree(&orchard::image("other:1", &[2]));
    let platforms = [(format!("docker-archive:{other}"), "s390x"), (format!("docker://{pushed}"), oci_architecture())];
    for (image, architecture) in &platforms {
        podman(&["manifest", "add", "--tls-verify=false", "--arch", architecture, "trees", image]);
    }
    for (format, media_type) in [("v2s2", "manifest.list.v2"), ("oci", "image.index.v1")] {
        let image = fair.name(&format!("list-{format}:1"));
        let to = format!("docker://{image}");
        scene.forget_blobs();
        podman(&["manifest", "push", "-q", "--all", "--format", format, "--tls-verify=false", "trees", &to]);
        assert!(scene.manifest(&image)["mediaType"].as_str().unwrap().contains(media_type));
        fair.pull(&image);
        // Another platform is there for who asks, and both for who wants to pass them on.
        let store = format!("other-{format}");
        scene.ok(&store, &["pull", "-q", "--platform", "linux/s390x", &image]);
        foreign.assert_same(&scene.skep_tree(&store, &image), "another platform");
        let (store, copy) = (format!("all-{format}"), fair.name(&format!("copy-{format}:1")));
        scene.ok(&store, &["pull", "-q", "--all-platforms", &image]);
        scene.ok(&store, &["tag", &image, &copy]);
        scene.ok(&store, &["push", "-q", "--all-platforms", &copy]);
        assert_eq!(scene.manifest(&copy), scene.manifest(&image), "an index is passed on as it is");
    }
}

#[test]
fn docker() {
    let programs = ["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "runc"];
    let Some(fair) = Fair::new("docker", &programs) else { return };
    let (scene, pushed) = (&fair.scene, fair.push());
    scene.write("/etc/docker/daemon.json", "{}");
    let socket = format!("unix://{}", scene.path("docker.socket"));
    let (data, exec, pid) = (scene.path("data"), scene.path("exec"), scene.path("docker.pid"));
    let directories = ["--data-root", &data, "--exec-root", &exec, "--pidfile", &pid, "-H", &socket];
    let network = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"];
    let rest = ["--storage-driver", "overlay2", "--userland-proxy=false"];
    scene.start(&[&["dockerd"], &directories[..], &network, &rest].concat(), &scene.path("dockerd"));
    let run = |words: &[&str]| -> Output { scene.place.run(&[&["docker", "-H", &socket], words].concat()) };
    retry(|| run(&["version"]).result());
    let docker = |words: &[&str]| run(words).ok();
    docker(&["pull", "-q", &pushed]);
    let layers = docker(&["image", "inspect", "--format", "{{json .GraphDriver.Data}}", &pushed]);
    let layers: Value = serde_json::from_str(&layers).unwrap();
    let directory = |name: &str| layers[name].as_str().unwrap().to_owned();
    let options = format!("lowerdir={}:{}", directory("UpperDir"), directory("LowerDir"));
    let merged = scene.path("merged");
    std::fs::create_dir(&merged).unwrap();
    scene.tool(&["mount", "-t", "overlay", "-o", &options, "overlay", &merged]);
    fair.tree.assert_same(&fair.seen(&merged), "skep -> docker");
    scene.tool(&["umount", &merged]);
    docker(&["load", "-q", "-i", &scene.image("orchard:1", &[1])]);
    let image = fair.name("by-docker:1");
    docker(&["tag", "orchard:1", &image]);
    docker(&["push", "-q", &image]);
    fair.pull(&image);
    let list = fair.name("list:1");
    docker(&["manifest", "create", "--insecure", &list, &image]);
    docker(&["manifest", "push", "--insecure", &list]);
    fair.pull(&list);
}

#[test]
fn containerd() {
    let Some(fair) = Fair::new("containerd", &["containerd", "ctr"]) else { return };
    let (scene, pushed) = (&fair.scene, fair.push());
    let configuration = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
    let (file, root, state, address) =
        (scene.path("containerd.toml"), scene.path("root"), scene.path("state"), scene.path("socket"));
    std::fs::write(&file, configuration).unwrap();
    let words = ["containerd", "-c", &file, "--root", &root, "--state", &state, "--address", &address];
    scene.start(&words, &scene.path("containerd"));
    let run = |words: &[&str]| -> Output { scene.place.run(&[&["ctr", "--address", &address], words].concat()) };
    retry(|| run(&["version"]).result());
    let ctr = |words: &[&str]| run(words).ok();
    ctr(&["images", "pull", "--plain-http", &pushed]);
    let mounted = scene.path("mounted");
    std::fs::create_dir(&mounted).unwrap();
    ctr(&["images", "mount", &pushed, &mounted]);
    fair.tree.assert_same(&fair.seen(&mounted), "skep -> containerd");
    ctr(&["images", "unmount", &mounted]);
    let (archive, image) = (scene.image("orchard:1", &[1]), fair.name("by-ctr:1"));
    ctr(&["images", "import", &archive]);
    ctr(&["images", "tag", "docker.io/library/orchard:1", &image]);
    ctr(&["images", "push", "--plain-http", &image]);
    fair.pull(&image);
}

/// This machine's architecture, as images call it.
fn oci_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}
