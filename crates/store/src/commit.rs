//! A container's changes as a new image: `skep commit`.
//!
//! ```text
//! upper directory --tar, hashed while it is written--> blob --the unpacker of all layers--> layers/<chain id>
//!                                                        \-> configuration + manifest of the base, one layer longer
//! ```
//!
//! The blob is an uncompressed tar: its digest is its diff id, and a commit waits for the disk and not for a compressor.
//! The layer comes from the blob and not from the upper directory, so what is mounted is what is saved and pushed. A
//! container that changed nothing makes an image without a new layer, as Docker does.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use failure::{Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use serde_json::{Value, json};

use crate::documents::{layer_type, manifest_bytes};
use crate::jobs::{self, Source as TaskSource, Task};
use crate::overlay::UPPER;
use crate::tarball::{Marks, Source, Tree, Writer};
use crate::{
    ChainId, Compression, ConfigChange, ConfigDocument, Digest, Hasher, History, Image, ImageId, Layer, Name, Quiet,
    Reference, Staging, Store,
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
    let now = jiff::Timestamp::now().to_string();
    document.set("created", now.as_str());
    if !commit.author.is_empty() {
        document.set("author", commit.author);
    }
    let line = History {
        created: now,
        author: commit.author.to_owned(),
        created_by: commit.created_by.to_owned(),
        comment: commit.message.to_owned(),
    };
    match take_in(&mut staging, base, commit.writable)? {
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

/// Stages the changes as a blob and an unpacked layer above the base's; none when nothing was changed.
fn take_in(staging: &mut Staging<'_>, base: &Image, writable: &Path) -> Result<Option<Layer>> {
    let mut blob = staging.new_blob()?;
    let (digest, size) = pack(writable, &mut blob.file)?;
    if size == EMPTY_ARCHIVE {
        return Ok(None);
    }
    let chain = ChainId::above(base.layers.last(), &digest);
    if !staging.has_layer(&chain) {
        let source = blob.file.try_clone().context("copy a descriptor")?;
        unpack(staging, source, size, digest, &chain)?;
    }
    staging.add_blob(&digest, blob);
    Ok(Some(Layer { digest, size, media_type: layer_type(Compression::None), diff_id: digest }))
}

/// The two blocks that end an archive.
const EMPTY_ARCHIVE: u64 = 1024;

/// Writes the upper directory as a layer's tar; gives back its digest and length.
fn pack(writable: &Path, file: &mut File) -> Result<(Digest, u64)> {
    let failed = || format!("read the changes in `{}`", writable.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = rustix::fs::openat(CWD, writable.join(UPPER), flags, Mode::empty()).with_context(failed)?;
    let mut output = BufWriter::with_capacity(256 << 10, Hashing { hasher: Hasher::new(), length: 0, file });
    let source = Source { root_uid: 0, root_gid: 0, marks: Marks::Layer, one_file_system: true };
    let mut writer = Writer::new(&mut output);
    Tree::new(&mut writer, source).contents(std::os::fd::AsFd::as_fd(&upper)).with_context(failed)?;
    writer.finish().context("store a blob")?;
    let hashing = output.into_inner().map_err(io::IntoInnerError::into_error).context("store a blob")?;
    Ok((hashing.hasher.finish(), hashing.length))
}

/// Writes to a file and hashes what it writes.
struct Hashing<'a> {
    hasher: Hasher,
    length: u64,
    file: &'a mut File,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unpack(staging: &mut Staging<'_>, file: File, length: u64, label: Digest, chain: &ChainId) -> Result<()> {
    let directory = staging.new_layer()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let tree = rustix::fs::openat(CWD, directory.join("tree"), flags, Mode::empty()).context("open a layer")?;
    let source = TaskSource::Segment { file, offset: 0, length };
    let task = Task { index: 0, label, name: "the new layer".to_owned(), source, copy_to: None, tree: Some(tree) };
    let limits = *staging.store().limits();
    let mut done = None;
    jobs::run(&limits, staging.lease(), [Ok(task)].into_iter(), &mut Quiet, |_, outcome| {
        done = outcome.unpacked;
        Ok(())
    })
    .context("unpack the new layer")?;
    let unpacked = done.ok_or_else(|| Error::internal("the new layer was not unpacked"))?;
    staging.add_layer(chain, directory, &unpacked)
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
