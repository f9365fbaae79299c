//! Where a restore is prepared: a mount namespace that only CRIU sees, and that goes away with it.
//!
//! ```text
//!   <state directory>/          a tmpfs, over the container's own directory
//!     root/                     the bundle's root, which CRIU wants to be a mount of its own
//!     empty/{file,directory}    a tmpfs, read-only: what masked paths show
//!     work/                     CRIU's log, unless --work-path says where
//! ```
//! The caller enters the namespace only to start CRIU. No mount of it is seen from elsewhere, and none is left whatever
//! happens.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use failure::{Context as _, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The prepared namespace, while this process is in it.
#[derive(Debug)]
pub(super) struct Stage {
    place: PathBuf,
    /// The root of the container, which tells directories from files.
    files: PathBuf,
    home: OwnedFd,
}

impl Stage {
    /// Enters a new mount namespace and prepares it on `place`.
    pub(super) fn enter(place: &Path, root: &Path) -> Result<Self> {
        let home = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context("cannot open the mount namespace")?;
        sys::namespace::unshare_mounts().context("cannot make a mount namespace")?;
        let stage = Self { place: place.to_owned(), files: root.to_owned(), home };
        stage.prepare().context("cannot prepare the mounts of a restore")?;
        Ok(stage)
    }

    fn prepare(&self) -> Result<()> {
        let down = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", down).context("keep the host's mounts apart")?;
        tmpfs(&self.place, MountFlags::empty())?;
        let below = |name: &str| self.place.join(name);
        for name in ["root", "empty", "work"] {
            std::fs::create_dir(below(name)).context("make a directory")?;
        }
        tmpfs(&below("empty"), MountFlags::empty())?;
        std::fs::create_dir(below("empty/directory")).context("make a directory")?;
        std::fs::write(below("empty/file"), "").context("make a file")?;
        let closed = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount_remount(below("empty"), closed, NO_OPTIONS).context("close what is empty")?;
        rustix::mount::mount_bind_recursive(&self.files, below("root")).context("mount the root file system")
    }

    /// The container's root.
    pub(super) fn root(&self) -> PathBuf {
        self.place.join("root")
    }

    /// What a masked path shows: of the kernel's file systems the host tells what it is, of others the container's root.
    pub(super) fn mask(&self, path: &str) -> PathBuf {
        let kernels = path.starts_with("/proc/") || path.starts_with("/sys/");
        let place = if kernels { PathBuf::from(path) } else { self.files.join(path.trim_start_matches('/')) };
        let directory = std::fs::symlink_metadata(place).is_ok_and(|found| found.is_dir());
        self.place.join(if directory { "empty/directory" } else { "empty/file" })
    }

    /// The directory for the log, for CRIU to inherit.
    pub(super) fn work(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::open(self.place.join("work"), flags, Mode::empty()).context("cannot open the working directory")
    }
}

/// Back to where the caller was, whether CRIU was started or not. The working directory is the root then.
impl Drop for Stage {
    fn drop(&mut self) {
        // It was this process's own a moment ago; nothing can be done if it cannot be entered again.
        let _ = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Mount));
    }
}

const NO_OPTIONS: &CStr = c"";

fn tmpfs(place: &Path, flags: MountFlags) -> Result<()> {
    rustix::mount::mount("tmpfs", place, "tmpfs", flags, c"mode=0700").context("mount a tmpfs")
}
