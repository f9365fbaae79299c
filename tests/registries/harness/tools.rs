//! What other tools do for a test: put an image into a registry, and show the tree of one.

use super::orchard;
use super::scene::Scene;
use super::tree::{Times, Tree};
use crate::archive::Archive;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// A number for files that no two calls share.
fn next() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
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

    /// The tree of an image as umoci unpacks it, from a source of skopeo's.
    pub(crate) fn tree_by_umoci(&self, source: &str) -> Tree {
        let number = next();
        let (layout, bundle) = (self.path(&format!("layout-{number}")), self.path(&format!("bundle-{number}")));
        let image = format!("oci:{layout}:image");
        self.tool(&["skopeo", "copy", "--quiet", "--src-tls-verify=false", source, &image]);
        self.tool(&["umoci", "unpack", "--image", &format!("{layout}:image"), &bundle]);
        let tree = Tree::read(&Path::new(&bundle).join("rootfs"), Times::Kept);
        self.tool(&["rm", "-rf", &layout, &bundle]);
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
