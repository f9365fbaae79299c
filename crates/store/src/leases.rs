//! What a running or cut-off command needs of the store although no name refers to it: `leases/<random>/needs`.
//!
//! ```text
//! leases/<random>/needs       blob sha256:<hex>       one line each; written whole, by rename, before the owner looks
//!                             layer sha256:<hex>      what is there already
//! leases/<random>/.needs.new  what a killed writer leaves of it
//! ```
//!
//! The garbage collection keeps what a lease needs while its owner lives (its lock is held), and for some time after a
//! cut-off one ([`RESUME_FOR`], a day), so that the same command goes on where that one was. The needs of a dead lease are all that is kept of it:
//! what it staged nobody can use. It goes as soon as a new lease needs the same, or when somebody prunes.
//!
//! Needs are written under the store's shared lock: a collection sees them, or is over before their owner looks for
//! what is there.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use failure::{Context, Error, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{ChainId, Digest, Staging, Store};

/// How long what a cut-off command needed is kept for the next one, unless it is configured otherwise.
pub const RESUME_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const NEEDS: &str = "needs";

/// A thing of the store that a lease keeps, whether it is there yet or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// A blob.
    Blob(Digest),
    /// An unpacked layer.
    Layer(ChainId),
}

/// A lease as its directory has it.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Its lock file.
    pub(crate) lock_path: PathBuf,
    /// Its directory.
    pub(crate) directory: PathBuf,
    /// Held by us: its owner is gone.
    pub(crate) dead: Option<File>,
}

impl Need {
    fn line(self) -> String {
        match self {
            Self::Blob(digest) => format!("blob {digest}\n"),
            Self::Layer(chain) => format!("layer {chain}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("blob", digest) => Digest::parse(digest).ok().map(Self::Blob),
            ("layer", digest) => Digest::parse(digest).ok().map(|digest| Self::Layer(ChainId(digest))),
            _ => None,
        }
    }
}

impl Staging<'_> {
    /// Says what this command needs, before it looks what of it is there: from now on none of it is collected.
    /// Cut-off commands that needed nothing else are forgotten, since this one has taken their place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn need(&self, needs: &[Need]) -> Result<()> {
        let _lock = self.store().lock_shared()?;
        let failed = || format!("write what is needed into `{}`", self.directory().display());
        let temporary = self.directory().join(".needs.new");
        let text: String = needs.iter().map(|need| need.line()).collect();
        fs::write(&temporary, text).with_context(failed)?;
        fs::rename(&temporary, self.directory().join(NEEDS)).with_context(failed)?;
        let ours: HashSet<Need> = needs.iter().copied().collect();
        for lease in self.store().leases()? {
            let covered = || lease.needs().is_ok_and(|needs| needs.iter().all(|need| ours.contains(need)));
            if lease.dead.is_some() && lease.has_needs() && covered() {
                lease.delete()?;
            }
        }
        Ok(())
    }
}

impl Lease {
    /// What its owner said that it needs; nothing if it did not say so yet.
    pub(crate) fn needs(&self) -> Result<Vec<Need>> {
        let path = self.directory.join(NEEDS);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("read `{}`", path.display()))?,
        };
        let damaged = || Error::invalid(format!("`{}` is damaged; `skep system check --repair`", path.display()));
        text.lines().map(|line| Need::parse(line).ok_or_else(damaged)).collect()
    }

    fn has_needs(&self) -> bool {
        self.directory.join(NEEDS).exists()
    }

    /// Whether it keeps what it needs: its owner lives, or was cut off less than `resume_for` ago.
    pub(crate) fn counts(&self, resume_for: Duration) -> bool {
        let young = || {
            let changed = fs::symlink_metadata(self.directory.join(NEEDS)).and_then(|status| status.modified());
            changed.is_ok_and(|changed| is_younger(changed, resume_for))
        };
        self.dead.is_none() || young()
    }

    /// Deletes what a dead owner has left.
    pub(crate) fn delete(&self) -> Result<()> {
        remove_tree(&self.directory).with_context(|| format!("delete `{}`", self.directory.display()))?;
        match fs::remove_file(&self.lock_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("delete `{}`", self.lock_path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Deletes all that a dead owner staged; what it needed stays known.
    fn strip(&self) -> Result<()> {
        let failed = || format!("delete what is left in `{}`", self.directory.display());
        for entry in fs::read_dir(&self.directory).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if entry.file_name() == NEEDS {
                continue;
            }
            match entry.file_type().with_context(failed)?.is_dir() {
                true => remove_tree(&entry.path()).with_context(failed)?,
                false => fs::remove_file(entry.path()).with_context(failed)?,
            }
        }
        Ok(())
    }
}

impl Store {
    /// All leases; those of which the owner is gone are locked by us until they are dropped.
    pub(crate) fn leases(&self) -> Result<Vec<Lease>> {
        let directory = self.root().join("leases");
        let failed = || format!("list `{}`", directory.display());
        let mut leases = Vec::new();
        for entry in fs::read_dir(&directory).with_context(failed)? {
            let path = entry.with_context(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "lock") {
                leases.extend(look_at(path)?);
            }
        }
        Ok(leases)
    }

    /// What leases keep: roots of the garbage collection, to be asked for under the store's exclusive lock.
    ///
    /// # Errors
    /// A lease cannot be read: nothing may be collected then.
    pub(crate) fn needs_of_leases(&self, resume_for: Duration) -> Result<HashSet<Need>> {
        let mut needs = HashSet::new();
        for lease in self.leases()?.iter().filter(|lease| lease.counts(resume_for)) {
            needs.extend(lease.needs()?);
        }
        Ok(needs)
    }

    /// Deletes what commands that were killed have left, but for what they needed: that ends with a collection. Cheap
    /// when there is nothing: one directory is listed.
    ///
    /// # Errors
    /// Something cannot be deleted; the rest was.
    pub fn sweep(&self) -> Result<()> {
        self.sweep_leases(Duration::MAX)
    }

    /// As [`Store::sweep`]; needs are kept for this long.
    pub(crate) fn sweep_leases(&self, resume_for: Duration) -> Result<()> {
        let mut outcome = Ok(());
        for lease in self.leases()?.into_iter().filter(|lease| lease.dead.is_some()) {
            let swept = if lease.counts(resume_for) { lease.strip() } else { lease.delete() };
            outcome = outcome.and(swept);
        }
        outcome
    }
}

/// A lease by its lock file; none if it went meanwhile.
fn look_at(lock_path: PathBuf) -> Result<Option<Lease>> {
    let lock = match File::open(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open `{}`", lock_path.display())),
    };
    let dead = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok(Some(Lease { directory: lock_path.with_extension(""), lock_path, dead: dead.then_some(lock) }))
}

/// Whether something changed less than `age` ago; what changes in the future is young.
pub(crate) fn is_younger(changed: SystemTime, age: Duration) -> bool {
    SystemTime::now().duration_since(changed).is_ok_and(|elapsed| elapsed < age)
        || (changed > SystemTime::now() && age > Duration::ZERO)
}

pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
