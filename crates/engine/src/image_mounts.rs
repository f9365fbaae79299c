//! `image mount`: an image's tree on the host, read-only, for as long as nobody unmounts it.
//!
//! ```text
//! <run>/images/<digest of the path>/record.json   which image is mounted where; written before the mount is made
//! <run>/images/<the image's id>/tree              where it is mounted when no path is given
//! ```
//!
//! A mounted image is in use: no removal or collection takes its layers. The kernel's own list of mounts says whether a
//! record is true. One that is not (after a kill in between, after `umount`, after a restart of the machine) is
//! removed by whoever comes by while nobody holds the directory's flock to make one; one of another mount namespace cannot be told from here, and counts.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use rustix::fs::{CWD, FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount as kernel_unmount};
use serde::{Deserialize, Serialize};
use store::collect::User;
use store::{ChainId, Digest, Image, ImageId};

use crate::{Home, files};

const RECORD: &str = "record.json";

/// A mounted image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ImageMount {
    /// Where.
    pub path: PathBuf,
    /// What it was called when it was mounted.
    pub name: String,
    /// Its id.
    pub id: String,
    manifest: String,
    layers: Vec<String>,
    /// The mount namespace that the mount was made in, and the machine's start that it belongs to.
    namespace: String,
}

/// Mounts an image at `path`, a directory, or at a place of its own; says where. One that is mounted there already stays.
///
/// # Errors
/// No such image or directory, or something else is mounted there.
pub fn mount(home: &Home, name: &str, path: Option<&Path>) -> Result<ImageMount> {
    let store = home.store()?;
    // Nobody removes the image between here and the record.
    let lock = store.lock_shared()?;
    let image = store.resolve(name)?;
    make(&directory(home))?;
    let making = hold(home, FlockOperation::LockShared)?;
    let path = place(home, &image, path)?;
    if let Some(there) = list(home)?.into_iter().find(|mount| mount.path == path) {
        if there.manifest == image.manifest.to_string() {
            return Ok(there);
        }
        let message = format!("image `{}` is mounted at `{}`; unmount it first", there.name, path.display());
        return Err(Error::conflict(message));
    }
    let mount = ImageMount {
        name: image.names.first().map_or_else(|| image.id.to_string(), ToString::to_string),
        id: image.id.to_string(),
        manifest: image.manifest.to_string(),
        layers: image.layers.iter().map(|layer| layer.0.to_string()).collect(),
        namespace: namespace(),
        path,
    };
    let tree = store::overlay::mount_image(store, &image.layers)?;
    let record = record(home, &mount.path);
    make(&record)?;
    let bytes = serde_json::to_vec(&mount).map_err(|_| Error::internal("a mount cannot be written down"))?;
    files::replace(&record.join(RECORD), &bytes)?;
    let attached = move_mount(&tree, "", CWD, &mount.path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    if attached.is_err() {
        forget(home, &mount);
    }
    drop((lock, making));
    attached.with_context(|| format!("mount image `{}` at `{}`", mount.name, mount.path.display()))?;
    Ok(mount)
}

/// All mounted images, sorted by path.
///
/// # Errors
/// The kernel's list of mounts cannot be read.
pub fn list(home: &Home) -> Result<Vec<ImageMount>> {
    let entries = match fs::read_dir(directory(home)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("list `{}`", directory(home).display()))?,
    };
    // Nobody is making a mount: a record without one is old.
    let alone = hold(home, FlockOperation::NonBlockingLockExclusive);
    let (mounted, here) = (mounted_paths()?, namespace());
    let mut mounts = Vec::new();
    for entry in entries.flatten() {
        let bytes = fs::read(entry.path().join(RECORD)).unwrap_or_default();
        let Ok(mount) = serde_json::from_slice::<ImageMount>(&bytes) else { continue };
        if mounted.contains(&mount.path) || !is_settled(&mount.namespace, &here) {
            mounts.push(mount);
        } else if alone.is_ok() {
            forget(home, &mount);
        }
    }
    mounts.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(mounts)
}

/// Unmounts what `what` names: a path, or an image wherever it is mounted. `force`: also while it is used. What is not
/// mounted is no error when it names an image.
///
/// # Errors
/// No such image or mount, or it is busy.
pub fn unmount(home: &Home, what: &str, force: bool) -> Result<Vec<ImageMount>> {
    let all = list(home)?;
    let path = std::path::absolute(what).unwrap_or_else(|_| what.into());
    let mut chosen: Vec<ImageMount> = all.iter().filter(|mount| mount.path == path).cloned().collect();
    if chosen.is_empty() {
        let image = home.store()?.resolve(what)?;
        chosen = all.into_iter().filter(|mount| mount.id == image.id.to_string()).collect();
    }
    chosen.iter().try_for_each(|mount| take_down(home, mount, force))?;
    Ok(chosen)
}

/// Unmounts all.
///
/// # Errors
/// One is busy; those before it are unmounted.
pub fn unmount_all(home: &Home, force: bool) -> Result<Vec<ImageMount>> {
    let all = list(home)?;
    all.iter().try_for_each(|mount| take_down(home, mount, force))?;
    Ok(all)
}

/// What mounted images need.
pub(crate) fn users(home: &Home) -> Result<Vec<User>> {
    let digest = |text: &String| Digest::parse(text);
    let user = |mount: ImageMount| -> Result<User> {
        Ok(User {
            container: mount.path.display().to_string(),
            running: true,
            manifest: digest(&mount.manifest)?,
            image: ImageId(digest(&mount.id)?),
            layers: mount.layers.iter().map(|layer| digest(layer).map(ChainId)).collect::<Result<_>>()?,
        })
    };
    list(home)?.into_iter().map(user).collect()
}

fn take_down(home: &Home, mount: &ImageMount, force: bool) -> Result<()> {
    let flags = if force { UnmountFlags::NOFOLLOW | UnmountFlags::DETACH } else { UnmountFlags::NOFOLLOW };
    match kernel_unmount(&mount.path, flags) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(Errno::BUSY) => {
            let message = format!("`{}` is in use; leave it, or use --force", mount.path.display());
            return Err(Error::new(failure::Kind::Busy, message));
        }
        Err(error) => return Err(error).with_context(|| format!("unmount `{}`", mount.path.display())),
    }
    forget(home, mount);
    Ok(())
}

/// Where the image is to be mounted: what is given is the caller's, and must be there.
fn place(home: &Home, image: &Image, path: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = path {
        let failed = || format!("mount the image at `{}`", path.display());
        let path = fs::canonicalize(path).with_context(failed)?;
        return match path.is_dir() {
            true => Ok(path),
            false => Err(Error::invalid(format!("`{}` is not a directory", path.display()))),
        };
    }
    let path = directory(home).join(image.id.0.hex()).join("tree");
    make(&path)?;
    Ok(path)
}

/// Says, for as long as it is held, that a record is there before its mount; or, exclusively, that none is.
fn hold(home: &Home, operation: FlockOperation) -> Result<fs::File> {
    let failed = || format!("lock `{}`", directory(home).display());
    let file = fs::File::open(directory(home)).with_context(failed)?;
    flock(&file, operation).with_context(failed)?;
    Ok(file)
}

fn make(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("make `{}`", path.display()))
}

/// Removes a record, and a place that was made for it.
fn forget(home: &Home, mount: &ImageMount) {
    let record = record(home, &mount.path);
    let _ = fs::remove_file(record.join(RECORD));
    let _ = fs::remove_dir(record);
    if mount.path.starts_with(directory(home)) {
        let _ = fs::remove_dir(&mount.path);
        let _ = mount.path.parent().map(fs::remove_dir);
    }
}

fn directory(home: &Home) -> PathBuf {
    home.run().join("images")
}

fn record(home: &Home, path: &Path) -> PathBuf {
    directory(home).join(Digest::of(path.as_os_str().as_bytes()).hex())
}

/// This mount namespace, of this start of the machine.
fn namespace() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let own = fs::read_link("/proc/self/ns/mnt").map(|link| link.display().to_string()).unwrap_or_default();
    format!("{} {own}", boot.trim())
}

/// Whether this process can tell if a mount of that namespace is there.
fn is_settled(namespace: &str, here: &str) -> bool {
    let boot = |text: &str| text.split(' ').next().map(str::to_owned);
    namespace == here || boot(namespace) != boot(here)
}

/// Where something is mounted, as the kernel says.
fn mounted_paths() -> Result<Vec<PathBuf>> {
    let text = fs::read("/proc/self/mountinfo").context("read the list of mounts")?;
    let fields = text.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(fields.map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescaped(field)))).collect())
}

/// `\040` and its like back to bytes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mounts_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped(b"/a\\040b\\134c"), b"/a b\\c");
        assert_eq!(unescaped(b"/plain\\"), b"/plain\\");
    }

    #[test]
    fn only_mounts_of_this_namespace_can_be_told() {
        assert!(is_settled("one mnt:[1]", "one mnt:[1]"));
        assert!(!is_settled("one mnt:[1]", "one mnt:[2]"));
        assert!(is_settled("one mnt:[1]", "two mnt:[2]"), "the machine was started again");
    }
}
