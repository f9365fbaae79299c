//! `skep pull`: images and artifacts from a registry into the store.
//!
//! ```text
//! what does the tag refer to?              one request, and the last one if all of it is here under that name
//! may it be used?                          the policy; what a signature is for is what the name refers to
//! index -> the manifests that are wanted   this machine's platform, the one that was asked for, or all
//! manifest -> configuration                small documents, verified, in memory; those that are here are not asked for
//! layers, the name                         `store::pull`: several processes at once, each with connections of its own
//! ```

use std::collections::BTreeMap;

use failure::{Error, Result};
pub use store::Platform;
use store::pull::{Blob, Described, Lent, Member, Pull, Remote, borrow_or_fetch, choose, describe, platforms};
use store::{Digest, Name, Progress, Reference, Store};

use crate::Home;
use crate::registries::{Access, Repository, Session, Which};

/// The longest configuration that is read.
const LONGEST_CONFIGURATION: u64 = 4 << 20;

/// Which of several platforms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Platforms {
    /// This machine's.
    #[default]
    Mine,
    /// This one.
    One(Platform),
    /// All, and what belongs to them.
    All,
}

/// What came of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The name, as it is in the store now.
    pub name: Reference,
    /// What it refers to.
    pub digest: Digest,
    /// Whether anything is new.
    pub is_new: bool,
}

/// The names to pull: the one that was given, or with `all` every tag of the repository.
///
/// # Errors
/// No name, or a registry that cannot be asked.
pub fn names(session: &Session, text: &str, all: bool) -> Result<Vec<Reference>> {
    let named = session.named(text)?;
    if !all {
        return Ok(vec![named]);
    }
    let last = text.rsplit('/').next().unwrap_or(text);
    if last.contains([':', '@']) {
        return Err(Error::invalid("tag can't be used with --all-tags/-a"));
    }
    let tags = session.repository(&named, Access::Pull)?.tags()?;
    let repository = format!("{}/{}", named.host(), named.path());
    tags.iter().map(|tag| Reference::parse(&format!("{repository}:{tag}"))).collect()
}

/// Pulls what `name` refers to in its registry.
///
/// # Errors
/// The registry has it not, is away or sends something else; the policy forbids it; a limit or the disk is reached.
pub fn pull(
    home: &Home,
    session: &Session,
    name: &Reference,
    wanted: &Platforms,
    progress: &mut dyn Progress,
) -> Result<Pulled> {
    let store = home.store()?;
    let repository = session.repository(name, Access::Pull)?;
    let digest = match name.digest() {
        Some(digest) => *digest,
        None => {
            let found = repository.head_manifest(Which::of(name))?;
            found
                .ok_or_else(|| Error::not_found(format!("no image `{name}`: `{}` has no such tag", name.host())))?
                .digest
        }
    };
    session.verify(&repository, name, &digest)?;
    // A digest says more than the tag beside it, which is not compared with anything.
    let name = if name.digest().is_some() { name.pinned(digest) } else { name.clone() };
    if *wanted == Platforms::Mine && was_pushed(store, &name, &digest)? {
        return Ok(Pulled { name, digest, is_new: false });
    }
    let (all, lent) = (BTreeMap::new(), Vec::new());
    let mut documents = Documents { store, repository: &repository, name: &name, all, lent };
    let (media_type, manifests) = documents.collect(&digest, wanted)?;
    let size = documents.all[&digest].len() as u64;
    let entry = Name::of_type(media_type, digest, size, Some(name.clone()));
    let Documents { all, lent: _until_the_end, .. } = documents;
    let pull = Pull { documents: all.into_values().collect(), manifests, names: vec![entry] };
    let is_new = !store::pull::is_here(store, &pull)?;
    if is_new {
        repository.prepare();
        store::pull::pull(store, &pull, &Blobs(&repository), progress)?;
    }
    Ok(Pulled { name, digest, is_new })
}

/// Whether the registry has what was pushed from here under this name: the same image, its layers compressed.
fn was_pushed(store: &Store, name: &Reference, digest: &Digest) -> Result<bool> {
    let names = store.names()?;
    let entry = names.find(name).filter(|entry| entry.pushed() == Some(*digest));
    Ok(entry.is_some_and(|entry| store.image(&entry.target).is_ok()))
}

/// Blobs of a repository, for the store.
struct Blobs<'a>(&'a Repository);

impl Remote for Blobs<'_> {
    fn fetch(&self, blob: &Blob, offset: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.0.blob(&blob.digest, blob.size, offset, sink)
    }
}

/// The small documents of an image, from the store or the registry, each verified.
struct Documents<'a> {
    store: &'a Store,
    repository: &'a Repository,
    name: &'a Reference,
    all: BTreeMap<Digest, Vec<u8>>,
    /// Those of them that other pulls may read meanwhile.
    lent: Vec<Lent>,
}

impl Documents<'_> {
    /// Gets all that are wanted of what `target` is; its media type, and the manifests.
    fn collect(&mut self, target: &Digest, wanted: &Platforms) -> Result<(&'static str, Vec<Digest>)> {
        let bytes = self.manifest(target, None)?;
        let media_type = media_type(&bytes);
        match describe(&bytes, &self.name.to_string())? {
            Described::Index(members) => {
                let chosen = self.choose(&members, wanted)?;
                for member in &chosen {
                    self.member(member)?;
                }
                Ok((media_type, chosen.iter().map(Member::digest).collect()))
            }
            Described::Image { config } => {
                let config = self.configuration(&config)?;
                self.check_platform(&config, wanted)?;
                Ok((media_type, vec![*target]))
            }
            Described::Artifact => Ok((media_type, vec![*target])),
        }
    }

    fn choose(&self, members: &[Member], wanted: &Platforms) -> Result<Vec<Member>> {
        let platform = match wanted {
            Platforms::All => return Ok(members.to_vec()),
            Platforms::One(platform) => platform.clone(),
            Platforms::Mine => Platform::of_this_machine(),
        };
        let chosen = choose(members, &platform).ok_or_else(|| {
            let others = platforms(members);
            Error::not_found(format!("`{}` has no image for {platform}, only for {others}", self.name))
        })?;
        Ok(vec![chosen.clone()])
    }

    fn member(&mut self, member: &Member) -> Result<()> {
        let bytes = self.manifest(&member.digest(), Some(member.manifest.size))?;
        match describe(&bytes, &member.digest().to_string())? {
            Described::Image { config } => self.configuration(&config).map(drop),
            Described::Artifact => Ok(()),
            Described::Index(_) => {
                Err(Error::unsupported(format!("`{}` is an index of indexes, which is not supported", self.name)))
            }
        }
    }

    fn manifest(&mut self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>> {
        let bytes = match self.store.has_blob(digest) {
            true => self.store.read_blob(digest)?,
            false => self.repository.manifest(Which::Digest(digest))?.bytes,
        };
        self.keep(digest, size, bytes)
    }

    fn configuration(&mut self, config: &Blob) -> Result<Vec<u8>> {
        let Blob { digest, size } = config;
        if *size > LONGEST_CONFIGURATION {
            return Err(Error::invalid(format!("the configuration of `{}` is larger than 4 MB", self.name)));
        }
        let repository = self.repository;
        let (bytes, held) = borrow_or_fetch(self.store, config, || {
            let mut bytes = Vec::new();
            repository.blob(digest, *size, 0, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            Ok(bytes)
        })?;
        self.lent.push(held);
        self.keep(digest, Some(*size), bytes)
    }

    fn keep(&mut self, digest: &Digest, size: Option<u64>, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let actual = Digest::of(&bytes);
        if actual != *digest || size.is_some_and(|size| size != bytes.len() as u64) {
            let length = bytes.len();
            let message = format!("`{digest}` is refused: the registry sent {length} bytes with the digest {actual}");
            return Err(Error::invalid(message));
        }
        self.all.insert(*digest, bytes.clone());
        Ok(bytes)
    }

    /// An image that is no index is for one platform: if another was asked for by name, it is not this one.
    fn check_platform(&self, config: &[u8], wanted: &Platforms) -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Of {
            #[serde(default)]
            os: String,
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            variant: Option<String>,
        }
        let Platforms::One(wanted) = wanted else { return Ok(()) };
        let of: Of = serde_json::from_slice(config).map_err(|error| {
            Error::invalid(format!("the configuration of `{}` is damaged", self.name)).with_source(error)
        })?;
        let actual = Platform::new(&of.os, &of.architecture, of.variant.as_deref());
        match actual == *wanted {
            true => Ok(()),
            false => Err(Error::not_found(format!("`{}` is for {actual}, not for {wanted}", self.name))),
        }
    }
}

/// What a document says that it is; that is covered by its digest, what the registry says is not.
fn media_type(bytes: &[u8]) -> &'static str {
    const TYPES: [&str; 4] = [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ];
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
    }
    let typed: Option<Typed> = serde_json::from_slice(bytes).ok();
    let said = typed.as_ref().and_then(|typed| typed.media_type.as_deref());
    let known = said.and_then(|said| TYPES.into_iter().find(|known| *known == said));
    let is_index = typed.as_ref().is_some_and(|typed| typed.manifests.is_some());
    known.unwrap_or(if is_index { TYPES[1] } else { TYPES[0] })
}

/// Whether nothing is called so here (for this platform), and a registry could have it.
///
/// # Errors
/// The store or the settings cannot be read.
pub fn is_missing(home: &Home, text: &str, platform: Option<&Platform>) -> Result<bool> {
    if is_local(text) {
        return Ok(false);
    }
    let store = home.store()?;
    let by_name = || -> Result<bool> {
        let names = store.names()?;
        Ok(Reference::parse(text).is_ok_and(|reference| names.find(&reference).is_some()))
    };
    if platform.is_none() && by_name()? {
        return Ok(false);
    }
    match store.resolve_for(text, platform) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == failure::Kind::NotFound => Ok(Reference::parse(text).is_ok()),
        // It is here and not as it should be: creating says how.
        Err(_) => Ok(false),
    }
}

/// Whether it names something that is no image of a registry.
pub fn is_local(text: &str) -> bool {
    text == "host:" || ["rootfs:", "oci:"].iter().any(|kind| text.starts_with(kind))
}
