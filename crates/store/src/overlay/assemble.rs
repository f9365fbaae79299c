//! From opened layers to an overlay mount, the quickest way the kernel has.
//!
//! | kernel | how |
//! |---|---|
//! | 6.15 | layers are handed over as descriptors inside detached mounts (`lowerdir+` takes descriptors since 6.13, but a clone of a detached mount as a layer since 6.15) |
//! | 5.19 | the same views attached in a mount namespace of a helper thread, and `mount(2)` with `/proc/self/fd/N` for each layer: 5.19 is the first overlayfs over idmapped layers; its page of options holds some 200 layers |
//!
//! The older way is tried when the newer one answers "invalid". Both give a detached mount. The tests pass on 6.18
//! (each way) and on 6.1 (where only the older one works).
//!
//! Whoever creates an overlay with idmapped layers must have file system ids that the map knows: overlayfs makes its
//! work directory with the creator's ids, and when those are not mapped it quietly gives up the writable layer.
//! `setfsuid` to a non-root user drops the file capabilities, which are raised again at once.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use failure::{Context, Error, Kind, Result};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};

use super::IdMap;

/// The kind of overlay we want: an upper directory that is a plain difference, nothing followed that a layer says.
const OPTIONS: [(&str, &str); 4] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")];

/// A directory that every machine has and that the older way may cover in its own mount namespace; not `/proc`,
/// through which layers are named.
const PLACE: &str = "/dev";

/// Which of the ways to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The newer, and when the kernel cannot, the older.
    Best,
    /// The older.
    Attached,
}

/// Layers ready to be joined.
#[derive(Debug)]
pub(super) struct Stack {
    /// The detached mounts that the lower layers lie on.
    pub(super) views: Vec<OwnedFd>,
    /// The lower layers, top first.
    pub(super) lower: Vec<OwnedFd>,
    /// The upper and the work directory; none for a read-only overlay.
    pub(super) upper: Option<(OwnedFd, OwnedFd)>,
    /// The detached mount that upper and work lie on.
    pub(super) writable: Option<OwnedFd>,
}

impl Stack {
    /// The overlay as a detached mount.
    pub(super) fn mount(&self, mapping: Option<&IdMap<'_>>, way: Way) -> Result<OwnedFd> {
        if way == Way::Attached {
            return self.mount_attached(mapping);
        }
        match self.mount_detached(mapping) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => self.mount_attached(mapping),
            other => other.map_err(overlay_failure),
        }
    }

    fn mount_detached(&self, mapping: Option<&IdMap<'_>>) -> rustix::io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for layer in &self.lower {
            rustix::mount::fsconfig_set_fd(&context, c"lowerdir+", layer)?;
        }
        if let Some((upper, work)) = &self.upper {
            rustix::mount::fsconfig_set_fd(&context, c"upperdir", upper)?;
            rustix::mount::fsconfig_set_fd(&context, c"workdir", work)?;
        }
        for (key, value) in OPTIONS {
            rustix::mount::fsconfig_set_string(&context, key, value)?;
        }
        as_root_of(mapping, || rustix::mount::fsconfig_create(&context))?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(mapping))
    }

    /// The older way, in a thread of its own: its mount namespace goes with it, the mount stays.
    fn mount_attached(&self, mapping: Option<&IdMap<'_>>) -> Result<OwnedFd> {
        std::thread::scope(|scope| {
            let helper = std::thread::Builder::new()
                .spawn_scoped(scope, || self.mount_in_own_namespace(mapping))
                .context("start a helper thread for mounting")?;
            helper.join().unwrap_or_else(|_| Err(Error::internal("the helper thread for mounting failed")))
        })
    }

    fn mount_in_own_namespace(&self, mapping: Option<&IdMap<'_>>) -> Result<OwnedFd> {
        let place = Path::new(PLACE);
        sys::namespace::unshare_mounts().context("make a mount namespace")?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).context("make mounts private")?;
        rustix::mount::mount("tmpfs", place, "tmpfs", MountFlags::empty(), Some(c"mode=700"))
            .context("mount a place for layers")?;
        let views: Vec<&OwnedFd> = self.views.iter().chain(&self.writable).collect();
        for (number, view) in views.into_iter().enumerate() {
            attach(view, &place.join(number.to_string())).context("attach a layer")?;
        }
        let target = place.join("merged");
        rustix::fs::mkdirat(CWD, &target, Mode::from_raw_mode(0o700)).context("make a mount point")?;
        let options = self.options_in_words()?;
        let flags = if mapping.is_some() { MountFlags::NODEV } else { MountFlags::empty() };
        as_root_of(mapping, || rustix::mount::mount("overlay", &target, "overlay", flags, Some(options.as_c_str())))
            .map_err(overlay_failure)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(CWD, &target, flags).context("detach the overlay")
    }

    /// The options of `mount(2)`, each layer as a descriptor of this process.
    fn options_in_words(&self) -> Result<CString> {
        let mut text = String::from("lowerdir=");
        for (number, layer) in self.lower.iter().enumerate() {
            let separator = if number == 0 { "" } else { ":" };
            let _ = write!(text, "{separator}/proc/self/fd/{}", layer.as_raw_fd());
        }
        if let Some((upper, work)) = &self.upper {
            let (upper, work) = (upper.as_raw_fd(), work.as_raw_fd());
            let _ = write!(text, ",upperdir=/proc/self/fd/{upper},workdir=/proc/self/fd/{work}");
        }
        for (key, value) in OPTIONS {
            let _ = write!(text, ",{key}={value}");
        }
        if text.len() >= 4096 {
            let message = format!("{} layers are too many for this kernel; it needs Linux 6.15", self.lower.len());
            return Err(Error::unsupported(message));
        }
        CString::new(text).map_err(|_| Error::internal("options with a NUL"))
    }
}

fn attach(view: &OwnedFd, target: &Path) -> rustix::io::Result<()> {
    rustix::fs::mkdirat(CWD, target, Mode::from_raw_mode(0o700))?;
    rustix::mount::move_mount(view, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn attributes(mapping: Option<&IdMap<'_>>) -> MountAttrFlags {
    // Device nodes of an image would be made by the host's root: in a user namespace they must stay dead.
    if mapping.is_some() { MountAttrFlags::MOUNT_ATTR_NODEV } else { MountAttrFlags::empty() }
}

fn overlay_failure(errno: Errno) -> Error {
    let (kind, hint) = match errno {
        Errno::LOOP => (Kind::Invalid, "overlayfs refuses layers that lie inside each other"),
        Errno::INVAL => (Kind::Unsupported, "overlayfs refuses these layers (see the kernel log)"),
        Errno::NODEV => (Kind::Unsupported, "this kernel has no overlayfs"),
        _ => (Kind::Internal, "make an overlay"),
    };
    Error::new(kind, hint).with_source(std::io::Error::from(errno))
}

/// Does something with the file system ids of the container's root and all of this thread's capabilities.
fn as_root_of<T>(mapping: Option<&IdMap<'_>>, action: impl FnOnce() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    as_ids(mapping.map(|mapping| (mapping.root_uid, mapping.root_gid)), action)
}

/// Does something with other file system ids (user, group) and all of this thread's capabilities.
pub(crate) fn as_ids<T>(
    ids: Option<(u32, u32)>,
    action: impl FnOnce() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let Some((user, group)) = ids else { return action() };
    let capabilities = rustix::thread::capabilities(None)?;
    let group = sys::idmap::set_file_group(group);
    let user = sys::idmap::set_file_user(user);
    let result = rustix::thread::set_capabilities(None, capabilities).and_then(|()| action());
    sys::idmap::set_file_user(user);
    sys::idmap::set_file_group(group);
    result
}
