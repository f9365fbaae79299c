//! A repository: what can be asked of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use failure::{Error, Result};
use reference::{Digest, Reference};

use crate::address::Address;
use crate::endpoint::{Access, Endpoint};
use crate::exchange::Request;
use crate::failure_body;
use crate::http::Answer;
use crate::registries::Registries;

/// The longest manifest that is read, which is also the longest that registries take.
pub(crate) const LONGEST_MANIFEST: u64 = 4 * 1024 * 1024;

/// Media types that are taken for a manifest. Older ones are refused where they appear, in words.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Which manifest of a repository.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The one that a tag refers to now.
    Tag(&'a str),
    /// The one with this digest.
    Digest(&'a Digest),
}

impl<'a> Which<'a> {
    /// What a name refers to: its digest if it has one, else its tag.
    pub fn of(reference: &'a Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest),
            (None, tag) => Self::Tag(tag.unwrap_or("latest")),
        }
    }
}

impl std::fmt::Display for Which<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => formatter.write_str(tag),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

/// What a registry says a tag refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The manifest's digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its size, if it was said.
    pub size: Option<u64>,
}

/// A manifest or an index, as it was sent, its digest proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The bytes that the digest covers.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// The media type that the registry gave it.
    pub media_type: String,
}

/// One repository, for one command.
pub struct Repository {
    pub(crate) registries: Rc<Registries>,
    pub(crate) reference: Reference,
    #[expect(dead_code, reason = "decides the scope of tokens")]
    pub(crate) access: Access,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Uploads that were opened and not used yet.
    pub(crate) uploads: RefCell<HashMap<Digest, Address>>,
}

impl Repository {
    pub(crate) fn new(
        registries: Rc<Registries>,
        reference: Reference,
        access: Access,
        endpoints: Vec<Endpoint>,
    ) -> Self {
        Self { registries, reference, access, endpoints, uploads: RefCell::default() }
    }

    /// The repository's name for messages.
    pub(crate) fn name(&self) -> String {
        self.reference.familiar_repository()
    }

    /// What a tag or digest refers to, in one request. None if there is no such manifest.
    ///
    /// # Errors
    /// No endpoint answers, or the answer says nothing that can be relied on.
    pub fn head_manifest(&self, which: Which<'_>) -> Result<Option<Found>> {
        self.first(
            |endpoint| offers(endpoint, which),
            |endpoint| {
                let request = Request::new("HEAD", format!("manifests/{which}")).with("accept", MANIFESTS);
                let mut answer = self.ask(endpoint, request)?;
                match answer.status {
                    200 => self.found(&answer, which).map(Some),
                    404 => Ok(None),
                    _ => Err(failure_body::failure(&mut answer, &self.manifest_name(which))),
                }
            },
        )
    }

    fn found(&self, answer: &Answer, which: Which<'_>) -> Result<Found> {
        let digest = match (answer.header("docker-content-digest"), which) {
            (Some(digest), _) => Digest::parse(digest)?,
            (None, Which::Digest(digest)) => *digest,
            // Registries need not say it: the document itself does.
            (None, Which::Tag(_)) => self.manifest(which)?.digest,
        };
        Ok(Found { digest, media_type: answer.media_type(), size: answer.length() })
    }

    /// A manifest or an index.
    ///
    /// # Errors
    /// It is not there, no endpoint answers, or what is sent is not what was asked for.
    pub fn manifest(&self, which: Which<'_>) -> Result<Document> {
        self.first(
            |endpoint| offers(endpoint, which),
            |endpoint| {
                let request = Request::new("GET", format!("manifests/{which}")).with("accept", MANIFESTS);
                let mut answer = self.ask(endpoint, request)?;
                if answer.status != 200 {
                    return Err(failure_body::failure(&mut answer, &self.manifest_name(which)));
                }
                self.document(answer, which)
            },
        )
    }

    fn document(&self, mut answer: Answer, which: Which<'_>) -> Result<Document> {
        let name = self.manifest_name(which);
        let bytes = answer.bytes(LONGEST_MANIFEST)?;
        let digest = Digest::of(&bytes);
        let expected = match (which, answer.header("docker-content-digest")) {
            (Which::Digest(digest), _) => *digest,
            (Which::Tag(_), Some(said)) => Digest::parse(said)?,
            (Which::Tag(_), None) => digest,
        };
        if digest != expected {
            let message = format!("{name}: {} sends {digest} instead of {expected}", answer.from.host);
            return Err(Error::invalid(message));
        }
        Ok(Document { bytes, digest, media_type: answer.media_type() })
    }

    pub(crate) fn manifest_name(&self, which: Which<'_>) -> String {
        match which {
            Which::Tag(tag) => format!("{}:{tag}", self.name()),
            Which::Digest(digest) => format!("{}@{digest}", self.name()),
        }
    }
}

/// Whether an endpoint may be asked for a manifest.
fn offers(endpoint: &Endpoint, which: Which<'_>) -> bool {
    match which {
        Which::Tag(_) => endpoint.offers.tags,
        Which::Digest(_) => endpoint.offers.content,
    }
}
