//! What lies on disk for which image: `skep system df`, `skep images --tree`.
//!
//! An image's size is all that would have to be there for it alone: its documents, its layers as blobs (and what they
//! were compressed to for registries), and its unpacked layers. What several images need is shared; the total counts
//! every file of the store once, also those that no image needs any more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use failure::{Context, Result};

use crate::collect::{InUse, Node, listed, mark, references};
use crate::documents::{Manifest, Target};
use crate::{Digest, ImageId, ImageSummary, Platform, Store};

/// The store's contents, measured.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The images, newest first.
    pub images: Vec<ImageUsage>,
    /// The bytes of all blobs and layers, each once.
    pub total: u64,
    /// The bytes of those that no container needs.
    pub reclaimable: u64,
}

/// An image, measured.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// What it is.
    pub image: ImageSummary,
    /// The bytes of all it needs.
    pub size: u64,
    /// Those of them that another image needs, too.
    pub shared: u64,
    /// Those of them that are blobs: what a registry would hold.
    pub content: u64,
    /// How many containers use it.
    pub containers: usize,
    /// Its images for each platform: one, unless it is an index.
    pub members: Vec<MemberUsage>,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct MemberUsage {
    /// Which.
    pub platform: Platform,
    /// Its id; none if it is not here.
    pub id: Option<ImageId>,
    /// The bytes of all it needs.
    pub size: u64,
    /// Those of them that are blobs.
    pub content: u64,
}

impl Store {
    /// Measures everything. `in_use` says what containers need.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn usage(&self, in_use: &InUse) -> Result<Usage> {
        let sizes = Sizes::of(self)?;
        let images = self.images()?;
        let needs: Vec<HashSet<Node>> = images.iter().map(|image| self.needs(&image.target)).collect::<Result<_>>()?;
        let mut users: HashMap<Node, usize> = HashMap::new();
        for node in needs.iter().flatten() {
            *users.entry(*node).or_default() += 1;
        }
        let mut used: HashSet<Node> = HashSet::new();
        for user in &in_use.containers {
            used.extend(user.layers.iter().map(|layer| Node::Layer(*layer)));
            if self.has_blob(&user.manifest) {
                used.extend(self.needs(&user.manifest)?);
            }
        }
        let measure = |(image, needs): (ImageSummary, HashSet<Node>)| -> Result<ImageUsage> {
            let shared = needs.iter().filter(|node| users.get(node).is_some_and(|count| *count > 1));
            let uses = |manifest: &Digest| needs.contains(&Node::Manifest(*manifest));
            Ok(ImageUsage {
                size: sizes.sum(&needs),
                shared: shared.map(|node| sizes.get(node)).sum(),
                content: sizes.blobs(&needs),
                containers: in_use.containers.iter().filter(|user| !user.is_mount() && uses(&user.manifest)).count(),
                members: self.measure_members(&image.target, &sizes)?,
                image,
            })
        };
        let images = images.into_iter().zip(needs).map(measure).collect::<Result<Vec<_>>>()?;
        // What a container holds of an image that is gone is in the total, too.
        Ok(Usage { images, total: sizes.total, reclaimable: sizes.total.saturating_sub(sizes.sum(&used)) })
    }

    /// All that a target needs, and what its layers were compressed to.
    fn needs(&self, target: &Digest) -> Result<HashSet<Node>> {
        let mut needs = mark([Node::Manifest(*target)], |node| references(self, node))?;
        let compressed = self.all_compressed()?;
        let plain: Vec<Digest> = needs
            .iter()
            .filter_map(|node| match node {
                Node::Blob(digest) => Some(*digest),
                _ => None,
            })
            .collect();
        needs.extend(plain.iter().filter_map(|digest| compressed.get(digest)).flatten().map(|one| Node::Blob(*one)));
        Ok(needs)
    }

    fn measure_members(&self, target: &Digest, sizes: &Sizes) -> Result<Vec<MemberUsage>> {
        let Target::Index(entries) = Target::parse(&self.read_blob(target)?, &target.to_string())? else {
            return Ok(vec![self.measure_member(target, None, sizes)?]);
        };
        let mut members = Vec::new();
        for entry in entries {
            match (entry.digest()?, entry.platform()) {
                (_, Some(platform)) if !platform.is_known() => {}
                (manifest, platform) if self.has_blob(&manifest) => {
                    members.push(self.measure_member(&manifest, platform, sizes)?);
                }
                (_, Some(platform)) => members.push(MemberUsage { platform, id: None, size: 0, content: 0 }),
                (_, None) => {}
            }
        }
        Ok(members)
    }

    fn measure_member(&self, manifest: &Digest, platform: Option<Platform>, sizes: &Sizes) -> Result<MemberUsage> {
        let read = Manifest::read_by(|digest| self.read_blob(digest), manifest)?;
        let config = &read.configuration;
        let variant = config.variant().as_deref();
        let own = Platform::new(&config.os().to_string(), &config.architecture().to_string(), variant);
        let needs = self.needs(manifest)?;
        Ok(MemberUsage {
            platform: platform.unwrap_or(own),
            id: Some(ImageId(read.config)),
            size: sizes.sum(&needs),
            content: sizes.blobs(&needs),
        })
    }
}

/// How large everything is.
struct Sizes {
    known: HashMap<Node, u64>,
    total: u64,
}

impl Sizes {
    fn of(store: &Store) -> Result<Self> {
        let mut known = HashMap::new();
        for digest in listed(store, "blobs/sha256")? {
            // One that is removed just now needs no room.
            let length = fs::metadata(store.blob_path(&digest)).map_or(0, |metadata| metadata.len());
            known.insert(Node::Blob(digest), length);
        }
        for digest in listed(store, "layers")? {
            let layer = crate::ChainId(digest);
            known.insert(Node::Layer(layer), store.layer_size(&layer).unwrap_or(0));
        }
        let total = known.values().sum::<u64>() + half_fetched(store)?;
        Ok(Self { known, total })
    }

    fn get(&self, node: &Node) -> u64 {
        self.known.get(node).copied().unwrap_or(0)
    }

    fn sum(&self, nodes: &HashSet<Node>) -> u64 {
        nodes.iter().map(|node| self.get(node)).sum()
    }

    fn blobs(&self, nodes: &HashSet<Node>) -> u64 {
        nodes.iter().filter(|node| matches!(node, Node::Blob(_))).map(|node| self.get(node)).sum()
    }
}

/// The bytes of blobs that are on their way in.
fn half_fetched(store: &Store) -> Result<u64> {
    let path = store.root().join("partial");
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.with_context(|| format!("list `{}`", path.display()))?,
    };
    Ok(entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum())
}
