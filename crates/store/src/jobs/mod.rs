//! Layers in parallel: each is copied, hashed and unpacked at once, by two processes of its own.
//!
//! ```text
//!             bytes                      blobs file of the staging
//!  archive ---------->  copier  ------------------------------------>  unpacker (confined) ---> layer's tree
//!                          |  \__ "up to here" tickets ________________/      |
//!                          '--------- progress, digest -------> parent <------' bytes, diff id, or an error
//! ```
//!
//! The unpacker reads what the copier has written, so the bytes that are unpacked are the bytes that were hashed.
//! Decompressing and parsing happen only in the unpacker. Of an uncompressed layer the copier's digest is also
//! the diff id; of a compressed one the unpacker hashes what comes out. The parent has one thread: it starts as many
//! layers as there are processors, listens to their reports, and kills all at the first failure.

mod carrier;
pub(crate) mod checker;
mod compressor;
mod confine;
mod copier;
pub(crate) mod crew;
mod feed;
mod follow;
mod inflate;
mod process;
mod report;
mod unpacker;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use failure::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

pub(crate) use self::carrier::{Carrier, Told};
pub use self::compressor::Form;
pub(crate) use self::compressor::{Compressed, Compressing, Plain, Step};
pub(crate) use self::feed::Feed;
pub(crate) use self::inflate::{Inflating, inflate};
pub(crate) use self::process::Child;

use self::process::Heard;
use crate::{Digest, Limits, Progress};

/// Where a layer's bytes come from.
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

/// A layer to bring in.
#[derive(Debug)]
pub(crate) struct Task {
    /// What the caller calls it.
    pub(crate) index: usize,
    /// What progress is told under.
    pub(crate) label: Digest,
    /// What messages call it.
    pub(crate) name: String,
    /// The blob's bytes.
    pub(crate) source: Source,
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

/// A task at work.
struct Running {
    index: usize,
    label: Digest,
    name: String,
    copier: Option<Child>,
    unpacker: Option<Child>,
    outcome: Outcome,
}

/// Does all tasks; `lease` is kept open by their processes. `finished` is called for each as it ends.
///
/// # Errors
/// The first failure; all processes are gone then.
pub(crate) fn run(
    limits: &Limits,
    lease: BorrowedFd<'_>,
    mut tasks: impl Iterator<Item = Result<Task>>,
    progress: &mut dyn Progress,
    mut finished: impl FnMut(usize, Outcome) -> Result<()>,
) -> Result<()> {
    let most = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let mut running: Vec<Running> = Vec::new();
    let mut more = true;
    loop {
        while more && running.len() < most {
            match tasks.next() {
                Some(task) => running.push(start(limits, lease, task?)?),
                None => more = false,
            }
        }
        if running.is_empty() {
            return Ok(());
        }
        listen(&mut running, progress)?;
        while let Some(ended) = running.iter().position(|task| task.copier.is_none() && task.unpacker.is_none()) {
            let task = running.swap_remove(ended);
            finished(task.index, task.outcome)?;
            progress.finish(&task.label);
        }
    }
}

/// Starts the processes of a task. A child that is dropped is killed, so an error in between leaves nothing.
fn start(limits: &Limits, lease: BorrowedFd<'_>, task: Task) -> Result<Running> {
    let (index, label, outcome) = (task.index, task.label, Outcome::default());
    let mut running = Running { index, label, name: task.name, copier: None, unpacker: None, outcome };
    match (task.copy_to, task.tree) {
        (Some(target), Some(tree)) => {
            let (sender, receiver) = follow::channel()?;
            let blob = follow::reopen(&target)?;
            let work = unpacker::Work { blob, offset: 0, known: 0, tickets: Some(receiver), tree, limits: *limits };
            running.unpacker = Some(unpacker::start(work, lease)?);
            let work = copier::Work { source: task.source, target, tickets: Some(sender), limits: *limits };
            running.copier = Some(copier::start(work, lease)?);
        }
        (Some(target), None) => {
            let work = copier::Work { source: task.source, target, tickets: None, limits: *limits };
            running.copier = Some(copier::start(work, lease)?);
        }
        (None, Some(tree)) => {
            let Source::Segment { file, offset, length } = task.source else {
                return Err(Error::internal("a pipe cannot be unpacked without being stored"));
            };
            let work = unpacker::Work { blob: file, offset, known: length, tickets: None, tree, limits: *limits };
            running.unpacker = Some(unpacker::start(work, lease)?);
        }
        (None, None) => {}
    }
    Ok(running)
}

/// Waits until at least one process says something, and takes all that is there.
fn listen(running: &mut [Running], progress: &mut dyn Progress) -> Result<()> {
    let children: Vec<&Child> = running.iter().flat_map(|task| [&task.copier, &task.unpacker]).flatten().collect();
    if children.is_empty() {
        return Ok(());
    }
    let mut waiting: Vec<PollFd<'_>> =
        children.iter().map(|child| PollFd::from_borrowed_fd(child.report.as_fd(), PollFlags::IN)).collect();
    loop {
        match poll(&mut waiting, None) {
            Err(Errno::INTR) => {}
            other => break other.map(drop).context("wait for the unpacking processes")?,
        }
    }
    let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
    let mut ready = ready.into_iter();
    for task in running {
        for part in [Part::Copier, Part::Unpacker] {
            if task.child(part).is_some() && ready.next() == Some(true) {
                let name = task.name.clone();
                task.hear(part, progress).context(name)?;
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Part {
    Copier,
    Unpacker,
}

impl Running {
    fn child(&mut self, part: Part) -> &mut Option<Child> {
        match part {
            Part::Copier => &mut self.copier,
            Part::Unpacker => &mut self.unpacker,
        }
    }

    fn hear(&mut self, part: Part, progress: &mut dyn Progress) -> Result<()> {
        let label = self.label;
        let Some(child) = self.child(part) else { return Ok(()) };
        match child.hear()? {
            Heard::Nothing | Heard::Said(_) => Ok(()),
            Heard::Progress(done) => {
                progress.advance(&label, done);
                Ok(())
            }
            Heard::Done(payload) => {
                self.child(part).take();
                match part {
                    Part::Copier => self.outcome.copied = Some(copier::read_report(&payload)?),
                    Part::Unpacker => self.outcome.unpacked = Some(unpacker::read_report(&payload)?),
                }
                Ok(())
            }
            Heard::Failed(error) => Err(error),
            Heard::Abandoned(error) => Err(self.reason_of_other(part, error)),
        }
    }

    /// One of the two ended because the other did: the other knows why. It ends soon, too.
    fn reason_of_other(&mut self, part: Part, fallback: Error) -> Error {
        let other = match part {
            Part::Copier => Part::Unpacker,
            Part::Unpacker => Part::Copier,
        };
        let Some(child) = self.child(other) else { return fallback };
        loop {
            match child.hear() {
                Ok(Heard::Nothing | Heard::Progress(_) | Heard::Said(_)) => {}
                Ok(Heard::Failed(error)) | Err(error) => return error,
                Ok(Heard::Done(_) | Heard::Abandoned(_)) => return fallback,
            }
        }
    }
}
