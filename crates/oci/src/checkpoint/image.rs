//! The directories of a checkpoint: of its images, and of CRIU's log.
//!
//! CRIU opens files in them by name and follows links, for writing too. So a directory that holds a link is refused: a
//! checkpoint that came from elsewhere could name any file of the host (`parent`, the way to an earlier dump, is only read).
//! The descriptors stay open over exec, because CRIU is given their numbers.

use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use failure::{Context as _, Error, Result};
use rustix::fs::{Mode, OFlags};

/// Makes the directory if it is not there, and opens it.
pub(super) fn make(path: &Path) -> Result<OwnedFd> {
    let failed = || format!("cannot make the directory `{}`", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(failed)?;
    open(path)
}

/// Opens a directory that is there, for CRIU to inherit.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let failed = || format!("cannot open the directory `{}`", path.display());
    let directory = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).with_context(failed)?;
    refuse_links(path)?;
    Ok(directory)
}

fn refuse_links(path: &Path) -> Result<()> {
    let failed = || format!("cannot read the directory `{}`", path.display());
    for entry in std::fs::read_dir(path).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let kind = entry.file_type().with_context(failed)?;
        let named = entry.file_name();
        if !(kind.is_file() || kind.is_dir()) && named != "parent" {
            return Err(Error::invalid(format!(
                "`{}` is neither a file nor a directory: a checkpoint has no such thing",
                entry.path().display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_refused_but_for_the_parent() {
        let path = std::env::temp_dir().join(format!("skep-oci-image-{}", std::process::id()));
        let images = path.join("images");
        make(&images).unwrap();
        std::fs::write(images.join("core-1.img"), "").unwrap();
        std::os::unix::fs::symlink("../before", images.join("parent")).unwrap();
        open(&images).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", images.join("restore.log")).unwrap();
        let refused = open(&images).unwrap_err().to_string();
        std::fs::remove_dir_all(&path).unwrap();
        assert!(refused.contains("restore.log"), "{refused}");
    }
}
