//! Manifests and indexes as they arrive: proved to be what was asked for, and to be what they are said to be.

use std::cell::Cell;

use failure::{Error, Result};
use reference::Digest;
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::exchange::Request;
use crate::failure_body;
use crate::http::Answer;
use crate::repository::{Repository, Which};
use crate::trouble::Trouble;

/// The longest manifest that is read, which is also the longest that registries take.
pub(crate) const LONGEST_MANIFEST: u64 = 4 * 1024 * 1024;

/// Media types that are taken for a manifest. Older ones are refused where they appear, in words.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

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
    /// Its media type: what the registry and the document itself say.
    pub media_type: String,
}

/// What every manifest has, of whatever kind.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

impl Repository {
    /// What a tag or digest refers to, in one request. None if there is no such manifest.
    ///
    /// # Errors
    /// No endpoint answers, or the answer says nothing that can be relied on.
    pub fn head_manifest(&self, which: Which<'_>) -> Result<Option<Found>> {
        // What is not found may also be something of ours.
        let absent = Cell::new(false);
        let found = self.first(
            |endpoint| offers(endpoint, which),
            |endpoint| {
                let request = Request::new("HEAD", format!("manifests/{which}")).with("accept", MANIFESTS);
                let mut answer = self.ask(endpoint, request)?;
                match answer.status {
                    200 => self.found(endpoint, &answer, which),
                    status => {
                        absent.set(status == 404);
                        Err(failure_body::trouble(&mut answer, &self.manifest_name(which)))
                    }
                }
            },
        );
        match found {
            Err(error) if error.kind() == failure::Kind::NotFound && absent.get() => Ok(None),
            found => found.map(Some),
        }
    }

    fn found(&self, endpoint: &Endpoint, answer: &Answer, which: Which<'_>) -> Result<Found, Trouble> {
        let digest = match (answer.header("docker-content-digest"), which) {
            (Some(digest), _) => Digest::parse(digest)?,
            (None, Which::Digest(digest)) => *digest,
            // Registries need not say it: the document itself does.
            (None, Which::Tag(_)) => self.fetch_manifest(endpoint, which)?.digest,
        };
        Ok(Found { digest, media_type: answer.media_type(), size: answer.length() })
    }

    /// A manifest or an index.
    ///
    /// # Errors
    /// It is not there, no endpoint answers, or what is sent is not what was asked for.
    pub fn manifest(&self, which: Which<'_>) -> Result<Document> {
        self.first(|endpoint| offers(endpoint, which), |endpoint| self.fetch_manifest(endpoint, which))
    }

    fn fetch_manifest(&self, endpoint: &Endpoint, which: Which<'_>) -> Result<Document, Trouble> {
        let request = Request::new("GET", format!("manifests/{which}")).with("accept", MANIFESTS);
        let mut answer = self.ask(endpoint, request)?;
        let name = self.manifest_name(which);
        if answer.status != 200 {
            return Err(failure_body::trouble(&mut answer, &name));
        }
        let host = answer.from.host.clone();
        let wrong = |reason: String| Error::invalid(format!("{name}: {host} {reason}"));
        let said = answer.media_type();
        if said == "text/html" {
            return Err(wrong("sends a web page instead of a manifest; is it a registry?".to_owned()).into());
        }
        let bytes = answer.bytes(LONGEST_MANIFEST)?;
        let digest = Digest::of(&bytes);
        let expected = match (which, answer.header("docker-content-digest")) {
            (Which::Digest(digest), _) => *digest,
            // Another algorithm's digest says nothing about ours.
            (Which::Tag(_), Some(said)) if said.starts_with("sha256:") => Digest::parse(said)?,
            (Which::Tag(_), _) => digest,
        };
        if digest != expected {
            return Err(wrong(format!("sends {digest} where {expected} belongs")).into());
        }
        let media_type = media_type(&bytes, &said).map_err(wrong)?;
        Ok(Document { bytes, digest, media_type })
    }
}

/// A document's media type. What is said about it and what it says itself must agree: one document could otherwise be
/// shown as two things. The error goes on from the host's name.
pub(crate) fn media_type(bytes: &[u8], said: &str) -> Result<String, String> {
    let outline: Outline =
        serde_json::from_slice(bytes).map_err(|_| format!("sends what is not a manifest (`{said}`)"))?;
    if outline.schema_version == Some(1) || said.starts_with("application/vnd.docker.distribution.manifest.v1") {
        return Err(
            "has it only in Docker's old format (schema 1), which is not read; push it again with a newer client"
                .to_owned(),
        );
    }
    let own = outline.media_type.filter(|own| !own.is_empty());
    let vague = matches!(said, "" | "application/json" | "text/plain" | "application/octet-stream");
    match own {
        Some(own) if vague || own == said => Ok(own),
        Some(own) => Err(format!("says that it sends `{said}`, and sends `{own}`")),
        None if !vague => Ok(said.to_owned()),
        None if outline.config.is_some() => Ok("application/vnd.oci.image.manifest.v1+json".to_owned()),
        None if outline.manifests.is_some() => Ok("application/vnd.oci.image.index.v1+json".to_owned()),
        None => Err(format!("sends what is not a manifest (`{said}`)")),
    }
}

/// Whether an endpoint may be asked for a manifest.
fn offers(endpoint: &Endpoint, which: Which<'_>) -> bool {
    match which {
        Which::Tag(_) => endpoint.offers.tags,
        Which::Digest(_) => endpoint.offers.content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_and_what_is_sent_must_agree() {
        let (index, manifest) =
            ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json");
        let check = |document: &str, said: &str| media_type(document.as_bytes(), said);
        assert_eq!(check(r#"{"schemaVersion":2}"#, index).unwrap(), index);
        assert_eq!(check(r#"{"schemaVersion":2,"config":{}}"#, "").unwrap(), manifest);
        assert_eq!(check(r#"{"schemaVersion":2,"manifests":[]}"#, "application/json").unwrap(), index);
        let own = format!(r#"{{"schemaVersion":2,"mediaType":"{manifest}"}}"#);
        assert_eq!(check(&own, manifest).unwrap(), manifest);
        assert_eq!(check(&own, "text/plain").unwrap(), manifest);
        assert!(check(&own, index).unwrap_err().contains("and sends"));
        for old in ["application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"] {
            assert!(check(r#"{"schemaVersion":1}"#, old).unwrap_err().contains("schema 1"));
        }
        for wrong in ["", "[]", "<html>", "{}", r#"{"schemaVersion":"x"}"#] {
            assert!(check(wrong, "application/json").is_err(), "{wrong}");
        }
    }
}
