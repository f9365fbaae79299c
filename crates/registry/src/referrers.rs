//! Manifests to a registry, and the documents that refer to one (signatures, lists of components): its referrers.
//!
//! ```text
//! PUT manifests/<tag or digest>      201; with OCI-Subject the registry has noted whom the manifest refers to
//! GET referrers/<digest>             an index of those that refer to it
//! ```
//!
//! A registry without referrers (before version 1.1) keeps that index under a tag, `sha256-<hex>`, and whoever pushes a
//! referrer brings it up to date.

use failure::{Error, Result};
use reference::Digest;
use serde_json::{Map, Value, json};

use crate::document::LONGEST_MANIFEST;
use crate::endpoint::Endpoint;
use crate::exchange::Request;
use crate::failure_body;
use crate::http::Content;
use crate::lists::{MOST_PAGES, next};
use crate::repository::{Repository, Which};
use crate::trouble::Trouble;
use crate::upload::pushes;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Repository {
    /// Pushes a manifest or an index. One that refers to another (its `subject`) is found there afterwards.
    ///
    /// # Errors
    /// The registry does not answer, refuses, or lacks something that the manifest refers to.
    pub fn put_manifest(&self, which: Which<'_>, bytes: &[u8], media_type: &str) -> Result<()> {
        let noted = self.put(which, bytes, media_type)?;
        match subject(bytes) {
            Some(subject) if !noted => self.note(&subject, descriptor(bytes, media_type)),
            _ => Ok(()),
        }
    }

    /// Whether the registry has noted whom the manifest refers to.
    fn put(&self, which: Which<'_>, bytes: &[u8], media_type: &str) -> Result<bool> {
        self.first(pushes, |endpoint| {
            let mut request = Request::new("PUT", format!("manifests/{which}")).with("content-type", media_type);
            request.content = Content::Bytes(bytes);
            let mut answer = self.ask(endpoint, request)?;
            let name = self.manifest_name(which);
            if !(200..=299).contains(&answer.status) {
                return Err(failure_body::trouble(&mut answer, &name));
            }
            let digest = Digest::of(bytes);
            match answer.header("docker-content-digest").filter(|said| said.starts_with("sha256:")) {
                Some(said) if said != digest.to_string() => {
                    let message = format!("{name}: {} took {said} where {digest} was sent", endpoint.host);
                    Err(Error::invalid(message).into())
                }
                _ => Ok(answer.header("oci-subject").is_some()),
            }
        })
    }

    /// Adds a descriptor to the index of those that refer to `subject`.
    fn note(&self, subject: &Digest, descriptor: Value) -> Result<()> {
        let tag = tag(subject);
        let mut manifests = match self.head_manifest(Which::Tag(&tag))? {
            Some(_) => manifests(&self.manifest(Which::Tag(&tag))?.bytes).unwrap_or_default(),
            None => Vec::new(),
        };
        if manifests.iter().any(|one| one["digest"] == descriptor["digest"]) {
            return Ok(());
        }
        manifests.push(descriptor);
        self.put(Which::Tag(&tag), &index(manifests), INDEX).map(drop)
    }

    /// An image index of the documents that refer to a manifest; None if there are none.
    ///
    /// # Errors
    /// No endpoint answers.
    pub fn referrers(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let listed = self.first(|endpoint| endpoint.offers.content, |endpoint| self.listed(endpoint, digest))?;
        if let Some(manifests) = listed {
            return Ok((!manifests.is_empty()).then(|| index(manifests)));
        }
        let tag = tag(digest);
        match self.head_manifest(Which::Tag(&tag))? {
            Some(_) => Ok(Some(self.manifest(Which::Tag(&tag))?.bytes)),
            None => Ok(None),
        }
    }

    /// What an endpoint lists; None if it has no such list.
    fn listed(&self, endpoint: &Endpoint, digest: &Digest) -> Result<Option<Vec<Value>>, Trouble> {
        let mut request = Request::new("GET", format!("referrers/{digest}"));
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut answer = self.ask(endpoint, request)?;
            match answer.status {
                200 if answer.media_type() == INDEX => {}
                // Not there before version 1.1, and not at all registries since.
                200 | 400 | 404 | 405 => return Ok(None),
                _ => return Err(failure_body::trouble(&mut answer, &self.manifest_name(Which::Digest(digest)))),
            }
            let page = manifests(&answer.bytes(LONGEST_MANIFEST)?);
            all.extend(page.ok_or_else(|| {
                Error::invalid(format!("{}: {} sends no list of referrers", self.name(), endpoint.host))
            })?);
            let Some(next) = answer.header("link").and_then(next) else { return Ok(Some(all)) };
            request = Request::at("GET", answer.from.join(next)?, Content::Nothing);
        }
        Err(Error::invalid(format!("{}: its list of referrers does not end", self.name())).into())
    }
}

fn tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

fn index(manifests: Vec<Value>) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string().into_bytes()
}

fn manifests(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut index: Value = serde_json::from_slice(bytes).ok()?;
    match index.get_mut("manifests")?.take() {
        Value::Array(manifests) => Some(manifests),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

/// Whom a manifest refers to.
fn subject(bytes: &[u8]) -> Option<Digest> {
    let manifest: Value = serde_json::from_slice(bytes).ok()?;
    Digest::parse(manifest["subject"]["digest"].as_str()?).ok()
}

/// How a manifest is described in a list.
fn descriptor(bytes: &[u8], media_type: &str) -> Value {
    let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut descriptor = Map::new();
    descriptor.insert("mediaType".to_owned(), media_type.into());
    descriptor.insert("digest".to_owned(), Digest::of(bytes).to_string().into());
    descriptor.insert("size".to_owned(), bytes.len().into());
    let kind = [&manifest["artifactType"], &manifest["config"]["mediaType"]];
    if let Some(kind) = kind.into_iter().find(|kind| kind.is_string()) {
        descriptor.insert("artifactType".to_owned(), kind.clone());
    }
    if let Some(annotations) = manifest.get("annotations").filter(|annotations| annotations.is_object()) {
        descriptor.insert("annotations".to_owned(), annotations.clone());
    }
    descriptor.into()
}
