//! Images out of the store, as archives: `skep save`.

use std::io::Write;

use failure::Result;

use crate::Store;

/// The archive's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// What `docker save` writes: manifest.json, repositories, one uncompressed tar a layer.
    #[default]
    DockerArchive,
    /// An OCI image layout in a tar, blobs as they are.
    OciArchive,
}

/// Writes the images called `names` as one archive. Streams; nothing is held in memory but documents.
///
/// # Errors
/// An image does not exist, or the output cannot be written.
pub fn save(store: &Store, names: &[String], format: Format, output: &mut dyn Write) -> Result<()> {
    let _ = (store, names, format, output);
    unimplemented!()
}
