//! Parts of the host's tree for the container: opened when the plan is made, so that what is checked is what is mounted.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use init::step::Missing;
use rustix::fs::{FileType, Mode, OFlags};
use sys::mount::{Attributes, NO_DEVICES};

use super::options::{Idmap, Options, PRIVATE};

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
    /// For it and those below; propagation is here.
    pub(crate) recursive_attributes: Attributes,
    /// Show the files with the container's ids.
    pub(crate) idmap: Option<Idmap>,
    /// What the mount point is made as.
    pub(crate) missing: Missing,
}

impl Bind {
    /// Opens the source.
    pub(crate) fn open(path: &Path, options: &Options, user_namespace: bool) -> Result<Self> {
        if !path.is_absolute() {
            return Err(Error::invalid(format!("the bind source `{}` is not an absolute path", path.display())));
        }
        if !options.own.is_empty() {
            let word = String::from_utf8_lossy(&options.own).replace('\0', " ");
            return Err(Error::invalid(format!("a bind of `{}` takes no option `{}`", path.display(), word.trim())));
        }
        if options.idmap.is_some() && !user_namespace {
            return Err(Error::invalid(format!("`{}` cannot be idmapped without a user namespace", path.display())));
        }
        let source = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("cannot open the bind source `{}`", path.display()))?;
        let found = rustix::fs::fstat(&source).with_context(|| format!("cannot look at `{}`", path.display()))?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let (propagation, below) = options.propagation.unwrap_or((PRIVATE, true));
        // A tree that is copied keeps its peers; without a word on it the container is not to see the host's mounts.
        let mut attributes = options.attributes;
        let mut recursive_attributes = options.recursive;
        if user_namespace && !is_of_devices(path, kind) {
            recursive_attributes.set |= NO_DEVICES;
            recursive_attributes.clear &= !NO_DEVICES;
            attributes.clear &= !NO_DEVICES;
        }
        if below {
            recursive_attributes.propagation = propagation;
        } else {
            recursive_attributes.propagation = PRIVATE;
            attributes.propagation = propagation;
        }
        Ok(Self {
            source,
            path: path.to_owned(),
            recursive: options.bind.unwrap_or(false),
            attributes,
            recursive_attributes,
            idmap: options.idmap,
            missing: if kind == FileType::Directory { Missing::Directory } else { Missing::File },
        })
    }
}

/// Whether what is bound is there for its devices. Nodes anywhere else came with an image, whose root's are closed too:
/// a volume that is filled from an image has what the image has.
fn is_of_devices(path: &Path, kind: FileType) -> bool {
    path.starts_with("/dev") || matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)
}
