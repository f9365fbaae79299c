//! What a registry's documents say that one is to fetch next.

use failure::{Error, Result};
use serde::Deserialize;

use super::Blob;
use crate::documents::{Descriptor, ManifestHead, Parts, Target, parse};
use crate::{Digest, Platform};

/// A document from a registry, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Described {
    /// A manifest of an image.
    Image {
        /// Its configuration.
        config: Blob,
    },
    /// A manifest of something else, which is kept whole and never run.
    Artifact,
    /// An index.
    Index(Vec<Member>),
}

/// A manifest that an index lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The manifest.
    pub manifest: Blob,
    /// What it runs on, where the index says so.
    pub platform: Option<Platform>,
}

/// Reads a manifest or an index. `name` is what to call it in messages.
///
/// # Errors
/// It is neither, ambiguous, or of the first version.
pub fn describe(bytes: &[u8], name: &str) -> Result<Described> {
    refuse_first_version(bytes, name)?;
    if let Target::Index(entries) = Target::parse(bytes, name)? {
        let member = |entry: &Descriptor| {
            let manifest = Blob { digest: entry.digest()?, size: entry.size };
            Ok(Member { manifest, platform: entry.platform() })
        };
        return entries.iter().map(member).collect::<Result<_>>().map(Described::Index);
    }
    if !Parts::parse(bytes, name)?.is_image {
        return Ok(Described::Artifact);
    }
    let (digest, size) = ManifestHead::parse(bytes, name)?.config()?;
    Ok(Described::Image { config: Blob { digest, size } })
}

/// Docker's manifests of before 2016 do not say what their layers unpack to, and cannot be verified by digest alone.
fn refuse_first_version(bytes: &[u8], name: &str) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        #[serde(default)]
        schema_version: Option<u64>,
    }
    let version: Version = parse(bytes, name)?;
    if version.schema_version == Some(1) {
        let reason = "its manifest is of schema 1, which registries gave up; push it again with a newer engine";
        return Err(Error::unsupported(format!("`{name}` cannot be pulled: {reason}")));
    }
    Ok(())
}

/// Which of the manifests of an index is meant by a platform: the one that says exactly this, else one that this
/// platform runs, too (an earlier 32-bit ARM, the better first), else one that does not say what it is for.
pub fn choose<'a>(members: &'a [Member], wanted: &Platform) -> Option<&'a Member> {
    let exact = members.iter().find(|member| member.platform.as_ref() == Some(wanted));
    let same = |platform: &&Platform| (platform.os(), platform.architecture()) == (wanted.os(), wanted.architecture());
    let compatible = || {
        let level = |platform: &Platform| platform.variant().unwrap_or("v7").to_owned();
        let of_arm = members.iter().filter(|_| wanted.architecture() == "arm");
        let below = of_arm.filter(|member| {
            member.platform.as_ref().filter(same).is_some_and(|platform| level(platform) <= level(wanted))
        });
        below.max_by_key(|member| member.platform.as_ref().map(level))
    };
    let unnamed = || members.iter().find(|member| member.platform.is_none());
    exact.or_else(compatible).or_else(unnamed)
}

/// The platforms of an index, for messages.
pub fn platforms(members: &[Member]) -> String {
    let known = members.iter().filter_map(|member| member.platform.as_ref()).filter(|platform| platform.is_known());
    let shown: Vec<String> = known.map(Platform::to_string).collect();
    shown.join(", ")
}

impl Member {
    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        self.manifest.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(platform: Option<&str>) -> Member {
        let text = platform.unwrap_or("none");
        let manifest = Blob { digest: Digest::of(text.as_bytes()), size: 1 };
        Member { manifest, platform: platform.map(|text| Platform::parse(text).unwrap()) }
    }

    fn chosen(members: &[Member], wanted: &str) -> Option<String> {
        let member = choose(members, &Platform::parse(wanted).unwrap())?;
        Some(member.platform.as_ref().map_or("none".into(), Platform::to_string))
    }

    #[test]
    fn a_platform_is_chosen_exactly_or_for_what_also_runs() {
        let all = ["linux/amd64", "linux/arm/v6", "linux/arm/v5", "linux/arm64", "unknown/unknown"];
        let members: Vec<Member> = all.iter().map(|platform| member(Some(platform))).collect();
        assert_eq!(chosen(&members, "linux/arm64/v8").as_deref(), Some("linux/arm64"));
        assert_eq!(chosen(&members, "linux/arm/v7").as_deref(), Some("linux/arm/v6"));
        assert_eq!(chosen(&members, "linux/riscv64"), None);
        assert_eq!(chosen(&[member(Some("linux/arm64")), member(None)], "linux/amd64").as_deref(), Some("none"));
        assert_eq!(platforms(&members), "linux/amd64, linux/arm/v6, linux/arm/v5, linux/arm64");
    }

    #[test]
    fn old_and_foreign_documents_are_refused_in_words() {
        let error = describe(br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#, "x").unwrap_err();
        assert!(error.to_string().contains("schema 1"), "{error}");
        assert!(describe(b"<html>", "x").unwrap_err().to_string().contains("damaged"));
        assert!(describe(br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "x").is_err());
    }
}
