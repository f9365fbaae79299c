//! Parts of the host's tree for the container: opened when the plan is made, so that what is checked is what is mounted.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use init::step::Missing;
use rustix::fs::{FileType, Mode, OFlags};
use sys::mount::{Attributes, NO_DEVICES};

use super::mount_maps::MountMap;
use super::options::{Options, PRIVATE, SLAVE, UNBINDABLE};

/// A bind mount.
#[derive(Debug)]
pub(crate) struct Bind {
    /// What is mounted.
    pub(crate) source: OwnedFd,
    /// How it was named.
    pub(crate) path: PathBuf,
    /// With what is mounted below.
    pub(crate) recursive: bool,
    /// For the mount.
    pub(crate) attributes: Attributes,
    /// For it and those below.
    pub(crate) recursive_attributes: Attributes,
    /// Propagation, one after the other: the kind, and whether it is for those below too.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// Show the files with other ids.
    pub(crate) idmap: Option<MountMap>,
    /// What the mount point is made as.
    pub(crate) missing: Missing,
}

impl Bind {
    /// Opens the source. A relative one starts in the bundle.
    pub(crate) fn open(
        path: &Path,
        bundle: Option<&Path>,
        options: &Options,
        idmap: Option<MountMap>,
        user_namespace: bool,
    ) -> Result<Self> {
        let path = match bundle {
            Some(bundle) => bundle.join(path),
            None if path.is_absolute() => path.to_owned(),
            None => {
                return Err(Error::invalid(format!("the bind source `{}` is not an absolute path", path.display())));
            }
        };
        let (source, kind, _) = look(&path)?;
        let mut attributes = options.attributes;
        let mut recursive_attributes = options.recursive;
        if user_namespace && !is_of_devices(&path, kind) {
            recursive_attributes.set |= NO_DEVICES;
            recursive_attributes.clear &= !NO_DEVICES;
            attributes.clear &= !NO_DEVICES;
        }
        Ok(Self {
            source,
            path,
            recursive: options.bind.unwrap_or(false),
            attributes,
            recursive_attributes,
            propagation: propagation(&options.propagation, user_namespace),
            idmap,
            missing: if kind == FileType::Directory { Missing::Directory } else { Missing::File },
        })
    }

    /// The host's node at this path, if it is the one that is wanted.
    pub(crate) fn of_device(path: &CStr, kind: FileType, number: u64) -> Result<Self> {
        let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
        let (source, found, device) = look(&path)?;
        if found != kind || device != number {
            return Err(Error::unsupported(format!(
                "a user namespace takes devices from its host, and the `{}` there is another",
                path.display()
            )));
        }
        Ok(Self {
            source,
            path,
            recursive: false,
            attributes: Attributes::default(),
            recursive_attributes: Attributes::default(),
            propagation: vec![(PRIVATE, true)],
            idmap: None,
            missing: Missing::Device { kind, number },
        })
    }

    /// Whether it is the root of a proc file system.
    pub(crate) fn is_proc(&self) -> Result<bool> {
        const PROC_SUPER_MAGIC: u64 = 0x9fa0;
        const ROOT_INODE: u64 = 1;
        let line = || format!("cannot look at `{}`", self.path.display());
        let system = rustix::fs::fstatfs(&self.source).with_context(line)?;
        let found = rustix::fs::fstat(&self.source).with_context(line)?;
        Ok(system.f_type as u64 == PROC_SUPER_MAGIC && found.st_ino == ROOT_INODE)
    }
}

fn look(path: &Path) -> Result<(OwnedFd, FileType, u64)> {
    let source = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("cannot open the bind source `{}`", path.display()))?;
    let found = rustix::fs::fstat(&source).with_context(|| format!("cannot look at `{}`", path.display()))?;
    Ok((source, FileType::from_raw_mode(found.st_mode), found.st_rdev))
}

/// A tree that is copied keeps its peers. So that the container sees and does no more than was asked for, all of it is first
/// made what its words allow at most: without any word it is private, and a word for the top alone does not leave more to the
/// mounts below. In a user namespace, as in any mount namespace that the kernel copies for one, a shared mount is a group
/// of the container's own that follows the host's: what is mounted inside stays inside.
fn propagation(words: &[(u64, bool)], user_namespace: bool) -> Vec<(u64, bool)> {
    let said = |kind| words.iter().any(|(word, _)| *word == kind);
    let mut steps = Vec::with_capacity(words.len() + 1);
    if words.is_empty() || said(PRIVATE) || said(UNBINDABLE) {
        steps.push((PRIVATE, true));
    } else if said(SLAVE) || user_namespace {
        steps.push((SLAVE, true));
    }
    steps.extend(words.iter().filter(|step| !steps.contains(step)).copied().collect::<Vec<_>>());
    steps
}

/// Whether what is bound is there for its devices. Nodes anywhere else came with an image, whose root's are closed too:
/// a volume that is filled from an image has what the image has.
fn is_of_devices(path: &Path, kind: FileType) -> bool {
    path.starts_with("/dev") || matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::options::SHARED;

    #[test]
    fn words_allow_no_more_than_they_say() {
        assert_eq!(propagation(&[], false), [(PRIVATE, true)]);
        assert_eq!(propagation(&[(SHARED, true)], false), [(SHARED, true)]);
        assert_eq!(propagation(&[(SHARED, true)], true), [(SLAVE, true), (SHARED, true)]);
        assert_eq!(propagation(&[(SLAVE, false)], false), [(SLAVE, true), (SLAVE, false)]);
        assert_eq!(propagation(&[(SLAVE, true), (SHARED, true)], false), [(SLAVE, true), (SHARED, true)]);
        assert_eq!(propagation(&[(UNBINDABLE, false)], false), [(PRIVATE, true), (UNBINDABLE, false)]);
    }
}
