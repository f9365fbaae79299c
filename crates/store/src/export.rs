//! A container's whole file system as a tar archive: `skep export`.

use std::io::Write;
use std::os::fd::BorrowedFd;

use failure::{Context, Result};

use crate::tarball::{Marks, Source, Tree, Writer};

/// Writes the tree below `root` (a container's root, running or mounted for the purpose; not what is mounted below it).
/// `shift` is subtracted from all ids: the host's id of the container's root, when the root is seen through its map.
///
/// # Errors
/// The tree cannot be read, or the output cannot be written.
pub fn export(root: BorrowedFd<'_>, shift: u32, output: &mut dyn Write) -> Result<()> {
    let source = Source { root_uid: shift, root_gid: shift, marks: Marks::Plain, one_file_system: true };
    let mut writer = Writer::new(output);
    Tree::new(&mut writer, source).contents(root)?;
    writer.finish().context("write the archive")
}
