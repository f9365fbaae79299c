//! The two directories that hold everything: data that stays, and what lives with the running kernel.
//!
//! ```text
//! <root>/  (0700)                                    <run>/  (0700)
//!   containers/<id>/config.json   what it is           <id>/   its monitor's socket and lock
//!                   state.json    how it fares
//!                   hosts, resolv.conf, hostname
//!                   log/container.log
//!                   layer/{upper,work}         flock of layer/: start, stop, rename, rm (one at a time)
//!   names/<name> -> <id>          symlink(2) is the claim
//!   ids/<n>      -> <id>          65,536 user ids from BASE + n * 65,536
//!   volumes/<name>/_data
//!   trash/                        renamed here, deleted afterwards
//!   cache/seccomp/                compiled filters by digest
//!   oci-layout, index.json, blobs/, layers/, leases/     the store's own
//! ```
//! Opening makes what is missing and touches little else: two system calls where all is there.

use std::cell::OnceCell;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use runtime::ContainerId;

use crate::settings::Settings;

/// The directories below the root that the engine owns.
const DIRECTORIES: [&str; 6] = ["names", "ids", "volumes", "trash", "cache/seccomp", "containers"];

/// Where the settings are, unless the caller says otherwise.
const SETTINGS: &str = "/etc/skep/skep.toml";

/// Where the engine keeps its data. Cheap to open; one for each command.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    run: PathBuf,
    settings: PathBuf,
    store: OnceCell<store::Store>,
}

impl Home {
    /// Opens the two directories, and makes them if they are missing.
    ///
    /// # Errors
    /// A path that is not absolute, or a place that cannot be written.
    pub fn open(root: &Path, run: &Path) -> Result<Self> {
        for path in [root, run] {
            if !path.is_absolute() {
                return Err(Error::invalid(format!("`{}` is not an absolute path; begin it with `/`", path.display())));
            }
        }
        // `containers` is made last, so that its presence says that the rest is there.
        if rustix::fs::stat(root.join("containers")).is_err() {
            make(root)?;
            for name in DIRECTORIES {
                make(&root.join(name))?;
            }
        }
        if rustix::fs::stat(run).is_err() {
            make(run)?;
        }
        Ok(Self { root: root.into(), run: run.into(), settings: SETTINGS.into(), store: OnceCell::new() })
    }

    /// The same, with its settings in another file than `/etc/skep/skep.toml`.
    #[must_use]
    pub fn with_settings(mut self, path: &Path) -> Self {
        self.settings = path.into();
        self
    }

    /// What it does without being asked.
    ///
    /// # Errors
    /// The file says something that is not understood.
    pub fn settings(&self) -> Result<Settings> {
        Settings::read(&self.settings)
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

    /// The same places for another process, which shares no descriptor with this one.
    pub(crate) fn reopened(&self) -> Self {
        let (root, run, settings) = (self.root.clone(), self.run.clone(), self.settings.clone());
        Self { root, run, settings, store: OnceCell::new() }
    }

    /// The directory of data.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of live things.
    pub fn run(&self) -> &Path {
        &self.run
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The directory of a container.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.entry("containers", id.as_ref())
    }

    /// The directory that a container is made in.
    pub(crate) fn unfinished(&self, id: &str) -> PathBuf {
        self.entry("containers", &format!("{}{id}", crate::recover::UNFINISHED))
    }

    /// The directory of a container's live things.
    pub fn container_run(&self, id: &ContainerId) -> PathBuf {
        self.run.join(id.as_ref())
    }

    pub(crate) fn name(&self, name: &str) -> PathBuf {
        self.entry("names", name)
    }

    pub(crate) fn range(&self, range: u32) -> PathBuf {
        self.entry("ids", &range.to_string())
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn seccomp_cache(&self) -> PathBuf {
        self.root.join("cache/seccomp")
    }

    fn entry(&self, directory: &str, name: &str) -> PathBuf {
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + directory.len() + name.len() + 2);
        path.push(&self.root);
        path.push(directory);
        path.push(name);
        path
    }
}

fn make(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make `{}`; run as root, or choose another place", path.display()))
}
