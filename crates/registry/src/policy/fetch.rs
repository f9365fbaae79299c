//! Where the signatures of a manifest are, in its own repository:
//!
//! ```text
//! tag sha256-<hex of the manifest>.sig -> manifest { layers: one for each signature }     cosign, podman
//! referrers of the manifest            -> the same, of type ...cosign.artifact.sig.v1+json
//!     layer: the payload, a small blob; annotation dev.cosignproject.cosign/signature: base64 of its signature
//! ```
//! All of this is a stranger's: its size is bounded, and what is damaged is as good as not there.

use std::collections::BTreeMap;

use base64::Engine as _;
use failure::{Error, Kind, Result};
use reference::Digest;
use serde::Deserialize;

use super::Found;
use crate::{Repository, Which};

/// A layer that is a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// A referrer that is a signature.
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The annotation that holds the signature.
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The longest payload; they have some hundred bytes.
const LONGEST: u64 = 256 << 10;
/// The most signatures that are looked at.
const MOST: usize = 64;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    digest: String,
    #[serde(default)]
    artifact_type: String,
}

/// The signatures of a manifest.
///
/// # Errors
/// The registry does not answer. That it has none is no failure.
pub(super) fn signatures(repository: &Repository, digest: &Digest) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let tag = format!("sha256-{}.sig", digest.hex());
    match repository.manifest(Which::Tag(&tag)) {
        Ok(document) => of_manifest(repository, &document.bytes, &mut found)?,
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(error),
    }
    match referrers(repository, digest) {
        Ok(digests) => {
            for digest in digests {
                let document = repository.manifest(Which::Digest(&digest))?;
                of_manifest(repository, &document.bytes, &mut found)?;
            }
        }
        // A registry may not know them; then the tag is all there is.
        Err(_) if !found.is_empty() => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

fn referrers(repository: &Repository, digest: &Digest) -> Result<Vec<Digest>> {
    let Some(bytes) = repository.referrers(digest)? else { return Ok(Vec::new()) };
    let wrong = |_| Error::invalid(format!("the list of what refers to {digest} is no index"));
    let index: Index = serde_json::from_slice(&bytes).map_err(wrong)?;
    let signatures = index.manifests.into_iter().filter(|referrer| referrer.artifact_type == SIGNATURE);
    Ok(signatures.filter_map(|referrer| Digest::parse(&referrer.digest).ok()).take(MOST).collect())
}

fn of_manifest(repository: &Repository, bytes: &[u8], found: &mut Vec<Found>) -> Result<()> {
    for (digest, size, signature) in layers(bytes) {
        if found.len() == MOST {
            break;
        }
        let mut payload = Vec::new();
        let received = repository.blob(&digest, size, 0, &mut |bytes| {
            payload.extend_from_slice(bytes);
            Ok(())
        });
        match received {
            Ok(()) if Digest::of(&payload) == digest => found.push(Found { payload, signature }),
            Ok(()) => {}
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The payloads of a signature's manifest: digest, size, signature.
pub(super) fn layers(manifest: &[u8]) -> Vec<(Digest, u64, Vec<u8>)> {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(manifest) else { return Vec::new() };
    let signature = |layer: &Layer| {
        let text = layer.annotations.get(ANNOTATION)?;
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    };
    let small = manifest.layers.into_iter().filter(|layer| layer.media_type == PAYLOAD && layer.size <= LONGEST);
    let payloads = small.filter_map(|layer| Some((Digest::parse(&layer.digest).ok()?, layer.size, signature(&layer)?)));
    payloads.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_payloads_with_a_signature_count() {
        let digest = Digest::of(b"payload");
        let layer = |kind: &str, size: u64, annotations: &str| {
            format!(
                "{{\"mediaType\":\"{kind}\",\"digest\":\"{digest}\",\"size\":{size},\"annotations\":{{{annotations}}}}}"
            )
        };
        let good = "\"dev.cosignproject.cosign/signature\":\"c2lnbmF0dXJl\"";
        let manifest = [
            layer(PAYLOAD, 7, good),
            layer("application/vnd.oci.image.layer.v1.tar", 7, good),
            layer(PAYLOAD, 1 << 40, good),
            layer(PAYLOAD, 7, ""),
            layer(PAYLOAD, 7, "\"dev.cosignproject.cosign/signature\":\"%\""),
        ];
        let manifest = format!("{{\"layers\":[{}]}}", manifest.join(","));
        assert_eq!(layers(manifest.as_bytes()), [(digest, 7, b"signature".to_vec())]);
        assert_eq!(layers(b"<html>"), []);
        assert_eq!(layers(b"{}"), []);
    }
}
