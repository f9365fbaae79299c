//! An image as commands see it: its id, configuration, layers and names; and how one is found.

use failure::Result;
use oci_spec::image::ImageConfiguration;

use crate::{ChainId, ConfigDocument, Digest, ImageId, Layer, Reference, Store};

/// An image of the store, its configuration read.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the configuration: what people see.
    pub id: ImageId,
    /// The digest of the manifest: what index.json refers to.
    pub manifest: Digest,
    /// The configuration, read.
    pub config: ImageConfiguration,
    /// The unpacked layers, bottom first.
    pub layers: Vec<ChainId>,
    /// The layers as blobs, bottom first: `blobs[n]` unpacks to `layers[n]`.
    pub blobs: Vec<Layer>,
    /// All names of this image, sorted.
    pub names: Vec<Reference>,
    /// The bytes of all its unpacked layers together.
    pub size: u64,
}

/// A line of `skep images`.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// The image's id.
    pub id: ImageId,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// All its names, sorted; none when it lost its last one.
    pub names: Vec<Reference>,
    /// When it was made, as RFC 3339, where it says so.
    pub created: Option<String>,
    /// The bytes of all its unpacked layers together.
    pub size: u64,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

impl Image {
    /// The configuration's own bytes, for the fields that the OCI types lack (Docker's `Healthcheck`, `OnBuild`,
    /// `Shell`, `StopTimeout`) and for changes that must keep what they do not know.
    ///
    /// # Errors
    /// The blob is gone.
    pub fn document(&self, store: &Store) -> Result<ConfigDocument> {
        let _ = store;
        unimplemented!()
    }
}

impl Store {
    /// The image that `text` names: a name, `name@digest`, an id, or the beginning of an id that only one image has.
    ///
    /// # Errors
    /// There is no such image, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Image> {
        let _ = text;
        unimplemented!()
    }

    /// The image with this manifest, as index.json or a container refers to it.
    ///
    /// # Errors
    /// The manifest or the configuration is missing or damaged.
    pub fn image(&self, manifest: &Digest) -> Result<Image> {
        let _ = manifest;
        unimplemented!()
    }

    /// All images, newest first.
    ///
    /// # Errors
    /// index.json cannot be read.
    pub fn images(&self) -> Result<Vec<ImageSummary>> {
        unimplemented!()
    }

    /// Gives the image that `source` names one more name. A name that another image had moves here.
    ///
    /// # Errors
    /// There is no such image.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<()> {
        let _ = (source, name);
        unimplemented!()
    }
}
