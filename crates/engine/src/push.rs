//! `skep push`: an image, or an artifact, from the store to a registry.
//!
//! ```text
//! is the registry there, and who are we to it?      one request, before anything is compressed
//! blobs, several at once, each in this order:       there already? -> in a repository nearby? -> sent
//! documents: the images of an index, then what the tag refers to
//! what refers to it (signatures), the same way
//! index.json remembers the digest that the image has there
//! ```
//!
//! Whoever is killed in between leaves blobs that no manifest needs there, and compressed layers here for the next time;
//! nothing that refers to something missing.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use failure::{Error, Result};
pub use store::push::{Arrival, Form, PushProgress, Scope};
use store::push::{Blob, Destination, Document, Referrer};
use store::{Digest, Reference, Store};

use crate::Home;
use crate::registries::{Access, Repository, Session, Which};

/// Repositories that are asked to lend a blob before it is sent.
const MOST_LENDERS: usize = 3;

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which of several platforms.
    pub scope: Scope,
    /// What uncompressed layers are compressed with; none: they are sent as they are.
    pub form: Option<Form>,
}

/// What a tag refers to in the registry now.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// Its length.
    pub size: usize,
}

/// The names to push: the one that was given, or with `all` every tag of the repository.
///
/// # Errors
/// No such name here, or one that cannot be pushed.
pub fn names(home: &Home, text: &str, all: bool) -> Result<Vec<Reference>> {
    let reference = Reference::parse(text)?;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot push a digest reference; push the name with its tag"));
    }
    let known = home.store()?.names()?;
    if !all {
        return match known.find(&reference) {
            Some(_) => Ok(vec![reference]),
            None => Err(Error::not_found(format!(
                "an image does not exist locally with the tag: {reference}; see `skep images`, or name it with `skep tag`"
            ))),
        };
    }
    if text.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        return Err(Error::invalid("tag can't be used with --all-tags/-a"));
    }
    let mut names: Vec<Reference> = known
        .entries()
        .iter()
        .filter_map(|entry| entry.reference.clone())
        .filter(|name| (name.host(), name.path()) == (reference.host(), reference.path()))
        // Signatures go with what they sign.
        .filter(|name| name.digest().is_none() && !name.tag().is_some_and(|tag| tag.starts_with("sha256-")))
        .collect();
    names.sort();
    match names.is_empty() {
        true => {
            let repository = reference.familiar_repository();
            Err(Error::not_found(format!("an image does not exist locally with the tag: {repository}")))
        }
        false => Ok(names),
    }
}

/// Pushes what `name` refers to.
///
/// # Errors
/// The registry refuses or is away, something is missing or damaged here, or the disk is full.
pub fn push(
    home: &Home,
    session: &Session,
    name: &Reference,
    options: &Options,
    progress: &mut dyn PushProgress,
) -> Result<Pushed> {
    let store = home.store()?;
    let names = store.names()?;
    let entry = names.find(name).ok_or_else(|| Error::not_found(format!("no such image: `{name}`")))?;
    let target = store.push_choice(&entry.target, &options.scope)?;
    let repository = session.repository(name, Access::Push)?;
    // Whoever is not let in learns it before the layers are compressed; and the token is shared by all processes,
    // which can read no files.
    repository.head_manifest(Which::of(name))?;
    repository.prepare();
    let lenders = store.lenders(name)?;
    let mut remote = Remote { repository: &repository, lenders };
    let documents = store::push::push(store, &target, options.form, &mut remote, progress)?;
    let last = send_documents(&repository, name, &documents)?;
    store.record_push(name, &entry.target, last)?;
    for document in &documents {
        send_referrers(store, &mut remote, &document.digest, progress)?;
    }
    Ok(Pushed { digest: last.digest, size: last.bytes.len() })
}

/// Sends a manifest of the store as it is, with all that it needs, under its digest.
pub(crate) fn send_stored(
    store: &Store,
    repository: &Repository,
    name: &Reference,
    manifest: &Digest,
    progress: &mut dyn PushProgress,
) -> Result<()> {
    repository.prepare();
    let mut remote = Remote { repository, lenders: store.lenders(name)? };
    for document in store::push::push(store, manifest, None, &mut remote, progress)? {
        repository.put_manifest(Which::Digest(&document.digest), &document.bytes, &document.media_type)?;
    }
    Ok(())
}

/// Sends documents, the last of them under the name's tag.
fn send_documents<'a>(repository: &Repository, name: &Reference, documents: &'a [Document]) -> Result<&'a Document> {
    let (last, others) = documents.split_last().ok_or_else(|| Error::internal("there is nothing to push"))?;
    for document in others {
        repository.put_manifest(Which::Digest(&document.digest), &document.bytes, &document.media_type)?;
    }
    repository.put_manifest(Which::of(name), &last.bytes, &last.media_type)?;
    Ok(last)
}

/// Sends what the store has about a manifest that is there.
fn send_referrers(
    store: &Store,
    remote: &mut Remote<'_>,
    subject: &Digest,
    progress: &mut dyn PushProgress,
) -> Result<()> {
    for Referrer { digest, tag } in store.referrers(subject)? {
        let documents = store::push::push(store, &digest, None, remote, progress)?;
        for document in &documents {
            let which = match &tag {
                Some(tag) if document.digest == digest => Which::Tag(tag),
                _ => Which::Digest(&document.digest),
            };
            remote.repository.put_manifest(which, &document.bytes, &document.media_type)?;
        }
    }
    Ok(())
}

/// A repository that blobs go to.
struct Remote<'a> {
    repository: &'a Repository,
    /// Repositories of the same registry that may have a blob.
    lenders: HashMap<Digest, Vec<String>>,
}

impl Destination for Remote<'_> {
    fn carry(&mut self, blob: &Blob, file: File, sent: &mut dyn FnMut(u64) -> Result<()>) -> Result<Arrival> {
        if self.repository.has_blob(&blob.digest)? {
            return Ok(Arrival::Present);
        }
        for lender in self.lenders.get(&blob.digest).into_iter().flatten().take(MOST_LENDERS) {
            if self.repository.mount_blob(&blob.digest, lender)? {
                return Ok(Arrival::Mounted(lender.clone()));
            }
        }
        let mut source = Counted { file, at: 0, sent };
        self.repository.push_blob(&blob.digest, blob.size, &mut source)?;
        Ok(Arrival::Sent)
    }
}

/// Tells how much of a file was read.
struct Counted<'a> {
    file: File,
    at: u64,
    sent: &'a mut dyn FnMut(u64) -> Result<()>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.at += count as u64;
        (self.sent)(self.at).map_err(io::Error::other)?;
        Ok(count)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(position)?;
        Ok(self.at)
    }
}
