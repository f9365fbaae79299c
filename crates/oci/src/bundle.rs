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
    directory: OwnedFd,
    /// What it asks for.
    pub(crate) spec: Spec,
    /// What of it could not be understood, and may be left out.
    pub(crate) warnings: Vec<String>,
    /// The same, as it is written.
    pub(crate) text: Vec<u8>,
}

impl Bundle {
    /// Reads the specification. Nothing of this process changes, so that it can still be executed anew.
    pub(crate) fn read(path: Option<&str>) -> Result<Self> {
        let given = Path::new(path.filter(|path| !path.is_empty()).unwrap_or("."));
        let directory = rustix::fs::open(given, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("cannot open the bundle `{}`", given.display()))?;
        let path = std::path::absolute(given).context("cannot tell the path of the bundle")?;
        let file =
            open_specification(&directory).with_context(|| format!("cannot open `{}/config.json`", path.display()))?;
        let text = read_whole(file, "config.json")?;
        let (spec, warnings) = parse_telling(&text)?;
        Ok(Self { path, directory, spec, warnings, text })
    }

    /// Changes into the directory.
    pub(crate) fn enter(&self) -> Result<()> {
        rustix::process::fchdir(&self.directory)
            .with_context(|| format!("cannot change to the bundle `{}`", self.path.display()))
    }

    /// The absolute path of the root.
    pub(crate) fn root(&self) -> Result<PathBuf> {
        let root = self.spec.root().as_ref().ok_or_else(|| Error::invalid("config.json has no `root`"))?;
        Ok(self.path.join(root.path()))
    }
}

/// A FIFO would keep the runtime waiting for ever, and a device might do anything when it is opened and read.
fn open_specification(bundle: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(bundle, "config.json", flags, Mode::empty())?;
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
