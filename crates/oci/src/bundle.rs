//! A bundle: a directory with `config.json` and, usually, the root file system.
//!
//! The process changes into it, because relative paths of the specification (the root, sources of binds) start there.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::directory::read_whole;

/// A bundle, read.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// What it asks for.
    pub(crate) spec: Spec,
    /// What of it could not be understood, and may be left out.
    pub(crate) warnings: Vec<String>,
    /// The same, as it is written.
    pub(crate) text: Vec<u8>,
}

impl Bundle {
    /// Changes into the directory and reads the specification.
    pub(crate) fn enter(path: Option<&str>) -> Result<Self> {
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            rustix::process::chdir(path).with_context(|| format!("cannot change to the bundle `{path}`"))?;
        }
        let path = match path.map(Path::new) {
            // A path without links and dots needs no look at where we are now.
            Some(path) if path.is_absolute() => path.to_owned(),
            _ => std::env::current_dir().context("cannot tell the path of the bundle")?,
        };
        let file = open_specification().with_context(|| format!("cannot open `{}/config.json`", path.display()))?;
        let text = read_whole(file, "config.json")?;
        let (spec, warnings) = parse_telling(&text)?;
        Ok(Self { path, spec, warnings, text })
    }

    /// The absolute path of the root.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        let root = self.spec.root().as_ref().ok_or_else(|| Error::invalid("config.json has no `root`"))?;
        Ok(self.path.join(root.path()))
    }
}

/// A FIFO would keep the runtime waiting for ever, and a device might do anything when it is opened and read.
fn open_specification() -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open("config.json", flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(Errno::INVAL),
    }
}

/// Reads a specification again: what is to be said of it was said.
pub(crate) fn parse(text: &[u8]) -> Result<Spec> {
    parse_telling(text).map(|(spec, _)| spec)
}

/// Reads a specification of a version that this program knows, and says what is left out of it.
fn parse_telling(text: &[u8]) -> Result<(Spec, Vec<String>)> {
    let (spec, warnings) = runtime::specification::read(text)?;
    match spec.version().split('.').next() {
        Some("1") => Ok((spec, warnings)),
        _ => Err(Error::unsupported(format!(
            "config.json is of specification version `{}`; this runtime knows version 1",
            spec.version()
        ))),
    }
}

/// Whether a specification asks for a namespace of its own.
pub(crate) fn has_own(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    let own = |namespace: &oci_spec::runtime::LinuxNamespace| namespace.typ() == kind && namespace.path().is_none();
    namespaces.unwrap_or_default().iter().any(own)
}
