//! Extended attributes as archives carry them.
//!
//! The same that the unpacker takes: what overlayfs and security modules of this machine keep for themselves stays
//! here; so do access control lists of a tree that is seen through an id map, since they hold ids. File capabilities
//! set inside a user namespace (version 3) name that namespace's root; elsewhere they would mean nobody, so they
//! become what they were inside: plain ones (version 2).

use std::os::fd::BorrowedFd;

use rustix::io::{Errno, Result};

/// The attribute that marks a directory of an upper layer as hiding those below.
const OPAQUE: &str = "trusted.overlay.opaque";
const CAPABILITY: &[u8] = b"security.capability";
/// `VFS_CAP_REVISION_MASK` and the revisions, in the first word; the lowest bit says "effective".
const REVISION: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;

/// All attributes of an open file that belong into an archive, sorted by name. `root` is the host's id of root.
pub(super) fn read(file: BorrowedFd<'_>, root: u32) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match read_all(|buffer| rustix::fs::flistxattr(file, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| belongs(name, root)) {
        match read_all(|buffer| rustix::fs::fgetxattr(file, name, buffer)) {
            Ok(value) if name == CAPABILITY => attributes.push((name.to_vec(), plain_capability(value, root))),
            Ok(value) => attributes.push((name.to_vec(), value)),
            // Gone since it was listed, or not for us to read.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    attributes.sort();
    Ok(attributes)
}

/// All attributes of an open file that an archive would have, as the machine's root sees them.
pub(crate) fn attributes_of(file: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    read(file, 0)
}

/// Whether a directory hides what lies below it in other layers.
pub(crate) fn is_opaque(directory: BorrowedFd<'_>) -> Result<bool> {
    let mut value = [0_u8; 1];
    match rustix::fs::fgetxattr(directory, OPAQUE, &mut value) {
        Ok(length) => Ok(length == 1 && value[0] == b'y'),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn belongs(name: &[u8], root: u32) -> bool {
    name.starts_with(b"user.") || name == CAPABILITY || (root == 0 && name.starts_with(b"system.posix_acl_"))
}

/// Calls with a buffer that grows until the answer fits.
fn read_all(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// A capability of version 3 whose root is the container's root, as version 2. All others as they are.
fn plain_capability(value: Vec<u8>, root: u32) -> Vec<u8> {
    let word =
        |at: usize| value.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    match (word(0), word(20)) {
        (Some(magic), Some(owner)) if magic & REVISION == REVISION_3 && (owner == root || owner == 0) => {
            let magic = (magic & !REVISION) | REVISION_2;
            [&magic.to_le_bytes()[..], &value[4..20]].concat()
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_the_containers_root_become_plain() {
        let permitted = [1, 4, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];
        let version_3 = |root: u32| [&[1, 0, 0, 3][..], &permitted[..], &root.to_le_bytes()[..]].concat();
        let version_2 = [&[1, 0, 0, 2][..], &permitted[..]].concat();
        assert_eq!(plain_capability(version_3(500), 500), version_2);
        assert_eq!(plain_capability(version_3(0), 500), version_2);
        assert_eq!(plain_capability(version_3(501), 500), version_3(501));
        assert_eq!(plain_capability(version_2.clone(), 500), version_2);
    }
}
