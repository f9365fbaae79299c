//! Images on their way to a registry: what they are made of, and how it gets there.
//!
//! ```text
//! image --parcel--> documents + blobs
//!                     blob, compressed already (or wanted as it is) ----------------------> carriers (processes)
//!                     uncompressed layer --compressed before?--> the compressed blob ------>   |
//!                                        \-> compressors (processes) -> store/compressed -->   v
//!                                                                                           Destination
//!                   the manifest, its layers exchanged for the compressed ones -> the caller, who sends it last
//! ```
//!
//! A manifest alone is pushed with compressed layers, so that what was committed, imported or loaded costs the network
//! what it should. An index, an artifact, and an image that something in the store refers to by digest (a signature) are
//! pushed byte for byte, since another byte would be another digest.

mod lenders;
mod parcel;
mod record;
mod rewrite;
mod work;

use failure::Result;

pub use self::parcel::Document;
pub use self::record::Referrer;
use crate::documents::{Descriptor, Target};
pub use crate::jobs::Form;
use crate::{Digest, Platform, Staging, Store};

/// A blob on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

/// How a blob came to be where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Present,
    /// It was sent.
    Sent,
    /// It was taken from another repository there, which is called so.
    Mounted(String),
}

/// Where blobs go. [`Self::carry`] is called in forked processes: connections from before must not be used in it.
pub trait Destination {
    /// Gets a blob there, unless it is there. `sent` is told how many bytes of it are.
    ///
    /// # Errors
    /// It cannot be brought there.
    fn carry(&mut self, blob: &Blob, file: std::fs::File, sent: &mut dyn FnMut(u64) -> Result<()>) -> Result<Arrival>;
}

/// Told how a push comes along. A layer goes by its diff id, another blob by its digest.
pub trait PushProgress {
    /// The push has this layer.
    fn waits(&mut self, layer: &Digest);
    /// `done` bytes of the `total` are compressed.
    fn compressed(&mut self, layer: &Digest, done: u64, total: u64);
    /// `done` bytes of the `total` are sent.
    fn sent(&mut self, layer: &Digest, done: u64, total: u64);
    /// It is there.
    fn arrived(&mut self, layer: &Digest, arrival: &Arrival);
}

/// Which of an image's platforms are pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The whole index if all of it is here, else this machine's platform, or the first that is here.
    #[default]
    Here,
    /// One platform's manifest alone.
    Platform(Platform),
    /// The whole index, or nothing.
    All,
}

impl Store {
    /// What of a name's target is pushed: the target itself, or the manifest of one platform.
    ///
    /// # Errors
    /// The platform is not here.
    pub fn push_choice(&self, target: &Digest, scope: &Scope) -> Result<Digest> {
        match scope {
            Scope::All => Ok(*target),
            Scope::Platform(platform) => self.choose(target, Some(platform)),
            Scope::Here => match Target::parse(&self.read_blob(target)?, &target.to_string())? {
                Target::Index(entries) => {
                    let children = entries.iter().map(Descriptor::digest).collect::<Result<Vec<_>>>()?;
                    let whole = children.iter().all(|child| self.has_blob(child));
                    if whole { Ok(*target) } else { self.choose(target, None) }
                }
                Target::Manifest => Ok(*target),
            },
        }
    }
}

/// Brings all blobs of the manifest or index `target` to `destination`; gives back the documents to send after them,
/// the last of which is the one that stands for all. `form`: what uncompressed layers are compressed with.
///
/// # Errors
/// Something is missing or damaged, the disk is full, or the destination refuses.
pub fn push(
    store: &Store,
    target: &Digest,
    form: Option<Form>,
    destination: &mut dyn Destination,
    progress: &mut dyn PushProgress,
) -> Result<Vec<Document>> {
    let form = match form {
        Some(form) if store.referrers(target)?.is_empty() => Some(form),
        _ => None,
    };
    store.sweep()?;
    let staging = Staging::new(store)?;
    let mut parcel = parcel::Parcel::read(store, target, form)?;
    work::Work::new(store, staging, &mut parcel, form, progress).run(destination)?;
    parcel.into_documents()
}
