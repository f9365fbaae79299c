//! Images from elsewhere, layer by layer: what is missing is fetched, verified, unpacked and published.
//!
//! ```text
//! small documents ------> staging                             needs: written first, all that the image is made of
//! for each layer that is missing, several at a time:
//!   partial/<hex> locked? -> others do it: look again later, holding nothing
//!   fetch -> partial/<hex> -> unpack -> staging               (see `jobs`)
//!   verified: partial/<hex> -> blobs/, staging -> layers/     under the store's lock, at once
//! all there: documents -> blobs/, the name -> index.json      under the store's lock
//! ```
//!
//! Whoever is killed leaves whole layers and beginnings of blobs, and the next pull goes on from there. A beginning is
//! not trusted: the digest of the whole decides. If that is wrong after bytes of an earlier command were used, the
//! blob is fetched anew, once; otherwise who sent it is to blame, and nothing of it is kept.
//!
//! Many pulls at once do each layer once: the lock of `partial/<hex>` is held from before the first byte until the
//! layer is published, and whoever gets it looks again what is still missing. Nobody waits for one lock while holding
//! another, so nobody waits for ever.

mod described;
mod lending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use failure::{Context, Error, Kind, Result};
use rustix::fs::{CWD, Mode, OFlags, fstatvfs, openat};

pub use self::described::{Described, Member, choose, describe, platforms};
pub use self::lending::{Lent, borrow_or_fetch};

use crate::documents::{Manifest, Parts, blobs_of};
use crate::jobs::{self, Next, Origin, Outcome, Source, Task};
use crate::leases::Need;
use crate::partial::Partial;
use crate::{ChainId, Digest, Name, Progress, Staging, Store};

/// How many layers are on their way at once: more than there are processors, since networks make wait.
const MOST_AT_ONCE: usize = 4;

/// A blob as a manifest refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

/// Where blobs come from.
pub trait Remote {
    /// Gives the bytes of a blob from `offset` on, in order, to `sink`. Called in a process of its own: what was open
    /// before is closed there. What it gives is not trusted.
    ///
    /// # Errors
    /// It cannot be had (any more), or what `sink` said.
    fn fetch(&self, blob: &Blob, offset: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// What is to be here, and what it is to be called.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Manifests, configurations, an index: what is small and was verified by whoever got it.
    pub documents: Vec<Vec<u8>>,
    /// Manifests among the documents whose layers and other blobs are to be here.
    pub manifests: Vec<Digest>,
    /// The names that are given at the end; their targets are among the documents.
    pub names: Vec<Name>,
}

/// Whether all of it is here, and called so.
///
/// # Errors
/// The documents are no manifests; the names cannot be read.
pub fn is_here(store: &Store, pull: &Pull) -> Result<bool> {
    let names = store.names()?;
    let named = |name: &Name| {
        let reference = name.reference.as_ref();
        reference.and_then(|reference| names.find(reference)).is_some_and(|found| found.target == name.target)
    };
    Ok(pull.names.iter().all(named)
        && pull.documents.iter().all(|document| store.has_blob(&Digest::of(document)))
        && wanted(pull)?.iter().all(|item| item.is_in(store)))
}

/// Brings in what is missing of some images and names them. Nobody sees a name before all that it needs is here.
///
/// # Errors
/// A registry sends something else or nothing, a layer is hostile or goes beyond a limit, the disk is full.
pub fn pull(store: &Store, pull: &Pull, remote: &dyn Remote, progress: &mut dyn Progress) -> Result<()> {
    store.sweep()?;
    let mut staging = Staging::new(store)?;
    let mut needs = Vec::new();
    for document in &pull.documents {
        needs.push(Need::Blob(staging.put(document)?));
    }
    let wanted = wanted(pull)?;
    if let Some(both) = wanted.iter().find(|item| item.tree.is_some() && needs.contains(&Need::Blob(item.blob.digest)))
    {
        // Its file may be held for other pulls already: waiting for ourselves would not end.
        return Err(Error::invalid(format!("`{}` is called a layer and a document at once", both.blob.digest)));
    }
    needs.extend(wanted.iter().map(|item| Need::Blob(item.blob.digest)));
    needs.extend(wanted.iter().filter_map(|item| item.tree).map(|tree| Need::Layer(tree.chain)));
    staging.need(&needs)?;
    // What was there before the needs were written may have gone.
    for document in &pull.documents {
        staging.put(document)?;
    }
    let lease = staging.lease().try_clone_to_owned().context("copy a descriptor")?;
    let mut pulling =
        Pulling { staging, remote, progress, waiting: VecDeque::new(), running: BTreeMap::new(), next: 0 };
    pulling.look_at(wanted)?;
    jobs::work(store.limits(), std::os::fd::AsFd::as_fd(&lease), MOST_AT_ONCE, &mut pulling)?;
    let Pulling { staging, .. } = pulling;
    staging.publish(pull.names.clone())
}

/// Something to bring in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    blob: Blob,
    /// What it unpacks to; nothing for what is no layer of an image.
    tree: Option<Unpacked>,
    /// What an earlier command left of it was wrong.
    anew: bool,
}

impl Item {
    fn is_in(&self, store: &Store) -> bool {
        store.has_blob(&self.blob.digest) && self.tree.is_none_or(|tree| store.has_layer(&tree.chain))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Unpacked {
    chain: ChainId,
    diff_id: Digest,
}

/// All that the manifests need beside documents, each thing once, in their order.
fn wanted(pull: &Pull) -> Result<Vec<Item>> {
    let documents = pull.documents.iter().map(|document| (Digest::of(document), document)).collect();
    let mut items = Vec::new();
    let mut seen = BTreeSet::new();
    for digest in &pull.manifests {
        for item in items_of(&documents, digest)? {
            if seen.insert((item.blob.digest, item.tree)) {
                items.push(item);
            }
        }
    }
    Ok(items)
}

fn items_of(documents: &BTreeMap<Digest, &Vec<u8>>, digest: &Digest) -> Result<Vec<Item>> {
    let missing = |digest: &Digest| Error::internal(format!("document `{digest}` was not given"));
    let read = |digest: &Digest| documents.get(digest).map(|bytes| (*bytes).clone()).ok_or_else(|| missing(digest));
    let bytes = read(digest)?;
    let name = digest.to_string();
    if !Parts::parse(&bytes, &name)?.is_image {
        let items = blobs_of(&bytes, &name)?.into_iter().map(|blob| Item { blob, tree: None, anew: false });
        return Ok(items.collect());
    }
    let manifest = Manifest::read_by(read, digest)?;
    let mut items = Vec::new();
    for (layer, chain) in manifest.layers.iter().zip(&manifest.chain) {
        if [".foreign.", ".nondistributable."].iter().any(|kind| layer.media_type.contains(kind)) {
            let reason = "its maker does not give it to registries (a foreign layer), and other places are not asked";
            return Err(Error::unsupported(format!("layer `{}` cannot be pulled: {reason}", layer.digest)));
        }
        let blob = Blob { digest: layer.digest, size: layer.size };
        items.push(Item { blob, tree: Some(Unpacked { chain: *chain, diff_id: layer.diff_id }), anew: false });
    }
    Ok(items)
}

/// A pull at work.
struct Pulling<'s, 'p> {
    staging: Staging<'s>,
    remote: &'p dyn Remote,
    progress: &'p mut dyn Progress,
    waiting: VecDeque<Item>,
    running: BTreeMap<usize, Pending>,
    next: usize,
}

/// A layer in hand.
struct Pending {
    item: Item,
    /// Locked until the layer is published.
    partial: Partial,
    /// Whether bytes of an earlier command are used.
    resumed: bool,
    directory: Option<PathBuf>,
}

impl<'p> Pulling<'_, 'p> {
    /// Which of them have work to do, and whether there is room for that.
    fn look_at(&mut self, wanted: Vec<Item>) -> Result<()> {
        let mut bytes = 0_u64;
        for item in wanted {
            let label = item.blob.digest;
            if item.is_in(self.staging.store()) {
                self.progress.present(&label);
                continue;
            }
            self.progress.begin(&label, item.blob.size);
            if !self.staging.has_blob(&label) {
                bytes = bytes.saturating_add(item.blob.size).saturating_sub(self.fetched(&item));
            }
            self.waiting.push_back(item);
        }
        self.check_room(bytes)
    }

    /// How much of a blob is there.
    fn fetched(&self, item: &Item) -> u64 {
        let partial = std::fs::metadata(self.staging.store().partial_path(&item.blob.digest));
        partial.map_or(0, |partial| partial.len()).min(item.blob.size)
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        let store = self.staging.store();
        let space = fstatvfs(store.directory()).context("look at the free space")?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if bytes > 0 && free.saturating_sub(store.limits().keep_free) < bytes {
            let (bytes, free) = (bytes.div_ceil(1 << 20), free >> 20);
            let message = format!("{bytes} MB are to be pulled, but only {free} MB of disk are free; free some first");
            return Err(Error::new(Kind::Unavailable, message));
        }
        Ok(())
    }

    /// What is to be done for an item whose partial blob is ours.
    fn prepare(&mut self, item: Item, partial: Partial) -> Result<(Task<'p>, Pending)> {
        let Blob { digest, size } = item.blob;
        let stored = self.staging.has_blob(&digest);
        if item.anew || partial.length()? > size {
            partial.empty()?;
        }
        let present = partial.length()?;
        let file = partial.file.try_clone().context("copy a descriptor")?;
        let (origin, copy_to) = match stored {
            true => {
                let file = self.staging.open_blob(&digest)?;
                let length = file.metadata().with_context(|| format!("look at blob `{digest}`"))?.len();
                (Origin::Archive(Source::Segment { file, offset: 0, length }), None)
            }
            false => (Origin::Registry { remote: self.remote, blob: item.blob, present }, Some(file)),
        };
        let unpack = item.tree.is_some_and(|tree| !self.staging.has_layer(&tree.chain));
        let directory = unpack.then(|| self.staging.new_layer()).transpose()?;
        let open = |directory: &PathBuf| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(CWD, directory.join("tree"), flags, Mode::empty()).context("open a layer")
        };
        let tree = directory.as_ref().map(open).transpose()?;
        let name = format!("layer `{digest}`");
        let task = Task { index: self.next, label: digest, name, origin, copy_to, tree };
        self.next += 1;
        Ok((task, Pending { item, partial, resumed: present > 0, directory }))
    }

    /// Whether the blob that came is the one that was asked for. If not, and only what was there before may be to
    /// blame, it is fetched anew.
    fn verify(&mut self, pending: Pending, copied: Option<jobs::Copied>) -> Result<Option<Pending>> {
        let Blob { digest, size } = pending.item.blob;
        let Some(copied) = copied.filter(|copied| copied.digest != digest || copied.length != size) else {
            return Ok(Some(pending));
        };
        if pending.resumed {
            pending.partial.empty()?;
            self.waiting.push_front(Item { anew: true, ..pending.item });
            return Ok(None);
        }
        pending.partial.discard()?;
        let (other, length) = (copied.digest, copied.length);
        let message = format!("layer `{digest}` is refused: the registry sent {length} bytes with the digest {other}");
        Err(Error::invalid(message))
    }

    fn publish(&mut self, pending: &Pending, unpacked: Option<&jobs::UnpackedLayer>) -> Result<()> {
        let Blob { digest, .. } = pending.item.blob;
        if let (Some(unpacked), Some(directory), Some(tree)) = (unpacked, &pending.directory, pending.item.tree) {
            let actual = unpacked.diff_id.unwrap_or(digest);
            if actual != tree.diff_id {
                let expected = tree.diff_id;
                let message = format!("layer `{digest}` unpacks to {actual}, and the image says {expected}");
                return Err(Error::invalid(message));
            }
            self.staging.add_layer(&tree.chain, directory.clone(), unpacked)?;
        }
        let lock = self.staging.store().lock_exclusive()?;
        if !self.staging.store().has_blob(&digest) {
            pending.partial.publish(self.staging.store(), &digest, &lock)?;
        }
        match pending.item.tree {
            Some(tree) => self.staging.publish_layer(&tree.chain, &lock),
            None => Ok(()),
        }
    }
}

impl<'p> jobs::Work<'p> for Pulling<'_, 'p> {
    fn next(&mut self) -> Result<Next<'p>> {
        for _ in 0..self.waiting.len() {
            let Some(item) = self.waiting.pop_front() else { break };
            let label = item.blob.digest;
            let Some(partial) = Partial::claim(self.staging.store(), &label)? else {
                self.progress.advance(&label, self.fetched(&item));
                self.waiting.push_back(item);
                continue;
            };
            if item.is_in(self.staging.store()) {
                partial.discard()?;
                self.progress.finish(&label);
                continue;
            }
            let (task, pending) = self.prepare(item, partial)?;
            self.running.insert(task.index, pending);
            return Ok(Next::Task(task));
        }
        Ok(if self.waiting.is_empty() { Next::Nothing } else { Next::Later })
    }

    fn progress(&mut self) -> &mut dyn Progress {
        self.progress
    }

    fn finished(&mut self, index: usize, label: &Digest, outcome: Outcome) -> Result<()> {
        let pending = self.running.remove(&index).ok_or_else(|| Error::internal("a layer was done twice"))?;
        let Some(pending) = self.verify(pending, outcome.copied)? else { return Ok(()) };
        let published = match outcome.failure {
            Some(error) => Err(error),
            None => self.publish(&pending, outcome.unpacked.as_ref()),
        };
        match published {
            Ok(()) => {
                self.progress.finish(label);
                // A blob that was there before has left an empty file.
                if pending.partial.is_left()? { pending.partial.discard() } else { Ok(()) }
            }
            Err(error) => {
                pending.partial.discard()?;
                Err(error)
            }
        }
    }
}
