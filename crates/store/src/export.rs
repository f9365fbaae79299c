//! A container's whole file system as a tar archive: `skep export`.

use std::io::Write;
use std::os::fd::BorrowedFd;

use failure::Result;

/// Writes the tree below `root` (a container's root, running or mounted for the purpose; not what is mounted below it).
/// `shift` is subtracted from all ids: the host's id of the container's root, when the root is seen through its map.
///
/// # Errors
/// The tree cannot be read, or the output cannot be written.
pub fn export(root: BorrowedFd<'_>, shift: u32, output: &mut dyn Write) -> Result<()> {
    let _ = (root, shift, output);
    unimplemented!()
}
