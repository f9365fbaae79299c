//! What other tools do for a test: put an image into a registry, and show the tree of one.

use super::orchard;
use super::scene::Scene;
use super::tree::Tree;
use crate::archive::Archive;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// A number for files that no two calls share.
fn next() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Digest and size of each layer of a manifest.
pub(crate) fn layers(manifest: &Value) -> Vec<(String, u64)> {
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap())).collect()
}

impl Scene {
    /// The docker-archive of an image with these fruits, as a file.
    pub(crate) fn image(&self, name: &str, fruits: &[u64]) -> String {
        self.archive(&orchard::image(name, fruits))
    }

    /// An archive as a file.
    pub(crate) fn archive(&self, archive: &Archive) -> String {
        let path = self.path(&format!("archive-{}.tar", next()));
        archive.write(path.clone().into());
        path
    }

    /// skopeo pushes an image with these fruits to an open registry.
    pub(crate) fn push(&self, name: &str, fruits: &[u64], to: &str) {
        self.push_with(name, fruits, to, &[]);
    }

    /// skopeo, with more options.
    pub(crate) fn push_with(&self, name: &str, fruits: &[u64], to: &str, options: &[&str]) {
        let (from, to) = (format!("docker-archive:{}", self.image(name, fruits)), format!("docker://{to}"));
        let copy = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false"];
        self.tool(&[&copy[..], options, &[&from, &to]].concat());
    }

    /// The manifest of an image in an open registry.
    pub(crate) fn manifest(&self, image: &str) -> Value {
        let image = format!("docker://{image}");
        let raw = self.tool(&["skopeo", "inspect", "--raw", "--tls-verify=false", &image]);
        serde_json::from_str(&raw).unwrap()
    }

    /// The tree of an image as umoci unpacks it, from a source of skopeo's.
    pub(crate) fn tree_by_umoci(&self, source: &str) -> Tree {
        let number = next();
        let (layout, bundle) = (self.path(&format!("layout-{number}")), self.path(&format!("bundle-{number}")));
        let image = format!("oci:{layout}:image");
        self.tool(&["skopeo", "copy", "--quiet", "--src-tls-verify=false", source, &image]);
        self.tool(&["umoci", "unpack", "--image", &format!("{layout}:image"), &bundle]);
        let tree = Tree::read(&Path::new(&bundle).join("rootfs"));
        self.tool(&["rm", "-rf", &layout, &bundle]);
        tree
    }

    /// The tree of an image that skep has.
    #[track_caller]
    pub(crate) fn skep_tree(&self, store: &str, image: &str) -> Tree {
        let number = next();
        let (archive, directory) = (self.path(&format!("export-{number}.tar")), self.path(&format!("export-{number}")));
        let container = self.ok(store, &["create", image]);
        self.ok(store, &["export", "-o", &archive, &container]);
        self.ok(store, &["rm", &container]);
        std::fs::create_dir(&directory).unwrap();
        let options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p"];
        self.tool(&[&["tar", "-x", "-f", &archive, "-C", &directory], &options[..]].concat());
        let tree = Tree::read(Path::new(&directory));
        self.tool(&["rm", "-rf", &archive, &directory]);
        tree
    }

    /// The tree of an archive, by umoci.
    pub(crate) fn archive_tree(&self, archive: &Archive) -> Tree {
        self.tree_by_umoci(&format!("docker-archive:{}", self.archive(archive)))
    }

    /// The tree of an image in an open registry, by umoci.
    pub(crate) fn registry_tree(&self, image: &str) -> Tree {
        self.tree_by_umoci(&format!("docker://{image}"))
    }
}
