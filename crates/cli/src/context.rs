//! What every command needs to know of its call: where the data is, and how loud to be.

use engine::Home;
use engine::registries::Environment;
use failure::Result;
use std::ffi::OsString;
use std::path::PathBuf;

const ROOT: &str = "/var/lib/skep";
const RUN: &str = "/run/skep";

/// The global flags, resolved.
#[derive(Debug)]
pub(crate) struct Context {
    /// The directory of data.
    pub(crate) root: PathBuf,
    /// The directory of live things.
    pub(crate) run: PathBuf,
    /// Show the causes of failures.
    pub(crate) debug: bool,
}

impl Context {
    /// The flags over the environment over the defaults.
    pub(crate) fn new(root: Option<OsString>, run: Option<OsString>, debug: bool) -> Self {
        let place = |flag: Option<OsString>, variable: &str, default: &str| {
            let from_environment = || std::env::var_os(variable).filter(|value| !value.is_empty());
            let path = PathBuf::from(flag.or_else(from_environment).unwrap_or_else(|| default.into()));
            std::path::absolute(&path).unwrap_or(path)
        };
        Self { root: place(root, "SKEP_ROOT", ROOT), run: place(run, "SKEP_RUN", RUN), debug }
    }

    /// The engine at those places.
    ///
    /// # Errors
    /// They cannot be made or opened.
    pub(crate) fn home(&self) -> Result<Home> {
        Home::open(&self.root, &self.run)
    }

    /// What the caller's environment says about registries.
    pub(crate) fn environment() -> Environment {
        Environment::of(|name| std::env::var_os(name))
    }
}
