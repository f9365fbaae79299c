//! What can be put right: layers are unpacked again from their blobs, records are written anew, what nothing owns goes.
//!
//! A tree under a running container is left alone, since its files would vanish under the container's hands. What cannot
//! be made from what is here (a blob, a name) is named and left to a person; a blob with other bytes than its name says
//! is deleted, so that the next pull fetches it. Nothing of a container's own is touched, and no stranger's file.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use failure::{Context, Error, Kind, Result};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, openat, renameat_with};
use rustix::io::Errno;

use super::{Fix, Report};
use crate::collect::{self, InUse};
use crate::documents::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Parts};
use crate::jobs::{self, Source, Task};
use crate::leases::remove_tree;
use crate::names::Names;
use crate::{ChainId, Digest, Layer, Name, Quiet, Staging, Store};

/// What became of a finding, or of the leftovers.
#[derive(Debug)]
pub struct Repaired {
    /// What it was about.
    pub object: String,
    /// What was done, or why nothing could be.
    pub outcome: Result<String>,
}

/// Puts right what can be. `in_use` is asked under the store's lock.
pub fn repair(store: &Store, report: &Report, in_use: &dyn Fn() -> Result<InUse>) -> Vec<Repaired> {
    let mut all = Vec::new();
    for finding in &report.findings {
        let outcome = match &finding.fix {
            Fix::Nothing => continue,
            Fix::Unpack(layer, blob) => unpack_again(store, layer, blob, in_use),
            Fix::Fetch(blob) => forget(store, blob),
            Fix::Layout => {
                store.lock_exclusive().and_then(|_lock| store.write_layout()).map(|()| "written anew".into())
            }
            Fix::Names => names_anew(store),
            Fix::Catalog => {
                store.lock_exclusive().and_then(|_lock| store.forget_catalog()).map(|()| "forgotten".into())
            }
            Fix::Lease(lock) => drop_lease(lock),
        };
        all.push(Repaired { object: finding.object.clone(), outcome });
    }
    if !report.leftovers.is_empty() {
        all.push(Repaired { object: "leftovers".into(), outcome: sweep(store, in_use) });
    }
    all
}

fn sweep(store: &Store, in_use: &dyn Fn() -> Result<InUse>) -> Result<String> {
    let lock = store.lock_exclusive()?;
    for entry in fs::read_dir(store.root()).with_context(|| format!("list `{}`", store.root().display()))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let outcome = match name.as_str() {
            ".index.json.new" | ".oci-layout.new" | ".catalog.json.new" | "collected.new" => {
                fs::remove_file(entry.path())
            }
            name if name.starts_with(".skeleton-") => remove_tree(&entry.path()),
            _ => continue,
        };
        outcome.with_context(|| format!("delete `{}`", entry.path().display()))?;
    }
    let _ = fs::remove_file(store.root().join("compressed/.new"));
    drop(lock);
    collect::collect(store, in_use)?;
    Ok("collected".into())
}

/// Unpacks a layer into a lease and puts it in the place of the damaged one, in one step.
fn unpack_again(store: &Store, layer: &ChainId, blob: &Layer, in_use: &dyn Fn() -> Result<InUse>) -> Result<String> {
    let mut staging = Staging::new(store)?;
    let staged = unpack(&mut staging, layer, blob)?;
    let _lock = store.lock_exclusive()?;
    if let Some(user) = in_use()?.containers.iter().find(|user| user.running && user.layers.contains(layer)) {
        let way = "stop it and run the command again";
        return Err(Error::new(Kind::Busy, format!("container `{}` runs on it; {way}", user.container)));
    }
    let place = store.layer_directory(layer);
    let failed = || format!("replace `{}`", place.display());
    // What was there goes with the lease.
    match renameat_with(CWD, &staged, CWD, &place, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) => fs::rename(&staged, &place).with_context(failed)?,
        other => other.with_context(failed)?,
    }
    Ok("unpacked again".into())
}

fn unpack(staging: &mut Staging<'_>, layer: &ChainId, blob: &Layer) -> Result<std::path::PathBuf> {
    let file = staging.store().open_blob(&blob.digest)?;
    let length = file.metadata().with_context(|| format!("look at blob `{}`", blob.digest))?.len();
    let directory = staging.new_layer()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let tree = openat(CWD, directory.join("tree"), flags, Mode::empty()).context("open a layer")?;
    let source = Source::Segment { file, offset: 0, length };
    let name = format!("layer `{layer}`");
    let task = Task {
        index: 0,
        label: blob.diff_id,
        name,
        origin: jobs::Origin::Archive(source),
        copy_to: None,
        tree: Some(tree),
    };
    let limits = *staging.store().limits();
    let mut done = None;
    jobs::run(&limits, staging.lease(), [Ok(task)].into_iter(), &mut Quiet, |_, outcome| {
        done = outcome.unpacked;
        Ok(())
    })?;
    let unpacked = done.ok_or_else(|| Error::internal("a layer was not unpacked"))?;
    if unpacked.diff_id.unwrap_or(blob.digest) != blob.diff_id {
        return Err(Error::invalid(format!("blob `{}` unpacks to another layer; pull the image again", blob.digest)));
    }
    staging.add_layer(layer, directory.clone(), &unpacked)?;
    Ok(directory)
}

/// Deletes a blob that is not what its name says: nobody can use it, and a pull would take it for present.
fn forget(store: &Store, blob: &Digest) -> Result<String> {
    let _lock = store.lock_exclusive()?;
    let path = store.blob_path(blob);
    fs::remove_file(&path).with_context(|| format!("delete `{}`", path.display()))?;
    Ok("deleted; pull the image again".into())
}

/// An index of all images whose manifests are here, without names: those were in the file that is lost.
fn names_anew(store: &Store) -> Result<String> {
    let lock = store.lock_exclusive()?;
    let mut found: Vec<(Digest, u64, &str, Parts)> = Vec::new();
    for digest in collect::listed(store, "blobs/sha256")? {
        let Ok(bytes) = store.read_blob(&digest) else { continue };
        if let Ok(parts) = Parts::parse(&bytes, &digest.to_string())
            && let Some(media_type) = type_of(&bytes, &parts)
        {
            found.push((digest, bytes.len() as u64, media_type, parts));
        }
    }
    let mut names = Names::default();
    for (digest, length, media_type, _) in &found {
        if !found.iter().any(|(.., parts)| parts.manifests.contains(digest)) {
            names.set(Name::of_type(media_type, *digest, *length, None));
        }
    }
    store.write_names(&names, &lock)?;
    Ok(format!("{} images without names are in it", names.entries().len()))
}

/// What a document calls itself, or else what it must be.
fn type_of(bytes: &[u8], parts: &Parts) -> Option<&'static str> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let named = document.get("mediaType").and_then(serde_json::Value::as_str);
    let known = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].into_iter();
    match named {
        Some(named) => known.into_iter().find(|known| *known == named),
        None if parts.is_image => Some(OCI_MANIFEST),
        None => (!parts.manifests.is_empty()).then_some(OCI_INDEX),
    }
}

fn drop_lease(lock_path: &Path) -> Result<String> {
    let failed = || format!("delete `{}`", lock_path.display());
    if let Ok(lock) = File::open(lock_path)
        && flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err()
    {
        let reason = "its owner lives; run the command again when that is done";
        return Err(Error::new(Kind::Busy, format!("lease `{}`: {reason}", lock_path.display())));
    }
    remove_tree(&lock_path.with_extension("")).with_context(failed)?;
    match fs::remove_file(lock_path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(failed),
        _ => Ok("deleted".into()),
    }
}
