//! The root file system of a container: read-only layers below, one writable directory above, joined by overlayfs.
//!
//! ```text
//!   containers/<id>/layer/upper   what the container changed      \
//!   layers/<top>/tree             the image's last layer           >  one overlay mount, detached, an open file
//!   layers/.../tree                                               /   descriptor until somebody attaches it
//!   layers/<bottom>/tree          the image's first layer
//!   skeleton                      what something is always mounted on (see [`skeleton`])
//! ```
//!
//! On disk every file has the ids it has in the image (0..65535). For a container in a user namespace the layers and
//! the writable directory are seen through detached *idmapped* clones of their mounts; the overlay itself is made
//! in the initial user namespace, so that its marks are `trusted.overlay.*`, which no container can forge.
//!
//! `host:` and directories that contain the engine's own data cannot be a lower layer as they are: the kernel refuses
//! overlapping layers (ELOOP), and the container would see every other container. They become a first, read-only
//! overlay that hides those places (see [`views`]), and its root is the single lower layer of the second.
//!
//! What this module never does: resolve a path of the container by name from the host (see [`lookup`] for the
//! one way to read a file), or write to a layer.

mod assemble;
mod lookup;
mod skeleton;
mod views;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use failure::{Context, Error, Result};

use crate::{ChainId, Store};
use assemble::{Stack, Way};
use views::{Lower, Views};

pub(crate) use assemble::as_ids;

/// The name of the directory of changes inside a writable layer.
pub(crate) const UPPER: &str = "upper";
/// The name of overlayfs' scratch directory inside a writable layer.
pub(crate) const WORK: &str = "work";

/// What lies below a container's writable layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Unpacked layers of an image, bottom first. None at all is an empty root.
    Layers(Vec<ChainId>),
    /// `rootfs:PATH`: that directory, and not what is mounted below it.
    Directory(PathBuf),
    /// `host:`: this machine's own root file system, without the engine's data and without `/run`.
    Host,
}

/// An image's tree for the host to look at, as a detached mount: read-only, without the skeleton, and without set-uid
/// programs or devices that work.
///
/// # Errors
/// The image has no layers, or one is missing.
pub fn mount_image(store: &Store, layers: &[ChainId]) -> Result<OwnedFd> {
    let mount = match layers {
        [] => return Err(Error::unsupported("the image has no layers, and so no tree to mount")),
        // One layer is a tree already, and overlayfs wants two.
        [only] => views::detach(&store.layer_tree(only), None)?,
        _ => {
            let lower = Lower::new(store, &Base::Layers(layers.to_vec()))?;
            let Views { mounts, lower } = Views::of_lower(&lower, None, Way::Best)?;
            let stack = Stack { views: mounts, lower, upper: None, writable: None };
            stack.mount(None, Way::Best).context("mount the image")?
        }
    };
    let set = sys::mount::READ_ONLY | sys::mount::NO_SET_UID | sys::mount::NO_DEVICES;
    let attributes = sys::mount::Attributes { set, ..Default::default() };
    sys::mount::set_attributes(mount.as_fd(), attributes).context("make the mount read-only")?;
    Ok(mount)
}

/// How ids 0..65535 of a container are seen on the host.
#[derive(Clone, Copy, Debug)]
pub struct IdMap<'a> {
    /// The user namespace whose maps the mounts take.
    pub user_namespace: BorrowedFd<'a>,
    /// The host's id of the container's root user.
    pub root_uid: u32,
    /// The host's id of the container's root group.
    pub root_gid: u32,
}

/// The layers of one container, ready to be mounted or read.
#[derive(Debug)]
pub struct Overlay {
    lower: Lower,
    skeleton: PathBuf,
    writable: PathBuf,
    way: Way,
}

impl Overlay {
    /// Describes the overlay of `base` below the writable layer (`containers/<id>/layer`). Mounts nothing.
    ///
    /// # Errors
    /// The directory of the base does not exist.
    pub fn new(store: &Store, base: &Base, writable: &Path) -> Result<Overlay> {
        let (lower, skeleton) = (Lower::new(store, base)?, skeleton::ensure(store)?);
        Ok(Overlay { lower, skeleton, writable: writable.to_owned(), way: Way::Best })
    }

    /// The same overlay, mounted as kernels before 6.15 need it even where a newer way would do.
    #[must_use]
    pub fn for_older_kernels(mut self) -> Overlay {
        self.way = Way::Attached;
        self
    }

    /// Mounts it, attached nowhere: the caller moves the mount to where it is wanted, or just drops it.
    ///
    /// # Errors
    /// A layer is missing, or the file system below cannot be idmapped or take an overlay.
    pub fn mount(&self, mapping: Option<IdMap<'_>>) -> Result<OwnedFd> {
        let views = Views::open(&self.lower, &self.skeleton, mapping.as_ref(), self.way)?;
        let (view, upper, work) = views::writable(&self.writable, mapping.as_ref())?;
        let stack = Stack { views: views.mounts, lower: views.lower, upper: Some((upper, work)), writable: Some(view) };
        stack
            .mount(mapping.as_ref(), self.way)
            .with_context(|| format!("mount the root file system of `{}`", self.writable.display()))
    }

    /// Mounts it read-only for the host's own use, without idmap and without touching the writable layer: safe beside
    /// a running container.
    ///
    /// # Errors
    /// As [`Overlay::mount`].
    pub fn mount_for_reading(&self) -> Result<OwnedFd> {
        let views = Views::open(&self.lower, &self.skeleton, None, self.way)?;
        let (view, upper, _work) = views::writable(&self.writable, None)?;
        let mut stack = Stack { views: views.mounts, lower: vec![upper], upper: None, writable: None };
        stack.lower.extend(views.lower);
        stack.views.push(view);
        stack
            .mount(None, self.way)
            .with_context(|| format!("mount the root file system of `{}`", self.writable.display()))
    }

    /// The base as one read-only tree, without the writable layer.
    ///
    /// # Errors
    /// As [`Overlay::mount`].
    pub fn open_base(&self) -> Result<OwnedFd> {
        let views = Views::open(&self.lower, &self.skeleton, None, self.way)?;
        let stack = Stack { views: views.mounts, lower: views.lower, upper: None, writable: None };
        stack.mount(None, self.way).context("mount the base")
    }

    /// The contents of a regular file of the merged tree, or `None` if there is no such file. Cheap: usually no
    /// mount is needed. Symbolic links are followed inside the tree only; FIFOs and devices are never opened.
    ///
    /// # Errors
    /// The file is larger than `limit`, or cannot be read.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        lookup::read_file(self, path, limit)
    }
}
