//! What the store has already of images that come in: some of them whole, and layers of others.
//!
//! A docker-archive holds layers without compression, while the store may have them compressed, from a registry. The
//! image is the same (its id names the uncompressed layers), so what is here is used, and nothing is stored twice. The
//! store is looked through only when a layer of the archive is here at all.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use failure::Result;

use crate::documents::{Manifest, OCI_MANIFEST};
use crate::{ChainId, Digest, ImageId, Layer, Name, Reference, Store};

/// What the store has, looked up when it is asked for.
pub(crate) struct Known<'a> {
    store: &'a Store,
    found: OnceCell<Found>,
}

/// Complete images of the store, and all layers that it has both as a blob and unpacked.
#[derive(Debug, Default)]
struct Found {
    images: BTreeMap<ImageId, KnownImage>,
    layers: BTreeMap<ChainId, Layer>,
}

/// A complete image.
#[derive(Clone, Debug)]
pub(crate) struct KnownImage {
    /// Its manifest.
    pub(crate) manifest: Digest,
    media_type: String,
    size: u64,
}

impl<'a> Known<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, found: OnceCell::new() }
    }

    /// The image with this id and these layers, if all of it is here.
    pub(crate) fn image(&self, id: &ImageId, layers: &[ChainId]) -> Option<&KnownImage> {
        layers.iter().all(|layer| self.store.has_layer(layer)).then(|| self.found().images.get(id)).flatten()
    }

    /// An unpacked layer's blob.
    pub(crate) fn layer(&self, chain: &ChainId) -> Option<&Layer> {
        self.store.has_layer(chain).then(|| self.found().layers.get(chain)).flatten()
    }

    fn found(&self) -> &Found {
        // A store whose names cannot be read is an error of the publishing that follows.
        self.found.get_or_init(|| Found::of(self.store).unwrap_or_default())
    }
}

impl Found {
    /// Looks through the store. What is damaged is not known.
    fn of(store: &Store) -> Result<Self> {
        let names = store.names()?;
        let targets: BTreeSet<Digest> = names.entries().iter().map(|entry| entry.target).collect();
        let mut found = Self::default();
        for (manifest, _) in targets.iter().flat_map(|target| store.members(target).unwrap_or_default()) {
            if let Ok(read) = Manifest::read_by(|digest| store.read_blob(digest), &manifest) {
                found.add(store, manifest, read);
            }
        }
        Ok(found)
    }

    fn add(&mut self, store: &Store, manifest: Digest, read: Manifest) {
        let count = read.layers.len();
        let pairs = read.chain.into_iter().zip(read.layers);
        let here: Vec<_> =
            pairs.filter(|(chain, layer)| store.has_layer(chain) && store.has_blob(&layer.digest)).collect();
        if here.len() == count
            && let Ok(bytes) = store.read_blob(&manifest)
        {
            let said = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default();
            let media_type = said["mediaType"].as_str().unwrap_or(OCI_MANIFEST).to_owned();
            let image = KnownImage { manifest, media_type, size: bytes.len() as u64 };
            self.images.entry(ImageId(read.config)).or_insert(image);
        }
        self.layers.extend(here);
    }
}

impl KnownImage {
    /// Its entry under a name.
    pub(crate) fn named(&self, reference: &Reference) -> Name {
        Name::of_type(&self.media_type, self.manifest, self.size, Some(reference.clone()))
    }
}
