//! Images on disk: blobs, layers, names; archives in and out; overlay mounts.
//!
//! The store is an OCI image layout that any other tool can read, plus what the layout does not know: the unpacked
//! layers. See [`Store`] for the tree and for who may change what under which lock. Nothing here knows containers'
//! configuration, networks or flags; what it needs of them is handed in.
//!
//! Ways in: [`load()`], [`load_layout`], [`import()`], [`commit`]. All of them stage what they make under a
//! [`Staging`] directory that dies with its process, and publish it in one step under the store's lock.

mod archive;
mod blobs;
mod catalog;
mod change;
mod compressed;
mod config;
mod contents;

mod docker;
mod documents;
mod image;
mod import;
mod ingest;
mod input;
mod jobs;
mod known;
mod layers;
mod layout;
mod leases;
mod load;
mod names;
mod oci;
mod partial;
mod progress;

mod staging;
mod store;
mod stream;
mod unpack;

pub mod changes;
pub mod check;
pub mod collect;
pub mod commit;
pub mod copy;
pub mod export;
pub mod lists;
pub mod overlay;
pub mod pull;
pub mod push;
pub mod save;
pub mod tarball;
pub mod untrusted;
pub mod usage;
pub mod writable;

pub use archive::drain as read_whole_archive;
pub use change::{Change as ConfigChange, split_words};
pub use config::{ConfigDocument, History};

pub use image::{Image, ImageSummary};
pub use import::{Import, import};
pub use input::{Compression, Input};
pub use layers::Layer;
pub use layout::load_layout;
pub use leases::{Need, RESUME_FOR};
pub use load::{Loaded, load, load_for};
pub use names::{Name, Names};
pub use progress::{Progress, Quiet};
pub use reference::{ChainId, Digest, Hasher, ImageId, Platform, Reference};
pub use staging::{StagedBlob, Staging};
pub use store::{Limits, Lock, Store};
