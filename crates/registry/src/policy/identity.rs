//! Which names a signature may have been made under, for the image that is asked for (`signedIdentity`).

use reference::Reference;
use serde::Deserialize;

/// The rule for names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Identity {
    /// The same name, tag or digest included.
    MatchExact,
    /// The same; but where a digest is asked for, any tag of the repository.
    MatchRepoDigestOrExact,
    /// The same repository.
    MatchRepository,
    /// This name, whatever is asked for.
    #[serde(rename_all = "camelCase")]
    ExactReference {
        /// With its tag or digest.
        docker_reference: String,
    },
    /// This repository, whatever is asked for.
    #[serde(rename_all = "camelCase")]
    ExactRepository {
        /// Without a tag.
        docker_repository: String,
    },
    /// As `matchRepoDigestOrExact`, after the beginning of the name was replaced: for mirrors that changed it.
    #[serde(rename = "remapIdentity", rename_all = "camelCase")]
    Remap {
        /// What the image's name begins with.
        prefix: String,
        /// What the signed name begins with.
        signed_prefix: String,
    },
}

impl Identity {
    /// Whether a signature under the name `signed` counts for the image `wanted`; else why not.
    pub(crate) fn fits(&self, wanted: &Reference, signed: &str) -> Result<(), String> {
        let name = Name::parse(signed);
        if name.as_ref().is_some_and(|name| self.matches(wanted, name)) {
            return Ok(());
        }
        let shown: String = signed.chars().take(200).collect();
        let why = match name.is_some_and(|name| name.repository == Name::of(wanted).repository) {
            // cosign leaves tags out of the names that it signs.
            true => "without this tag or digest; `signedIdentity` of the type `matchRepository` accepts that",
            false => "which is another one",
        };
        Err(format!("it is signed under the name `{shown}`, {why}"))
    }

    fn matches(&self, wanted: &Reference, signed: &Name) -> bool {
        let own = Name::of(wanted);
        match self {
            Self::MatchExact => exact(&own, signed),
            Self::MatchRepoDigestOrExact => repository_or_exact(&own, signed),
            Self::MatchRepository => own.repository == signed.repository,
            Self::ExactReference { docker_reference } => {
                Name::parse(docker_reference).is_some_and(|named| exact(&named, signed))
            }
            Self::ExactRepository { docker_repository } => {
                Name::parse(docker_repository).is_some_and(|named| named.repository == signed.repository)
            }
            Self::Remap { prefix, signed_prefix } => {
                let mapped = match own.repository.strip_prefix(prefix.as_str()) {
                    // Only whole parts of a name are replaced.
                    Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{signed_prefix}{rest}"),
                    _ => own.repository.clone(),
                };
                repository_or_exact(&Name { repository: mapped, ..own }, signed)
            }
        }
    }
}

/// A name in full, and what it says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    repository: String,
    /// None where nothing was written, too: it is not the tag `latest`.
    tag: Option<String>,
    digest: Option<String>,
}

impl Name {
    fn of(reference: &Reference) -> Self {
        Self {
            repository: format!("{}/{}", reference.host(), reference.path()),
            tag: reference.tag().map(str::to_owned),
            digest: reference.digest().map(ToString::to_string),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let name = Self::of(&Reference::parse(text).ok()?);
        let written =
            text.split('@').next().unwrap_or_default().rsplit('/').next().is_some_and(|last| last.contains(':'));
        Some(Self { tag: name.tag.filter(|_| written), ..name })
    }

    fn says_nothing(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }
}

fn exact(own: &Name, signed: &Name) -> bool {
    // A name without tag and digest is not exact enough.
    own == signed && !own.says_nothing()
}

fn repository_or_exact(own: &Name, signed: &Name) -> bool {
    if own.digest.is_some() {
        return own.repository == signed.repository;
    }
    exact(own, signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(identity: &str, wanted: &str, signed: &str) -> bool {
        let identity: Identity = serde_json::from_str(identity).unwrap();
        identity.fits(&Reference::parse(wanted).unwrap(), signed).is_ok()
    }

    #[test]
    fn names_as_the_manual_has_them() {
        let pinned = format!("a.net/app@sha256:{}", "0".repeat(64));
        let exact = r#"{"type":"matchExact"}"#;
        let either = r#"{"type":"matchRepoDigestOrExact"}"#;
        let repository = r#"{"type":"matchRepository"}"#;
        let reference = r#"{"type":"exactReference","dockerReference":"a.net/app:1"}"#;
        let exact_repository = r#"{"type":"exactRepository","dockerRepository":"docker.io/library/app"}"#;
        let remap = r#"{"type":"remapIdentity","prefix":"mirror.net/hub","signedPrefix":"docker.io"}"#;
        for (identity, wanted, signed, expected) in [
            (exact, "a.net/app:1", "a.net/app:1", true),
            (exact, "a.net/app:1", "a.net/app:2", false),
            (exact, "a.net/app:latest", "a.net/app", false),
            (exact, &pinned, "a.net/app:1", false),
            (exact, &pinned, &pinned, true),
            (either, "a.net/app:1", "a.net/app:1", true),
            (either, "a.net/app:1", "a.net/app", false),
            (either, "a.net/app:1", &pinned, false),
            (either, &pinned, "a.net/app:1", true),
            (either, &pinned, "a.net/app", true),
            (either, &pinned, "a.net/other:1", false),
            (repository, "a.net/app:1", "a.net/app", true),
            (repository, "a.net/app:1", "a.net/app:2", true),
            (repository, "a.net/app:1", "b.net/app:1", false),
            (repository, "app:1", "docker.io/library/app", true),
            (reference, "b.net/copy:7", "a.net/app:1", true),
            (reference, "a.net/app:2", "a.net/app:2", false),
            (exact_repository, "b.net/copy:7", "app:3", true),
            (exact_repository, "b.net/copy:7", "b.net/copy:7", false),
            (remap, "mirror.net/hub/library/app:1", "docker.io/library/app:1", true),
            (remap, "mirror.net/hub/library/app:1", "docker.io/library/app:2", false),
            (remap, "mirror.net/hubcap/app:1", "docker.iocap/app:1", false),
            (remap, "other.net/app:1", "other.net/app:1", true),
            (repository, "a.net/app:1", "A b", false),
        ] {
            assert_eq!(fits(identity, wanted, signed), expected, "{identity} {wanted} {signed}");
        }
    }
}
