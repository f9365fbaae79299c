//! What the caller may want to show while an image comes in.

use crate::Digest;

/// Told how far each layer is. All calls come from the thread that called the store.
pub trait Progress {
    /// A layer has work to do: `total` bytes of its blob, in the image's order.
    fn begin(&mut self, layer: &Digest, total: u64);
    /// `done` bytes of the layer's blob are stored (never shrinks; at the end it is the total).
    fn advance(&mut self, layer: &Digest, done: u64);
    /// All bytes of the layer's blob are stored; it may still be unpacked.
    fn stored(&mut self, _layer: &Digest) {}
    /// The layer is stored, verified and unpacked.
    fn finish(&mut self, layer: &Digest);
    /// The layer was there already.
    fn present(&mut self, layer: &Digest);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _: &Digest, _: u64) {}
    fn advance(&mut self, _: &Digest, _: u64) {}
    fn finish(&mut self, _: &Digest) {}
    fn present(&mut self, _: &Digest) {}
}
