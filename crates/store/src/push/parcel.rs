//! What a manifest or index is made of, for somebody who has nothing of it.

use failure::{Error, Result};
use serde::Deserialize;

use super::{Blob, Form, rewrite};
use crate::documents::{
    DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, Manifest, OCI_INDEX, OCI_MANIFEST, Parts, Target, is_plain_layer, parse,
};
use crate::{Compression, Digest, Store};

/// A manifest or index as it is sent.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All that has to be somewhere before its last document may go there.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// Those that others refer to come before them.
    documents: Vec<Document>,
    pub(super) items: Vec<Item>,
    form: Option<Form>,
}

/// A blob of a parcel.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// What is sent; of a layer to compress, what it will be made of.
    pub(super) blob: Blob,
    /// What progress is told under; none for a configuration.
    pub(super) label: Option<Digest>,
    /// What it was made of, if it was compressed.
    pub(super) plain: Option<Digest>,
    /// Whether it has to be compressed first.
    pub(super) compress: bool,
}

impl Parcel {
    /// Reads what `target` is made of. The layers of a manifest are compressed in `form`.
    pub(super) fn read(store: &Store, target: &Digest, form: Option<Form>) -> Result<Self> {
        let mut parcel = Self::default();
        let bytes = store.read_blob(target)?;
        if let Target::Index(entries) = Target::parse(&bytes, &target.to_string())? {
            for entry in entries {
                let manifest = entry.digest()?;
                if !store.has_blob(&manifest) {
                    let way = "pull it with `--all-platforms`, or push one platform with `--platform`";
                    return Err(Error::not_found(format!("image `{manifest}` of the index is not here; {way}")));
                }
                parcel.add_manifest(store, manifest, store.read_blob(&manifest)?, None)?;
            }
            parcel.add_document(*target, bytes);
        } else {
            parcel.form = form;
            parcel.add_manifest(store, *target, bytes, form)?;
        }
        Ok(parcel)
    }

    /// Adds a manifest (or an index below an index) and what it needs.
    fn add_manifest(&mut self, store: &Store, digest: Digest, bytes: Vec<u8>, form: Option<Form>) -> Result<()> {
        let name = digest.to_string();
        let parts = Parts::parse(&bytes, &name)?;
        if !parts.manifests.is_empty() {
            return Err(Error::unsupported(format!(
                "`{name}` is an index in an index; push it under a name of its own"
            )));
        }
        let read: Descriptors = parse(&bytes, &name)?;
        self.add(Item { blob: blob(&read.config)?, label: None, plain: None, compress: false });
        let labels = match parts.is_image {
            true => Manifest::read_by(|digest| store.read_blob(digest), &digest)?.layers,
            false => Vec::new(),
        };
        for (at, layer) in read.layers.iter().enumerate() {
            let blob = blob(layer)?;
            if !store.has_blob(&blob.digest) {
                let foreign = "a layer that may only be fetched from its owner is not kept here";
                return Err(Error::not_found(format!("blob `{}` of `{name}` is not here: {foreign}", blob.digest)));
            }
            let label = labels.get(at).map_or(blob.digest, |layer| layer.diff_id);
            let item = Item { blob, label: Some(label), plain: None, compress: false };
            self.add(match form {
                Some(form) if parts.is_image && is_plain_layer(&layer.media_type) => compressible(store, item, form)?,
                _ => item,
            });
        }
        self.add_document(digest, bytes);
        Ok(())
    }

    fn add(&mut self, item: Item) {
        let same = |known: &Item| (known.blob, known.compress) == (item.blob, item.compress);
        if !self.items.iter().any(same) {
            self.items.push(item);
        }
    }

    fn add_document(&mut self, digest: Digest, bytes: Vec<u8>) {
        let media_type = media_type(&bytes);
        self.documents.push(Document { digest, media_type, bytes });
    }

    /// The documents, now that all compressed blobs are known.
    pub(super) fn into_documents(self) -> Result<Vec<Document>> {
        let Some(form) = self.form else { return Ok(self.documents) };
        let exchanged = |digest: &Digest| {
            let item = self.items.iter().find(|item| item.plain.as_ref() == Some(digest))?;
            Some(item.blob)
        };
        self.documents.into_iter().map(|document| rewrite::exchange(document, form, exchanged)).collect()
    }
}

/// The layer as it was compressed before, or to compress. One that is compressed whatever it is called stays.
fn compressible(store: &Store, item: Item, form: Form) -> Result<Item> {
    use std::os::unix::fs::FileExt;
    let plain = item.blob.digest;
    if let Some((digest, size)) = store.compressed(&plain, form) {
        return Ok(Item { blob: Blob { digest, size }, plain: Some(plain), ..item });
    }
    let mut first = [0; 6];
    let file = store.open_blob(&plain)?;
    let count = file.read_at(&mut first, 0).unwrap_or(0);
    Ok(Item { compress: matches!(Compression::of_bytes(&first[..count]), Ok(Compression::None)), ..item })
}

fn blob(descriptor: &Descriptor) -> Result<Blob> {
    Ok(Blob { digest: descriptor.digest()?, size: descriptor.size })
}

#[derive(Deserialize)]
struct Descriptors {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// What a document says it is, or what its fields make of it.
pub(super) fn media_type(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
    }
    let head: Head = serde_json::from_slice(bytes).unwrap_or(Head { media_type: None, manifests: None });
    match (head.media_type, head.manifests) {
        (Some(said), _) if [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].contains(&said.as_str()) => said,
        (_, Some(_)) => OCI_INDEX.to_owned(),
        (_, None) => OCI_MANIFEST.to_owned(),
    }
}
