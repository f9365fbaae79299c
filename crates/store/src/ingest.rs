//! Images on their way in: which of their layers have work to do, and what is checked when it is done.
//!
//! The forms (docker-archive, OCI) say what an image is made of as an [`Incoming`]; here its layers are stored and
//! unpacked, a layer that several images share once, one that the store has not at all.

use std::collections::BTreeSet;
use std::path::PathBuf;

use failure::{Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::contents::Contents;
use crate::documents::layer_type;
use crate::jobs::{self, Outcome, Task};
use crate::{ChainId, Compression, Digest, Layer, Progress, StagedBlob, Staging};

/// A layer of an image that comes in.
#[derive(Clone, Debug)]
pub(crate) struct IncomingLayer {
    /// Where the archive has it.
    pub(crate) path: String,
    /// The blob's digest, where it is known.
    pub(crate) digest: Option<Digest>,
    /// The digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// The unpacked layer.
    pub(crate) chain: ChainId,
}

/// What an archive's documents say of its layers.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Those that have to come in.
    pub(crate) needed: Vec<IncomingLayer>,
    /// The paths of all, also of those that are here.
    pub(crate) paths: BTreeSet<String>,
}

/// A layer in hand: what its task needs until it is done.
struct Pending {
    blob: Option<StagedBlob>,
    /// The blob's digest, when there is no copying.
    known: Option<Digest>,
    length: u64,
    directory: Option<PathBuf>,
}

/// Stores and unpacks layers; what became of each as a blob, in the same order.
pub(crate) fn ingest(
    staging: &mut Staging<'_>,
    contents: &Contents,
    layers: &[IncomingLayer],
    progress: &mut dyn Progress,
) -> Result<Vec<Layer>> {
    let mut results: Vec<Option<Layer>> = vec![None; layers.len()];
    let limits = *staging.store().limits();
    let lease = staging.lease().try_clone_to_owned().context("copy a descriptor")?;
    let plan = Plan::new(staging, layers);
    for index in plan.present {
        // What was stored while it streamed by was told of then.
        if !staging.stages_layer(&layers[index].chain) {
            progress.present(&layers[index].diff_id);
        }
    }
    let work = std::cell::RefCell::new((staging, std::collections::BTreeMap::new(), progress));
    let mut forward = Forward { work: &work };
    let tasks = plan.work.into_iter().map(|(index, unpack)| {
        let mut work = work.borrow_mut();
        let (task, pending) = prepare(work.0, contents, &layers[index], index, unpack)?;
        work.2.begin(&layers[index].diff_id, pending.length);
        work.1.insert(index, pending);
        Ok(task)
    });
    jobs::run(&limits, std::os::fd::AsFd::as_fd(&lease), tasks, &mut forward, |index, outcome| {
        let mut work = work.borrow_mut();
        let pending = work.1.remove(&index).ok_or_else(|| Error::internal("a layer was done twice"))?;
        results[index] = Some(complete(work.0, &layers[index], pending, outcome)?);
        Ok(())
    })?;
    let (staging, ..) = work.into_inner();
    fill_in(staging, contents, layers, results)
}

/// Passes progress on while the caller's own is borrowed for the tasks, too.
struct Forward<'a, W> {
    work: &'a std::cell::RefCell<W>,
}

impl<A, B> Progress for Forward<'_, (A, B, &mut dyn Progress)> {
    fn begin(&mut self, layer: &Digest, total: u64) {
        self.work.borrow_mut().2.begin(layer, total);
    }

    fn advance(&mut self, layer: &Digest, done: u64) {
        self.work.borrow_mut().2.advance(layer, done);
    }

    fn finish(&mut self, layer: &Digest) {
        self.work.borrow_mut().2.finish(layer);
    }

    fn present(&mut self, layer: &Digest) {
        self.work.borrow_mut().2.present(layer);
    }
}

/// Which layers have work to do, and whether that is unpacking, too.
struct Plan {
    work: Vec<(usize, bool)>,
    present: Vec<usize>,
}

impl Plan {
    fn new(staging: &Staging<'_>, layers: &[IncomingLayer]) -> Self {
        let (mut blobs, mut trees) = (BTreeSet::new(), BTreeSet::new());
        let mut plan = Self { work: Vec::new(), present: Vec::new() };
        for (index, layer) in layers.iter().enumerate() {
            let unpack = !staging.has_layer(&layer.chain) && trees.insert(layer.chain);
            let store = layer.digest.is_none_or(|digest| !staging.has_blob(&digest) && blobs.insert(digest));
            match unpack || store {
                true => plan.work.push((index, unpack)),
                false => plan.present.push(index),
            }
        }
        plan
    }
}

fn prepare(
    staging: &mut Staging<'_>,
    contents: &Contents,
    layer: &IncomingLayer,
    index: usize,
    unpack: bool,
) -> Result<(Task<'static>, Pending)> {
    let stored = layer.digest.filter(|digest| staging.has_blob(digest));
    let (source, length, known) = match stored {
        Some(digest) => {
            let file = staging.open_blob(&digest)?;
            let length = file.metadata().with_context(|| format!("look at blob `{digest}`"))?.len();
            (jobs::Source::Segment { file, offset: 0, length }, length, Some(digest))
        }
        None => {
            let located = contents.locate(&layer.path, staging)?;
            (located.source, located.length, located.staged)
        }
    };
    let blob = known.is_none().then(|| staging.new_blob()).transpose()?;
    let copy_to = blob.as_ref().map(|blob| blob.file.try_clone()).transpose().context("copy a descriptor")?;
    let directory = unpack.then(|| staging.new_layer()).transpose()?;
    let tree = directory.as_ref().map(|directory| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(CWD, directory.join("tree"), flags, Mode::empty()).context("open a layer")
    });
    let name = format!("layer `{}`", layer.path.escape_debug());
    let task = Task {
        index,
        label: layer.diff_id,
        name,
        origin: jobs::Origin::Archive(source),
        copy_to,
        tree: tree.transpose()?,
    };
    Ok((task, Pending { blob, known, length, directory }))
}

/// Checks what a task has made against what the image says, and stages it.
fn complete(staging: &mut Staging<'_>, layer: &IncomingLayer, pending: Pending, outcome: Outcome) -> Result<Layer> {
    let (digest, size) = match outcome.copied {
        Some(copied) => (copied.digest, copied.length),
        None => (pending.known.ok_or_else(|| Error::internal("a layer has no digest"))?, pending.length),
    };
    check(layer.digest.unwrap_or(digest), digest, &layer.path)?;
    if let Some(blob) = pending.blob {
        staging.add_blob(&digest, blob);
    }
    let compression = match &outcome.unpacked {
        Some(unpacked) => unpacked.compression,
        None => compression_of(staging, &digest)?,
    };
    let diff_id = match &outcome.unpacked {
        Some(unpacked) => Some(unpacked.diff_id.unwrap_or(digest)),
        // The layer is unpacked already, so nobody has looked into a compressed blob.
        None => (compression == Compression::None).then_some(digest),
    };
    check(layer.diff_id, diff_id.unwrap_or(layer.diff_id), &layer.path)?;
    if let (Some(unpacked), Some(directory)) = (outcome.unpacked, pending.directory) {
        staging.add_layer(&layer.chain, directory, &unpacked)?;
    }
    Ok(Layer { digest, size, media_type: layer_type(compression), diff_id: layer.diff_id })
}

pub(crate) fn check(expected: Digest, actual: Digest, path: &str) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    let path = path.escape_debug();
    Err(Error::invalid(format!("layer `{path}` is damaged: its digest is {actual}, and should be {expected}")))
}

/// The layers that had no work to do.
fn fill_in(
    staging: &Staging<'_>,
    contents: &Contents,
    layers: &[IncomingLayer],
    results: Vec<Option<Layer>>,
) -> Result<Vec<Layer>> {
    let present = |layer: &IncomingLayer| -> Result<Layer> {
        let digest = match layer.digest {
            Some(digest) => digest,
            None => return Err(Error::internal(format!("{} has a layer without a digest", contents.name()))),
        };
        let size = staging.open_blob(&digest)?.metadata().with_context(|| format!("look at blob `{digest}`"))?.len();
        let media_type = layer_type(compression_of(staging, &digest)?);
        Ok(Layer { digest, size, media_type, diff_id: layer.diff_id })
    };
    layers.iter().zip(results).map(|(layer, done)| done.map_or_else(|| present(layer), Ok)).collect()
}

fn compression_of(staging: &Staging<'_>, digest: &Digest) -> Result<Compression> {
    use std::os::unix::fs::FileExt;
    let mut first = [0; 6];
    let count = staging.open_blob(digest)?.read_at(&mut first, 0).with_context(|| format!("read blob `{digest}`"))?;
    Compression::of_bytes(&first[..count])
}
