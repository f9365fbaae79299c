//! What images and their parts are called, parsed once at the edge: [`Reference`] is a name as people write it,
//! [`Digest`] the name of bytes, [`ImageId`] and [`ChainId`] the digests that name an image and an unpacked layer,
//! [`Platform`] what an image runs on.
//!
//! Values only: no disk, no network. The store and the registry client speak of the same things by these types.

mod digest;
mod platform;
mod reference;

pub use digest::{ChainId, Digest, Hasher, ImageId};
pub use platform::Platform;
pub use reference::Reference;
