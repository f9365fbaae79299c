//! What goes when an image goes: `skep rmi`, `image prune`, and the garbage collection below both.
//!
//! ```text
//! names in index.json   \               / configuration
//! images of containers  -> manifests ->  layer blobs          what is not reached is deleted
//! layers of containers  ----------------> unpacked layers
//! needs of leases       ----------------> blobs, layers, partial/<hex>
//! ```
//!
//! All of it happens under the store's exclusive lock: nobody can publish or refer to anything between the moment it
//! is found unused and the moment it is gone. What a command is making lies in its lease and is never looked at here.
//! `partial/<hex>` is a blob on its way in, appended to under its own flock: it goes when nobody holds that lock, no
//! lease needs it, and it was not written to for as long as cut-off commands are waited for.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::time::Duration;

use failure::{Context, Error, Kind, Result};
use rustix::fs::{FlockOperation, flock};

use crate::documents::{Manifest, Parts};
use crate::leases::{Need, is_younger};
use crate::{ChainId, Digest, Image, ImageId, Lock, Name, Names, Reference, Store, writable};

/// What is still needed though no name refers to it: handed in, since the store knows no containers.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Which container uses which image.
    pub containers: Vec<User>,
    /// How long what a cut-off command needed is kept for the next one; not at all by default.
    pub resume_for: Duration,
}

/// A container that uses an image.
#[derive(Clone, Debug)]
pub struct User {
    /// What to call it in a message. The image may also be mounted: then it is the path.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
    /// The manifest of its image.
    pub manifest: Digest,
    /// The image's id.
    pub image: ImageId,
    /// The layers it is mounted from.
    pub layers: Vec<ChainId>,
}

impl User {
    /// Whether it is no container but a mount of the image (`skep image mount`).
    pub fn is_mount(&self) -> bool {
        self.container.starts_with('/')
    }
}

impl fmt::Display for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_mount() { "mount" } else { "container" };
        write!(formatter, "{what} `{}`", self.container)
    }
}

/// One line of `skep rmi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// `Untagged: NAME`
    Untagged(Reference),
    /// `Deleted: sha256:...`
    Deleted(Digest),
}

/// `rmi TEXT`: takes a name away, or the image with its last one. `in_use` is asked under the store's lock, so that
/// no container can appear in between.
///
/// # Errors
/// There is no such image, or it is used and `force` is not given.
pub fn remove(store: &Store, text: &str, force: bool, in_use: impl FnOnce() -> Result<InUse>) -> Result<Vec<Removed>> {
    let lock = store.lock_exclusive()?;
    let mut names = store.names()?;
    let image = match store.resolve(text) {
        Ok(image) => image,
        Err(error) => return remove_damaged(store, text, error, names, &in_use()?, &lock),
    };
    let in_use = in_use()?;
    let mut removed = Vec::new();
    match by_name(text, &names, &image) {
        Some(reference) => remove_name(&image, &reference, force, &in_use, &mut names, &mut removed)?,
        None => remove_id(&image, force, &in_use, &mut names, &mut removed)?,
    }
    store.write_names(&names, &lock)?;
    let gone = names.entries().iter().all(|entry| entry.target != image.target);
    if gone {
        let collected = collect_locked(store, &names, &in_use, &lock)?;
        removed.push(Removed::Deleted(image.id.0));
        let layers = image.layers.iter().rev().filter(|layer| collected.layers.contains(layer));
        removed.extend(layers.map(|layer| Removed::Deleted(layer.0)));
    }
    drop(lock);
    if gone {
        writable::sweep_trash(store)?;
    }
    Ok(removed)
}

/// Takes a name away whose image cannot be read: nothing else could be done with it.
fn remove_damaged(
    store: &Store,
    text: &str,
    error: Error,
    mut names: Names,
    in_use: &InUse,
    lock: &Lock,
) -> Result<Vec<Removed>> {
    let Some(entry) = Reference::parse(text).ok().and_then(|reference| names.remove(&reference)) else {
        return Err(error);
    };
    store.write_names(&names, lock)?;
    // Other damage may stop the collection, not the removal.
    let _ = collect_locked(store, &names, in_use, lock);
    Ok(entry.reference.into_iter().map(Removed::Untagged).collect())
}

/// The name that was given, unless it was an id.
fn by_name(text: &str, names: &Names, image: &Image) -> Option<Reference> {
    let reference = Reference::parse(text).ok()?;
    names.find(&reference).filter(|entry| entry.target == image.target)?;
    Some(reference)
}

fn remove_name(
    image: &Image,
    reference: &Reference,
    force: bool,
    in_use: &InUse,
    names: &mut Names,
    removed: &mut Vec<Removed>,
) -> Result<()> {
    let user = in_use.containers.iter().find(|user| user.manifest == image.manifest);
    let last = names.of(&image.target).len() <= 1;
    if let Some(user) = user
        && last
        && !force
    {
        let reason = format!("{user} is using its referenced image {}", image.id.short());
        let message = format!("unable to remove repository reference `{reference}` (must force): {reason}");
        return Err(Error::conflict(message));
    }
    let entry = names.remove(reference);
    removed.push(Removed::Untagged(reference.clone()));
    if let (Some(entry), Some(_), true) = (entry, user, last) {
        // The image stays for its container, without a name.
        names.set(Name { reference: None, ..entry });
    }
    Ok(())
}

fn remove_id(image: &Image, force: bool, in_use: &InUse, names: &mut Names, removed: &mut Vec<Removed>) -> Result<()> {
    let id = image.id.short();
    let conflict = |way: &str, reason: String| {
        Err(Error::new(Kind::Conflict, format!("unable to delete `{id}` ({way}): {reason}")))
    };
    let users = || in_use.containers.iter().filter(|user| user.manifest == image.manifest);
    if let Some(user) = users().find(|user| user.running) {
        let reason = format!("image is being used by running {user}");
        return conflict("cannot be forced", reason);
    }
    let all = names.of(&image.target);
    if !force && all.len() > 1 {
        return conflict("must be forced", "image is referenced in multiple repositories".to_owned());
    }
    if let Some(user) = users().next()
        && !force
    {
        let reason = format!("image is being used by stopped {user}");
        return conflict("must be forced", reason);
    }
    names.remove_target(&image.target);
    removed.extend(all.into_iter().map(Removed::Untagged));
    Ok(())
}

/// What a collection freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that went.
    pub blobs: Vec<Digest>,
    /// Layers that went.
    pub layers: Vec<ChainId>,
    /// Bytes they had.
    pub bytes: u64,
}

/// `image prune`: takes away images without a name (with `all`, every image) that no container uses, then collects.
///
/// # Errors
/// As [`collect`].
pub fn prune(
    store: &Store,
    all: bool,
    keep: impl Fn(&Image) -> bool,
    in_use: impl FnOnce() -> Result<InUse>,
) -> Result<(Vec<Removed>, Collected)> {
    let lock = store.lock_exclusive()?;
    let mut names = store.names()?;
    let in_use = in_use()?;
    let used: HashSet<Digest> = in_use.containers.iter().map(|user| user.manifest).collect();
    let targets: HashSet<Digest> = names.entries().iter().map(|entry| entry.target).collect();
    let mut removed = Vec::new();
    for target in targets {
        // Without a name and unreadable it is of no use to anybody.
        if names.of(&target).is_empty() && store.read_blob(&target).is_err() {
            names.remove_target(&target);
            continue;
        }
        // What is damaged or no image that could run (an artifact) goes by its name alone.
        let (Ok(members), Ok(image)) = (store.members(&target), store.image(&target)) else { continue };
        if members.iter().any(|(manifest, _)| used.contains(manifest)) {
            continue;
        }
        let references = names.of(&target);
        if (all || references.is_empty()) && !keep(&image) {
            names.remove_target(&target);
            removed.extend(references.into_iter().map(Removed::Untagged));
            removed.push(Removed::Deleted(image.id.0));
        }
    }
    // What stops the collection stops the removal of names, too.
    owned(store, &names, &in_use)?;
    store.write_names(&names, &lock)?;
    let collected = collect_locked(store, &names, &in_use, &lock)?;
    drop(lock);
    writable::sweep_trash(store)?;
    Ok((removed, collected))
}

/// Deletes all blobs and layers that no name and no container needs. `in_use` is asked under the store's lock.
///
/// # Errors
/// The store cannot be read; nothing is deleted then.
pub fn collect(store: &Store, in_use: impl FnOnce() -> Result<InUse>) -> Result<Collected> {
    let lock = store.lock_exclusive()?;
    let collected = collect_locked(store, &store.names()?, &in_use()?, &lock)?;
    drop(lock);
    writable::sweep_trash(store)?;
    Ok(collected)
}

/// A file at the store's root: its time of change is when garbage was last collected without being asked for.
pub(crate) const LAST: &str = "collected";
/// Where blobs are while they are fetched.
const PARTIAL: &str = "partial";

/// A thing of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Manifest(Digest),
    Blob(Digest),
    Layer(ChainId),
}

/// All that is needed: the caller holds the store's lock.
pub(crate) struct Owned {
    things: HashSet<Node>,
    /// What leases keep, whether it is there or not.
    needs: HashSet<Need>,
}

impl Owned {
    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.things.contains(&Node::Blob(*digest))
    }

    pub(crate) fn has_layer(&self, layer: &ChainId) -> bool {
        self.things.contains(&Node::Layer(*layer))
    }
}

/// Marks everything that a name, a container or a lease needs.
///
/// # Errors
/// A document or a lease cannot be read, so that nobody knows what it needs.
pub(crate) fn owned(store: &Store, names: &Names, in_use: &InUse) -> Result<Owned> {
    let named = names.entries().iter().map(|entry| Node::Manifest(entry.target));
    let pushed = names.entries().iter().filter_map(Name::pushed).filter(|manifest| store.has_blob(manifest));
    let pushed = pushed.map(Node::Manifest);
    let compressed = store.all_compressed()?;
    // The image of a container may have been removed by force: then its layers are all that is left of it.
    let used = in_use.containers.iter().filter(|user| store.has_blob(&user.manifest));
    let used = used.map(|user| Node::Manifest(user.manifest));
    let mounted = in_use.containers.iter().flat_map(|user| &user.layers).map(|layer| Node::Layer(*layer));
    let needs = store.needs_of_leases(in_use.resume_for)?;
    let leased = needs.iter().map(|need| match need {
        Need::Blob(digest) => Node::Blob(*digest),
        Need::Layer(layer) => Node::Layer(*layer),
    });
    let things = mark(named.chain(pushed).chain(used).chain(mounted).chain(leased), |node| {
        let mut needed = references(store, node)?;
        // A blob brings along what it was compressed to for a registry.
        let made = needed.iter().filter_map(|node| match node {
            Node::Blob(blob) => compressed.get(blob),
            _ => None,
        });
        let made: Vec<Node> = made.flatten().map(|blob| Node::Blob(*blob)).collect();
        needed.extend(made);
        Ok(needed)
    })?;
    Ok(Owned { things, needs })
}

fn collect_locked(store: &Store, names: &Names, in_use: &InUse, _exclusive: &Lock) -> Result<Collected> {
    let owned = owned(store, names, in_use)?;
    store.sweep_leases(in_use.resume_for)?;
    let mut collected = Collected::default();
    for digest in listed(store, PARTIAL)? {
        if !owned.needs.contains(&Need::Blob(digest)) {
            let path = store.root().join(PARTIAL).join(digest.hex());
            collected.bytes += delete_partial(&path, in_use.resume_for)?;
        }
    }
    for digest in listed(store, "blobs/sha256")? {
        if !owned.has_blob(&digest) {
            delete_blob(store, &digest, &mut collected)?;
        }
    }
    store.sweep_compressed()?;
    for digest in listed(store, "layers")? {
        let layer = ChainId(digest);
        if !owned.has_layer(&layer) {
            let bytes = store.layer_size(&layer).unwrap_or(0);
            writable::discard(store, &store.layer_directory(&layer))?;
            collected.bytes += bytes;
            collected.layers.push(layer);
        }
    }
    Ok(collected)
}

/// What a thing needs. A manifest is a blob too. An index may list images that are not here.
pub(crate) fn references(store: &Store, node: Node) -> Result<Vec<Node>> {
    let Node::Manifest(manifest) = node else { return Ok(Vec::new()) };
    let lost = |error: Error| {
        let reason = "nothing is collected while nobody knows what it needs; see `skep system check`";
        Error::new(error.kind(), format!("{error}; {reason}"))
    };
    let read = || Parts::parse(&store.read_blob(&manifest)?, &manifest.to_string());
    let parts = read().map_err(lost)?;
    let mut needed = vec![Node::Blob(manifest)];
    needed.extend(parts.manifests.into_iter().filter(|child| store.has_blob(child)).map(Node::Manifest));
    needed.extend(parts.blobs.into_iter().map(Node::Blob));
    if parts.is_image {
        let chain = Manifest::read_by(|digest| store.read_blob(digest), &manifest).map_err(lost)?.chain;
        needed.extend(chain.into_iter().map(Node::Layer));
    }
    Ok(needed)
}

/// All digests that are names in a directory of the store, none if it is missing. Other names are not ours.
pub(crate) fn listed(store: &Store, directory: &str) -> Result<Vec<Digest>> {
    let path = store.root().join(directory);
    let failed = || format!("list `{}`", path.display());
    let mut digests = Vec::new();
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(digests),
        other => other.with_context(failed)?,
    };
    for entry in entries {
        let name = entry.with_context(failed)?.file_name();
        digests.extend(name.to_str().and_then(|name| Digest::from_hex(name).ok()));
    }
    digests.sort_unstable_by_key(|digest| *digest.as_bytes());
    Ok(digests)
}

fn delete_blob(store: &Store, digest: &Digest, collected: &mut Collected) -> Result<()> {
    let path = store.blob_path(digest);
    let failed = || format!("delete `{}`", path.display());
    collected.bytes += fs::metadata(&path).with_context(failed)?.len();
    fs::remove_file(&path).with_context(failed)?;
    collected.blobs.push(*digest);
    Ok(())
}

/// Deletes a blob that is half fetched, unless somebody fetches it or did lately; the bytes that it had.
fn delete_partial(path: &Path, resume_for: Duration) -> Result<u64> {
    let failed = || format!("delete `{}`", path.display());
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.with_context(failed)?,
    };
    // Held until it is gone: who waits for this lock finds that the file has no name any more.
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(0);
    }
    let status = file.metadata().with_context(failed)?;
    if is_younger(status.modified().with_context(failed)?, resume_for) {
        return Ok(0);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        other => other.map(|()| status.len()).with_context(failed),
    }
}

/// The pure part: everything reachable from `roots` through `references`.
///
/// # Errors
/// Those of `references`.
pub fn mark<T: Copy + Eq + Hash>(
    roots: impl IntoIterator<Item = T>,
    mut references: impl FnMut(T) -> Result<Vec<T>>,
) -> Result<HashSet<T>> {
    let mut seen = HashSet::new();
    let mut waiting: Vec<T> = roots.into_iter().collect();
    while let Some(node) = waiting.pop() {
        if seen.insert(node) {
            waiting.extend(references(node)?);
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marking_reaches_everything_once_and_nothing_else() {
        let edges = |node: u32| {
            Ok(match node {
                1 => vec![2, 3],
                3 => vec![1, 4],
                9 => vec![8],
                _ => vec![],
            })
        };
        let mut seen: Vec<u32> = mark([1], edges).unwrap().into_iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4]);
        assert!(mark([1], |_| Err(Error::internal("x"))).is_err());
    }
}
