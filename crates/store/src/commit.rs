//! A container's changes as a new image: `skep commit`.
//!
//! ```text
//! upper directory --tar, hashed while it is written--> blob --unpacked meanwhile (`jobs::feed`)--> layers/<chain id>
//!                                                        \-> configuration + manifest of the base, one layer longer
//! ```
//!
//! The blob is an uncompressed tar: its digest is its diff id, and a commit waits for the disk and not for a compressor.
//! The layer comes from the blob and not from the upper directory, so what is mounted is what is saved and pushed. A
//! container that changed nothing makes an image without a new layer, as Docker does.
//!
//! **Equal changes make equal images**, whenever and wherever: layer, configuration and manifest have the same digests.
//! Entries are sorted, deletions have no time, holes are told by what reads as zeros, and nothing is written that the
//! changes do not hold. `created` is the newest time in the layer (never before the base's); with `epoch`
//! (`SOURCE_DATE_EPOCH`) it is that, and no file in the layer is newer.

use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;

use failure::{Context, Error, Result};
use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags};
use serde_json::{Value, json};

use crate::documents::{layer_type, manifest_bytes};
use crate::jobs::{Copied, Feed};
use crate::overlay::UPPER;
use crate::tarball::{Marks, Source, Tree, Writer};
use crate::{
    ChainId, Compression, ConfigChange, ConfigDocument, History, Image, ImageId, Layer, Name, Reference, Staging, Store,
};

/// What to commit.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The image the container was made from; none for `rootfs:` and `host:`.
    pub base: Option<&'a Image>,
    /// The container's writable layer.
    pub writable: &'a Path,
    /// The new image's configuration before `changes`: the base's document with the container's settings. Its
    /// layers and history are the base's; commit adds one.
    pub config: ConfigDocument,
    /// `--change`.
    pub changes: &'a [ConfigChange],
    /// `--author`.
    pub author: &'a str,
    /// `--message`.
    pub message: &'a str,
    /// What the history says made the layer: the container's command.
    pub created_by: &'a str,
    /// The new image's name; without it the image has only an id.
    pub reference: Option<Reference>,
    /// `SOURCE_DATE_EPOCH`, in seconds: when the image was made, and the newest time of a file in its layer.
    pub epoch: Option<i64>,
}

/// Makes the image. The container may go on running; pausing it while this reads is the caller's choice.
///
/// # Errors
/// The layer cannot be read, or the store is full.
pub fn commit(store: &Store, commit: Commit<'_>) -> Result<ImageId> {
    let Some(base) = commit.base else {
        let reason = "the container has no image that a layer could be added to";
        return Err(Error::unsupported(format!("{reason}; use `skep export` and `skep import` for the whole tree")));
    };
    store.sweep()?;
    let mut staging = Staging::new(store)?;
    let mut layers = base.blobs.clone();
    let mut document = commit.config;
    let (layer, newest) = take_in(&mut staging, base, commit.writable, commit.epoch)?;
    let created = created(base, newest, commit.epoch);
    if let Some(created) = &created {
        document.set("created", created.as_str());
    }
    if !commit.author.is_empty() {
        document.set("author", commit.author);
    }
    let line = History {
        created: created.unwrap_or_default(),
        author: commit.author.to_owned(),
        created_by: commit.created_by.to_owned(),
        comment: commit.message.to_owned(),
    };
    match layer {
        Some(layer) => {
            document.push_layer(&layer.diff_id, line)?;
            layers.push(layer);
        }
        None => push_empty_line(&mut document, &line),
    }
    for change in commit.changes {
        change.apply(&mut document);
    }
    let config_bytes = document.to_bytes();
    let config = staging.put(&config_bytes)?;
    let manifest = manifest_bytes(&config, config_bytes.len() as u64, &layers);
    let digest = staging.put(&manifest)?;
    staging.publish(vec![Name::new(digest, manifest.len() as u64, commit.reference)])?;
    Ok(ImageId(config))
}

/// When the image was made: never by the clock.
fn created(base: &Image, newest: Option<Timestamp>, epoch: Option<i64>) -> Option<String> {
    if let Some(epoch) = epoch.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        return Some(epoch.to_string());
    }
    let before = base.config.created().clone();
    match (newest, before.as_deref().and_then(|text| text.parse::<Timestamp>().ok())) {
        (Some(newest), Some(before)) if newest <= before => {}
        (Some(newest), _) => return Some(newest.to_string()),
        (None, _) => {}
    }
    before
}

/// Stages the changes as a blob and an unpacked layer above the base's (none when nothing was changed), and says how
/// new the newest of them is.
fn take_in(
    staging: &mut Staging<'_>,
    base: &Image,
    writable: &Path,
    epoch: Option<i64>,
) -> Result<(Option<Layer>, Option<Timestamp>)> {
    let blob = staging.new_blob()?;
    let directory = staging.new_layer()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let tree = rustix::fs::openat(CWD, directory.join("tree"), flags, Mode::empty()).context("open a layer")?;
    let limits = *staging.store().limits();
    let target = blob.file.try_clone().context("copy a descriptor")?;
    let mut feed = Feed::start(&limits, staging.lease(), target, tree).context("unpack the new layer")?;
    let newest = match pack(writable, epoch, &mut feed) {
        Ok(newest) => newest,
        Err(error) => return Err(feed.reason(error)),
    };
    let fed = feed.end().context("unpack the new layer")?;
    let Copied { digest, length } = fed.copied();
    if length == EMPTY_ARCHIVE {
        return Ok((None, None));
    }
    let unpacked = fed.wait().context("unpack the new layer")?;
    staging.add_layer(&ChainId::above(base.layers.last(), &digest), directory, &unpacked)?;
    staging.add_blob(&digest, blob);
    let layer = Layer { digest, size: length, media_type: layer_type(Compression::None), diff_id: digest };
    Ok((Some(layer), newest))
}

/// The two blocks that end an archive.
const EMPTY_ARCHIVE: u64 = 1024;

/// Writes the upper directory as a layer's tar; says how new its newest entry is.
fn pack(writable: &Path, epoch: Option<i64>, output: &mut dyn Write) -> Result<Option<Timestamp>> {
    let failed = || format!("read the changes in `{}`", writable.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = rustix::fs::openat(CWD, writable.join(UPPER), flags, Mode::empty()).with_context(failed)?;
    let mut output = BufWriter::with_capacity(256 << 10, output);
    let source = Source { root_uid: 0, root_gid: 0, marks: Marks::Layer, one_file_system: true };
    let mut writer = Writer::new(&mut output);
    let mut tree = Tree::new(&mut writer, source).clamped(epoch);
    tree.contents(upper.as_fd()).with_context(failed)?;
    let newest = tree
        .newest()
        .and_then(|(seconds, nanoseconds)| Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or(0)).ok());
    writer.finish().context("store a blob")?;
    Ok(newest)
}

/// Adds a line of history that made no layer.
fn push_empty_line(document: &mut ConfigDocument, line: &History) {
    let mut history = match document.json().get("history") {
        Some(Value::Array(lines)) => lines.clone(),
        _ => Vec::new(),
    };
    let mut entry = json!({"created": line.created, "created_by": line.created_by, "empty_layer": true});
    if !line.author.is_empty() {
        entry["author"] = line.author.as_str().into();
    }
    if !line.comment.is_empty() {
        entry["comment"] = line.comment.as_str().into();
    }
    history.push(entry);
    document.set("history", history);
}
