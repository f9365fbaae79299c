//! What a signature covers: the "simple signing" document of cosign and podman.
//!
//! ```json
//! { "critical": { "identity": { "docker-reference": "registry.example.com/team/app" },
//!                 "image": { "docker-manifest-digest": "sha256:..." },
//!                 "type": "cosign container image signature" },
//!   "optional": { "creator": "...", "timestamp": 1700000000 } }
//! ```
//! Only `critical` counts, and nothing more may be in it: what is not understood could be a condition.

use reference::Digest;
use serde::Deserialize;

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// The name that it was signed under.
    pub(super) identity: String,
    /// The manifest.
    pub(super) digest: Digest,
}

#[derive(Deserialize)]
struct Document {
    critical: Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Payload {
    /// Reads a payload whose signature holds, or says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|_| "what was signed is not a simple signing document".to_owned())?;
        let Critical { identity, image, kind } = document.critical;
        // podman writes the second.
        if !matches!(kind.as_str(), "cosign container image signature" | "atomic container signature") {
            return Err("what was signed is no signature of a container image".to_owned());
        }
        let digest = Digest::parse(&image.docker_manifest_digest).map_err(|error| error.to_string())?;
        Ok(Self { identity: identity.docker_reference, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_understood_counts() {
        let digest = Digest::of(b"x");
        let payload =
            |critical: &str| Payload::parse(format!("{{\"critical\":{{{critical}}},\"optional\":null}}").as_bytes());
        let image = format!("\"image\":{{\"docker-manifest-digest\":\"{digest}\"}}");
        let identity = "\"identity\":{\"docker-reference\":\"a.net/b\"}";
        let kind = "\"type\":\"cosign container image signature\"";
        let read = payload(&format!("{identity},{image},{kind}")).unwrap();
        assert_eq!(read, Payload { identity: "a.net/b".into(), digest });
        for wrong in [
            format!("{identity},{image}"),
            format!("{identity},{image},{kind},\"more\":1"),
            format!("{identity},{image},\"type\":\"a tax return\""),
            format!("{identity},\"image\":{{\"docker-manifest-digest\":\"md5:1\"}},{kind}"),
            format!("{identity},{identity},{image},{kind}"),
        ] {
            assert!(payload(&wrong).is_err(), "{wrong}");
        }
    }
}
