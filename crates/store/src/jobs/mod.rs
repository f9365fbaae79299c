//! Layers in parallel: each is stored, hashed and unpacked at once, by two or three processes of its own.
//!
//! ```text
//!             bytes                      the blob's file
//!  archive ---------->  copier  ------------------------->  inflater ---- pipe ---->  unpacker ---> layer's tree
//!  registry               |  \__ "up to here" tickets ______/                            |
//!                         '--------- progress, digest ------> parent <------------------' bytes, diff id, or an error
//! ```
//!
//! What is unpacked is read back from where the copier has written it, so the bytes that are unpacked are the bytes
//! that were hashed. Decompressing and parsing happen only in the confined processes; what decompresses and what
//! writes the tree are two, so that one large layer keeps two processors busy. Of an uncompressed layer there is no
//! inflater, and the copier's digest is also the diff id; of a compressed one the unpacker hashes what comes in. The
//! parent has one thread: it starts some layers at a time and listens to their reports.
//!
//! A task ends when all its processes have ended. Where several failed, the first in the row knows why: the others
//! only lost what they read from or wrote to. A process that fetches goes on alone, since only the digest of the whole
//! tells whether the blob or where it came from is to blame.

mod carrier;
pub(crate) mod checker;
mod compressor;
mod confine;
mod copier;
pub(crate) mod crew;
mod devices;
mod feed;
mod fetcher;
mod follow;
mod inflate;
mod inflater;
mod process;
mod report;
mod unpacker;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use failure::{Context, Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

pub(crate) use self::carrier::{Carrier, Told};
pub use self::compressor::Form;
pub(crate) use self::compressor::{Compressed, Compressing, Plain, Step};
pub(crate) use self::feed::{Fed, Feed};
pub(crate) use self::inflate::{Inflating, inflate};
pub(crate) use self::process::Child;

use self::process::Heard;
use crate::pull::{Blob, Remote};
use crate::{Digest, Limits, Progress};

/// How often somebody else's work is looked at when that is what a task waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The length of a blob that two processes decompress and unpack sooner than one.
const WORTH_TWO: u64 = 512 << 10;

/// A part of an archive, or all of it.
#[derive(Debug)]
pub(crate) enum Source {
    /// A part of a file that can be read at any place.
    Segment {
        /// The file.
        file: File,
        /// Where the part begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// A pipe, to its end.
    Stream(File),
}

/// Where a layer's bytes come from.
pub(crate) enum Origin<'a> {
    /// A file of this machine.
    Archive(Source),
    /// A registry. The target has the first bytes already.
    Registry {
        /// Who fetches.
        remote: &'a dyn Remote,
        /// What is fetched.
        blob: Blob,
        /// How much of it is there, not verified.
        present: u64,
    },
}

impl Origin<'_> {
    /// How long the blob is, where that is known.
    fn length(&self) -> Option<u64> {
        match self {
            Self::Archive(Source::Segment { length, .. }) => Some(*length),
            Self::Archive(Source::Stream(_)) => None,
            Self::Registry { blob, .. } => Some(blob.size),
        }
    }
}

/// A layer to bring in.
pub(crate) struct Task<'a> {
    /// What the caller calls it.
    pub(crate) index: usize,
    /// What progress is told under.
    pub(crate) label: Digest,
    /// What messages call it.
    pub(crate) name: String,
    /// The blob's bytes.
    pub(crate) origin: Origin<'a>,
    /// The file to copy them to; none when the source is a verified blob.
    pub(crate) copy_to: Option<File>,
    /// The directory to unpack to; none when the layer is unpacked.
    pub(crate) tree: Option<OwnedFd>,
}

/// What came of a task.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What was copied.
    pub(crate) copied: Option<Copied>,
    /// What was unpacked.
    pub(crate) unpacked: Option<UnpackedLayer>,
    /// Why one of the two is missing.
    pub(crate) failure: Option<Error>,
}

/// What a copier reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// The digest of the bytes.
    pub(crate) digest: Digest,
    /// How many they were.
    pub(crate) length: u64,
}

/// What an unpacker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnpackedLayer {
    /// The digest of the uncompressed bytes; none when the blob is not compressed, and so has that digest itself.
    pub(crate) diff_id: Option<Digest>,
    /// The bytes of all files.
    pub(crate) bytes: u64,
    /// The length of the uncompressed archive.
    pub(crate) length: u64,
    /// Directories to mark as opaque.
    pub(crate) opaque: Vec<Vec<u8>>,
    /// How the blob is compressed.
    pub(crate) compression: crate::Compression,
}

/// Who has tasks to do, and wants to know what comes of them.
pub(crate) trait Work<'a> {
    /// Another task; asked for when there is room for one.
    fn next(&mut self) -> Result<Next<'a>>;
    /// What to tell about how far tasks are.
    fn progress(&mut self) -> &mut dyn Progress;
    /// A task has ended.
    fn finished(&mut self, index: usize, label: &Digest, outcome: Outcome) -> Result<()>;
}

/// The answer to [`Work::next`].
pub(crate) enum Next<'a> {
    /// This one.
    Task(Task<'a>),
    /// None now: others do what is left, or hold it.
    Later,
    /// None any more, unless a task that ends brings one.
    Nothing,
}

/// Does all tasks; `lease` is kept open by their processes. `finished` is called for each as it ends.
///
/// # Errors
/// The first failure; all processes are gone then.
pub(crate) fn run<'a>(
    limits: &Limits,
    lease: BorrowedFd<'_>,
    tasks: impl Iterator<Item = Result<Task<'a>>>,
    progress: &mut dyn Progress,
    finished: impl FnMut(usize, Outcome) -> Result<()>,
) -> Result<()> {
    let most = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    work(limits, lease, most, &mut Row { tasks, progress, finished })
}

/// Tasks that are known one after the other, none of which may fail.
struct Row<'p, I, F> {
    tasks: I,
    progress: &'p mut dyn Progress,
    finished: F,
}

impl<'a, I, F> Work<'a> for Row<'_, I, F>
where
    I: Iterator<Item = Result<Task<'a>>>,
    F: FnMut(usize, Outcome) -> Result<()>,
{
    fn next(&mut self) -> Result<Next<'a>> {
        Ok(self.tasks.next().transpose()?.map_or(Next::Nothing, Next::Task))
    }

    fn progress(&mut self) -> &mut dyn Progress {
        self.progress
    }

    fn finished(&mut self, index: usize, label: &Digest, outcome: Outcome) -> Result<()> {
        if let Some(error) = outcome.failure {
            return Err(error);
        }
        (self.finished)(index, outcome)?;
        self.progress.finish(label);
        Ok(())
    }
}

/// Does all work there is, as many as `most` tasks at a time.
///
/// # Errors
/// What `work` says; and at once when the disk is full or a registry is away. All processes are gone then.
pub(crate) fn work<'a>(limits: &Limits, lease: BorrowedFd<'_>, most: usize, work: &mut dyn Work<'a>) -> Result<()> {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let mut later = false;
        while running.len() < most {
            match work.next()? {
                Next::Task(task) => running.push(start(limits, lease, task)?),
                Next::Later => {
                    later = true;
                    break;
                }
                Next::Nothing => break,
            }
        }
        if running.is_empty() && !later {
            return Ok(());
        }
        listen(&mut running, later.then_some(LOOK_AGAIN), work.progress())?;
        while let Some(ended) = running.iter().position(|task| task.parts.is_empty()) {
            let task = running.swap_remove(ended);
            work.finished(task.index, &task.label, task.outcome)?;
        }
    }
}

/// A task at work.
struct Running {
    index: usize,
    label: Digest,
    name: String,
    /// Its processes that have not ended, in the order in which bytes pass them.
    parts: Vec<(Part, Child)>,
    /// Who failed first of those in front.
    failed: Option<Part>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Copier,
    Inflater,
    Unpacker,
}

/// Starts the processes of a task. A child that is dropped is killed, so an error in between leaves nothing.
fn start(limits: &Limits, lease: BorrowedFd<'_>, task: Task<'_>) -> Result<Running> {
    let (index, label, outcome) = (task.index, task.label, Outcome::default());
    let mut running = Running { index, label, name: task.name, parts: Vec::new(), failed: None, outcome };
    let is_small = task.origin.length().is_some_and(|length| length < WORTH_TWO);
    match (task.copy_to, task.tree) {
        (Some(target), Some(tree)) => {
            let (sender, receiver) = follow::channel()?;
            let blob = follow::Blob { file: follow::reopen(&target)?, offset: 0, known: 0, tickets: Some(receiver) };
            running.unpack(blob, is_small, tree, limits, lease)?;
            let work = copier::Work { origin: task.origin, target, tickets: Some(sender), limits: *limits };
            running.parts.insert(0, (Part::Copier, copier::start(work, lease)?));
        }
        (Some(target), None) => {
            let work = copier::Work { origin: task.origin, target, tickets: None, limits: *limits };
            running.parts.push((Part::Copier, copier::start(work, lease)?));
        }
        (None, Some(tree)) => {
            let Origin::Archive(Source::Segment { file, offset, length }) = task.origin else {
                return Err(Error::internal("a pipe cannot be unpacked without being stored"));
            };
            let blob = follow::Blob { file, offset, known: length, tickets: None };
            running.unpack(blob, is_small, tree, limits, lease)?;
        }
        (None, None) => {}
    }
    Ok(running)
}

/// Waits until at least one process says something or the time is over, and takes all that is there.
fn listen(running: &mut [Running], most: Option<Duration>, progress: &mut dyn Progress) -> Result<()> {
    let children: Vec<&Child> = running.iter().flat_map(|task| &task.parts).map(|(_, child)| child).collect();
    if children.is_empty() && most.is_none() {
        return Ok(());
    }
    let mut waiting: Vec<PollFd<'_>> =
        children.iter().map(|child| PollFd::from_borrowed_fd(child.report.as_fd(), PollFlags::IN)).collect();
    let most = most.map(rustix::event::Timespec::try_from).transpose().unwrap_or_default();
    loop {
        match poll(&mut waiting, most.as_ref()) {
            Err(Errno::INTR) => {}
            other => break other.map(drop).context("wait for the unpacking processes")?,
        }
    }
    let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
    let mut ready = ready.into_iter();
    for task in running {
        let said: Vec<Part> = task.parts.iter().filter(|_| ready.next() == Some(true)).map(|(part, _)| *part).collect();
        for part in said {
            task.hear(part, progress)?;
        }
    }
    Ok(())
}

impl Running {
    /// Starts what decompresses and what writes the tree: for a small layer, one process.
    fn unpack(
        &mut self,
        blob: follow::Blob,
        is_small: bool,
        tree: OwnedFd,
        limits: &Limits,
        lease: BorrowedFd<'_>,
    ) -> Result<()> {
        let mut inflated = None;
        if !is_small {
            let (pipe, child) = inflater::start(blob.try_clone()?, lease)?;
            self.parts.push((Part::Inflater, child));
            inflated = Some(pipe);
        }
        let work = unpacker::Work { blob, inflated, tree, limits: *limits };
        self.parts.push((Part::Unpacker, unpacker::start(work, lease)?));
        Ok(())
    }

    fn hear(&mut self, part: Part, progress: &mut dyn Progress) -> Result<()> {
        let Some(at) = self.parts.iter().position(|(one, _)| *one == part) else { return Ok(()) };
        let named = || self.name.clone();
        match self.parts[at].1.hear().with_context(named)? {
            Heard::Nothing | Heard::Said(_) => return Ok(()),
            Heard::Progress(done) => {
                progress.advance(&self.label, done);
                return Ok(());
            }
            Heard::Done(payload) => match part {
                Part::Copier => {
                    self.outcome.copied = Some(copier::read_report(&payload)?);
                    progress.stored(&self.label);
                }
                Part::Inflater => {}
                Part::Unpacker => self.outcome.unpacked = Some(unpacker::read_report(&payload)?),
            },
            Heard::Failed(error) if error.kind() == Kind::Unavailable => return Err(error).with_context(named),
            Heard::Failed(error) => {
                if self.failed.is_none_or(|before| part < before) {
                    self.failed = Some(part);
                    self.outcome.failure = Err::<(), _>(error).with_context(named).err();
                }
            }
            Heard::Abandoned(error) => {
                if self.outcome.failure.is_none() {
                    self.outcome.failure = Err::<(), _>(error).with_context(named).err();
                }
            }
        }
        self.parts.remove(at);
        Ok(())
    }
}
