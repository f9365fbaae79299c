//! `system check`: proof that every byte and every record of the store is owned and intact.
//!
//! ```text
//! survey    under the shared lock: every file has a place in the layout, every record parses, everything that a name, a
//!           container or a lease refers to is there                                                      [`survey()`]
//! contents  without a lock, by forked processes: blobs are hashed; layers' trees are compared with the
//!           archives in their blobs                                                                      [`contents`]
//! repair    layers are unpacked again from their blobs; what nothing owns goes                           [`repair()`]
//! ```
//!
//! A *finding* is something that is wrong. A *leftover* is something that a command which was killed or ended early has
//! left, and that the layout has a place for: the next collection takes it. A store with leftovers is intact.

mod contents;
mod model;
mod repair;
mod survey;
mod tree;

use std::path::{Path, PathBuf};

use failure::Result;

use crate::collect::InUse;
use crate::{ChainId, Digest, Layer, Store};

pub use self::repair::{Repaired, repair};
pub(crate) use self::tree::{Compared, Tree, compare};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: `blob sha256:...`, `name docker.io/library/debian:12`.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
    /// What a repair does about it.
    pub fix: Fix,
}

/// What can be done about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A person has to decide.
    Nothing,
    /// The layer is unpacked again from this blob.
    Unpack(ChainId, Box<Layer>),
    /// The blob is deleted, so that the next pull fetches it.
    Fetch(Digest),
    /// The file `oci-layout` is written anew.
    Layout,
    /// index.json is made anew from the manifests that are there; their names are lost.
    Names,
    /// The catalog of images is forgotten, and made anew by whoever lists them.
    Catalog,
    /// The lease with this lock file is deleted if its owner is gone.
    Lease(PathBuf),
}

/// Something that the next collection takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What it is: `layer sha256:...`, `trash/...`.
    pub object: String,
    /// Its bytes, as far as they are known.
    pub bytes: u64,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What waits for the next collection.
    pub leftovers: Vec<Leftover>,
    /// How many names there are.
    pub names: u64,
    /// How many blobs there are.
    pub blobs: u64,
    /// How many layers there are.
    pub layers: u64,
    /// The bytes of blobs that were hashed or compared.
    pub bytes: u64,
    /// Layers that no blob is left to compare with: only their presence is known.
    pub unproven: u64,
}

/// What to look at.
#[derive(Debug)]
pub struct Options<'a> {
    /// Records only: no blob and no layer is read.
    pub quick: bool,
    /// Names at the store's root that belong to others, who look at them themselves.
    pub foreign: &'a [&'a str],
}

/// Looks at everything. `in_use` is asked under the store's lock. `progress` hears how many bytes of how many are done.
///
/// # Errors
/// The system fails; what is wrong with the store is no error but a finding.
pub fn check(
    store: &Store,
    options: &Options<'_>,
    in_use: impl FnOnce() -> Result<InUse>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report> {
    let lock = store.lock_shared()?;
    let survey = survey::survey(store, options.foreign, &in_use()?)?;
    drop(lock);
    let mut report = survey.report.clone();
    if !options.quick {
        contents::prove(store, &survey, &mut report, progress)?;
    }
    report.findings.sort_by(|one, other| one.object.cmp(&other.object));
    Ok(report)
}

impl Report {
    fn find(&mut self, object: impl Into<String>, problem: impl Into<String>, remedy: &str, fix: Fix) {
        let (object, problem) = (object.into(), problem.into());
        self.findings.push(Finding { object, problem, remedy: remedy.to_owned(), fix });
    }

    fn stranger(&mut self, path: &Path) {
        let object = format!("file {}", path.display());
        self.find(object, "is not part of the store", "move it away if it is yours, or delete it", Fix::Nothing);
    }

    fn leave(&mut self, object: impl Into<String>, bytes: u64) {
        self.leftovers.push(Leftover { object: object.into(), bytes });
    }
}
