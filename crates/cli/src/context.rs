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
        let home = Home::open(&self.root, &self.run)?;
        Ok(match std::env::var_os("SKEP_CONFIG").filter(|value| !value.is_empty()) {
            Some(directory) => home.with_settings(&PathBuf::from(directory).join("skep.toml")),
            None => home,
        })
    }

    /// What follows a command that added images, after all was said: garbage may go.
    pub(crate) fn added_images(home: &Home) {
        if let Err(error) = engine::upkeep::after_adding(home) {
            crate::output::warn(&format!("garbage is not collected: {error}"));
        }
    }

    /// What the caller's environment says about registries.
    pub(crate) fn environment() -> Environment {
        Environment::of(|name| std::env::var_os(name))
    }
}
