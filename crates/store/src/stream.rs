//! An image archive that comes through a pipe: each of its files is seen once, in the archive's own order.
//!
//! | a file | |
//! |---|---|
//! | a layer that the documents before it speak of, and that is here | passed over: neither stored nor unpacked |
//! | a layer that they speak of, and that is not here | stored, hashed and unpacked while it streams by (`jobs::feed`) |
//! | anything else | staged as a blob; what it is, is found when the documents have come |
//!
//! `skep save` writes documents first, so that all layers are of the first two kinds; Docker and podman write them last.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;

use failure::{Cause, Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::archive::{Archive, Entry, Tape};
use crate::contents::{Contents, Item, Items};
use crate::ingest::{Expected, IncomingLayer, check};
use crate::jobs::{Fed, Feed};
use crate::oci::{self, Wanted};
use crate::{Hasher, Platform, Progress, StagedBlob, Staging, docker};

/// Documents are smaller than this as a rule; smaller layers may as well be staged.
const WORTH_A_LOOK: u64 = 64 << 10;
/// So often the documents are looked through, in the hope that they are complete.
const MOST_LOOKS: usize = 32;
/// How much of a layer comes between two words on its progress.
const PROGRESS_INTERVAL: u64 = 4 << 20;

/// What is needed to take files in.
pub(crate) struct Arrivals<'n, 's, 'a> {
    pub(crate) name: &'n str,
    pub(crate) staging: &'s mut Staging<'a>,
    pub(crate) platform: Option<&'n Platform>,
    pub(crate) progress: &'s mut dyn Progress,
}

/// What the documents have said.
#[derive(Default)]
struct Knowledge {
    layers: Option<Expected>,
    looks: usize,
}

/// A layer that was stored and is being unpacked.
struct Unpacking {
    layer: IncomingLayer,
    fed: Fed,
    blob: StagedBlob,
    directory: PathBuf,
}

/// What went wrong: in the archive's form, or in taking a file in.
enum Fault {
    Read(std::io::Error),
    Other(Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Arrivals<'_, '_, '_> {
    /// Takes in all files of an archive, to its end.
    pub(crate) fn take_in(&mut self, reader: BufReader<impl Read>) -> Result<BTreeMap<Vec<u8>, Item>> {
        let name = self.name;
        self.files(reader).map_err(|fault| match fault {
            Fault::Read(error) => Error::new(error.cause_kind(), format!("read {name}: {error}")),
            Fault::Other(error) => error,
        })
    }

    fn files(&mut self, reader: BufReader<impl Read>) -> Result<BTreeMap<Vec<u8>, Item>, Fault> {
        let mut archive = Archive::new(reader);
        let (mut items, mut knowledge, mut unpacking) = (Items::default(), Knowledge::default(), Vec::new());
        let most = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        while let Some(entry) = archive.next_entry()? {
            if entry.size >= WORTH_A_LOOK {
                self.look(&mut knowledge, &mut items);
            }
            items.add(&entry, |path| self.file(&mut archive, &entry, path, &knowledge, &mut unpacking))?;
            if unpacking.len() > most {
                self.finish(unpacking.remove(0))?;
            }
        }
        archive.drain()?;
        for layer in unpacking {
            self.finish(layer)?;
        }
        Ok(items.items)
    }

    /// Looks whether the documents that have come say what the layers are.
    fn look(&mut self, knowledge: &mut Knowledge, items: &mut Items) {
        let has = |path: &str| items.items.contains_key(path.as_bytes());
        let docker = has(docker::MANIFEST);
        if knowledge.layers.is_some() || knowledge.looks >= MOST_LOOKS || !(docker || has(oci::LAYOUT)) {
            return;
        }
        knowledge.looks += 1;
        let (name, platform) = (self.name.to_owned(), self.platform);
        let contents = Contents::Archive { name, file: None, items: std::mem::take(&mut items.items) };
        // An error here means that something is missing yet; if it is never found, it is an error later.
        knowledge.layers = match docker {
            true => docker::expected(self.staging, &contents, platform).ok(),
            false => oci::expected(self.staging, &contents, Wanted { name: None, platform }).ok(),
        };
        if let Contents::Archive { items: seen, .. } = contents {
            items.items = seen;
        }
    }

    fn file(
        &mut self,
        archive: &mut Archive<impl Tape>,
        entry: &Entry,
        path: &[u8],
        knowledge: &Knowledge,
        unpacking: &mut Vec<Unpacking>,
    ) -> Result<Item, Fault> {
        let Some(expected) = &knowledge.layers else { return self.stage(archive, entry) };
        let mut same = expected.needed.iter().filter(|layer| layer.path.as_bytes() == path);
        match (same.next(), std::str::from_utf8(path)) {
            (Some(layer), _) if same.all(|other| other.chain == layer.chain) && self.is_missing(layer) => {
                self.feed(archive, entry, layer, unpacking)
            }
            (None, Ok(path)) if expected.paths.contains(path) => Ok(Item::Passed),
            _ => self.stage(archive, entry),
        }
    }

    /// Whether neither the blob nor the tree is there.
    fn is_missing(&self, layer: &IncomingLayer) -> bool {
        !self.staging.has_layer(&layer.chain) && layer.digest.is_none_or(|digest| !self.staging.has_blob(&digest))
    }

    /// Keeps a file's bytes as a blob.
    fn stage(&mut self, archive: &mut Archive<impl Tape>, entry: &Entry) -> Result<Item, Fault> {
        let mut blob = self.staging.new_blob()?;
        let mut hasher = Hasher::new();
        loop {
            let bytes = archive.data()?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            blob.file.write_all(bytes)?;
            let count = bytes.len();
            archive.consume(count);
        }
        let digest = hasher.finish();
        self.staging.add_blob(&digest, blob);
        Ok(Item::Staged { digest, length: entry.size })
    }

    /// Stores a layer, and has it unpacked meanwhile.
    fn feed(
        &mut self,
        archive: &mut Archive<impl Tape>,
        entry: &Entry,
        layer: &IncomingLayer,
        unpacking: &mut Vec<Unpacking>,
    ) -> Result<Item, Fault> {
        let blob = self.staging.new_blob()?;
        let directory = self.staging.new_layer()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let tree = openat(CWD, directory.join("tree"), flags, Mode::empty()).context("open a layer")?;
        let target = blob.file.try_clone().context("copy a descriptor")?;
        let limits = *self.staging.store().limits();
        self.progress.begin(&layer.diff_id, entry.size);
        let mut feed = Feed::start(&limits, self.staging.lease(), target, tree)?;
        let (mut done, mut told) = (0, 0);
        loop {
            let bytes = archive.data()?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            if let Err(error) = feed.write_all(bytes) {
                let error = Error::new(error.cause_kind(), "store a layer").with_source(error);
                return Err(feed.reason(error)).with_context(|| name_of(layer)).map_err(Fault::Other);
            }
            archive.consume(count);
            done += count as u64;
            if done - told >= PROGRESS_INTERVAL {
                told = done;
                self.progress.advance(&layer.diff_id, done);
            }
        }
        let fed = feed.end().with_context(|| name_of(layer))?;
        let (digest, length) = (fed.copied().digest, fed.copied().length);
        check(layer.digest.unwrap_or(digest), digest, &layer.path)?;
        unpacking.push(Unpacking { layer: layer.clone(), fed, blob, directory });
        Ok(Item::Staged { digest, length })
    }

    /// Waits until a layer is unpacked, and stages it if it is what the documents say.
    fn finish(&mut self, unpacking: Unpacking) -> Result<(), Fault> {
        let Unpacking { layer, fed, blob, directory } = unpacking;
        let digest = fed.copied().digest;
        let unpacked = fed.wait().with_context(|| name_of(&layer))?;
        check(layer.diff_id, unpacked.diff_id.unwrap_or(digest), &layer.path)?;
        self.staging.add_layer(&layer.chain, directory, &unpacked)?;
        self.staging.add_blob(&digest, blob);
        self.progress.finish(&layer.diff_id);
        Ok(())
    }
}

fn name_of(layer: &IncomingLayer) -> String {
    format!("layer `{}`", layer.path.escape_debug())
}
