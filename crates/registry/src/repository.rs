//! A repository, and which of its manifests is meant. The verbs are beside: `document`, `blob`, `lists`, `upload`,
//! `referrers`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use reference::{Digest, Reference};

use crate::address::Address;
use crate::endpoint::{Access, Endpoint};
use crate::registries::Registries;
use crate::tokens::{Visit, Who};

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

impl fmt::Display for Which<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => formatter.write_str(tag),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

/// One repository, for one command.
pub struct Repository {
    pub(crate) registries: Rc<Registries>,
    pub(crate) reference: Reference,
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

    /// Reads what asking for blobs and sending them may need of files (certificates, credentials), for whoever asks in a child that can read
    /// none. What cannot be read is no failure before it is needed.
    pub fn prepare(&self) {
        let used = |endpoint: &&Endpoint| match self.access {
            Access::Pull => endpoint.offers.content,
            Access::Push => endpoint.offers.push,
        };
        for endpoint in self.endpoints.iter().filter(used) {
            self.registries.prepare(Visit { endpoint, who: Who::Of(&self.reference), scopes: &[] });
        }
    }

    /// The repository's name for messages.
    pub(crate) fn name(&self) -> String {
        self.reference.familiar_repository()
    }

    pub(crate) fn manifest_name(&self, which: Which<'_>) -> String {
        match which {
            Which::Tag(tag) => format!("{}:{tag}", self.name()),
            Which::Digest(digest) => format!("{}@{digest}", self.name()),
        }
    }

    pub(crate) fn blob_name(&self, digest: &Digest) -> String {
        format!("{}: blob {digest}", self.name())
    }
}
