//! Small files of our own directories: written whole, replaced by rename. Never used on a container's tree.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use failure::{Context as _, Result};

/// Writes a file in a directory that nobody else knows yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o600).map(drop).with_context(|| format!("write `{}`", path.display()))
}

/// As [`write_new`], for a file that all users of the container read, whatever mask the caller has.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0o600)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o644)))
        .with_context(|| format!("write `{}`", path.display()))
}

/// Replaces a file: readers see the old one or the new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.to_owned();
    temporary.add_extension("new");
    write(&temporary, bytes, 0o600)
        .and_then(|_| std::fs::rename(&temporary, path))
        .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
        .with_context(|| format!("replace `{}`", path.display()))
}

/// Whether a file was changed a moment ago: somebody may be about to rename it.
pub(crate) fn is_new(path: &Path) -> bool {
    let changed = std::fs::symlink_metadata(path).and_then(|status| status.modified());
    changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 2))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}
