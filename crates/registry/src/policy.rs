//! Which images may be pulled: `policy.json` (containers-policy.json(5)), and the signatures that it asks for.
//!
//! ```text
//! reference --policy::document--> requirements of its scope (all must hold)
//!     insecureAcceptAnything   nothing is asked
//!     reject                   never
//!     sigstoreSigned           one of its keys has signed exactly this manifest, under a name that fits
//!           signatures of the manifest --policy::fetch--> payload and signature --policy::signature--> key holds?
//!                                                          payload names digest and identity --policy::identity--> fits?
//!     signedBy (GPG)           refused: this is not supported
//! ```
//! Everything is refused that is not allowed: a file that cannot be read, a type that is not known, a signature that is damaged.
//! The manifest itself is compared with its digest by the client, always.

mod document;
mod fetch;
mod identity;
mod payload;
mod signature;

use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Kind, Result};
use reference::{Digest, Reference};

use crate::Repository;
use crate::settings::file;
pub use document::Policy;
use document::{Keys, Requirement, Signed};
pub use signature::PublicKey;

/// The longest `policy.json`, and the longest file of a key.
const LONGEST: u64 = 1 << 20;

impl Policy {
    /// Reads the first of `files` that is there. None of them: everything may be pulled.
    ///
    /// # Errors
    /// The file is wrong; the error names it and the line.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        for path in files {
            if let Some(text) = file::read(path, LONGEST)? {
                return Self::parse(path, &text);
            }
        }
        Ok(Self::default())
    }

    /// Whether a manifest may be pulled under this name.
    ///
    /// # Errors
    /// It may not; the error names the rule and its file.
    pub fn verify(&self, repository: &Repository, reference: &Reference, digest: &Digest) -> Result<()> {
        let (scope, requirements) = self.of(reference);
        let rule = Rule { file: self.file(), scope: &scope, reference };
        let mut signatures = None;
        for requirement in requirements {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => return Err(rule.refuses("it rejects what is there")),
                Requirement::Unsupported(kind) => return Err(rule.unsupported(kind)),
                Requirement::Signed(signed) => {
                    let found = match &signatures {
                        Some(found) => found,
                        None => signatures.insert(fetch::signatures(repository, digest)?),
                    };
                    signed_by_one(&rule, signed, found, digest)?;
                }
            }
        }
        Ok(())
    }
}

/// The rule that decides, for messages.
struct Rule<'a> {
    file: &'a Path,
    scope: &'a str,
    reference: &'a Reference,
}

impl Rule<'_> {
    fn refuses(&self, reason: &str) -> Error {
        Error::new(Kind::Denied, format!("`{}` may not be pulled: {}: {reason}", self.reference, self.name()))
    }

    fn unsupported(&self, kind: &str) -> Error {
        let (reference, name) = (self.reference, self.name());
        let way_out = "change the rule to `sigstoreSigned` with a key";
        Error::unsupported(format!(
            "`{reference}` may not be pulled: {name} asks for `{kind}`, which is not supported; {way_out}"
        ))
    }

    fn name(&self) -> String {
        format!("rule `{}` in `{}`", self.scope, self.file.display())
    }
}

/// A signature as it was found: what was signed, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// Whether one of the signatures satisfies the requirement.
fn signed_by_one(rule: &Rule<'_>, signed: &Signed, found: &[Found], digest: &Digest) -> Result<()> {
    let keys = keys(rule, &signed.keys)?;
    if found.is_empty() {
        return Err(rule.refuses("it asks for a signature, and the registry has none for this image"));
    }
    let mut reason = String::new();
    for signature in found {
        match accepted(rule.reference, signed, &keys, signature, digest) {
            Ok(()) => return Ok(()),
            Err(why) => reason = why,
        }
    }
    let others = if found.len() > 1 { format!(" (the last of {} signatures)", found.len()) } else { String::new() };
    Err(rule.refuses(&format!("{reason}{others}")))
}

/// Whether one signature was made by one of the keys, for this manifest, under a name that fits.
fn accepted(
    reference: &Reference,
    signed: &Signed,
    keys: &[PublicKey],
    found: &Found,
    digest: &Digest,
) -> Result<(), String> {
    // The payload is looked at only when its signature holds.
    if !keys.iter().any(|key| key.holds(&found.payload, &found.signature)) {
        return Err("the image is signed, but not by a key that the rule trusts".to_owned());
    }
    let payload = payload::Payload::parse(&found.payload)?;
    if payload.digest != *digest {
        return Err(format!("the signature is for {}, not for {digest}", payload.digest));
    }
    signed.identity.fits(reference, &payload.identity)
}

fn keys(rule: &Rule<'_>, keys: &Keys) -> Result<Vec<PublicKey>> {
    let mut found = Vec::new();
    for path in &keys.files {
        let text = file::read(path, LONGEST).and_then(|text| text.ok_or_else(|| Error::not_found("no such file")));
        let text = text.with_context(|| format!("{}: key `{}`", rule.name(), path.display()))?;
        let more = PublicKey::all(&text)
            .map_err(|reason| Error::invalid(format!("{}: key `{}`: {reason}", rule.name(), path.display())))?;
        found.extend(more);
    }
    for text in &keys.texts {
        let more =
            PublicKey::all(text).map_err(|reason| Error::invalid(format!("{}: its key: {reason}", rule.name())))?;
        found.extend(more);
    }
    Ok(found)
}

/// Reads what strangers write, for fuzzing.
pub(crate) fn read_strangers(key: &[u8], manifest: &[u8], payload: &[u8]) {
    let signatures = fetch::layers(manifest);
    for key in PublicKey::all(&String::from_utf8_lossy(key)).unwrap_or_default() {
        for (_, size, signature) in &signatures {
            assert!(*size <= LONGEST);
            let _ = key.holds(payload, signature);
        }
    }
    let Ok(payload) = payload::Payload::parse(payload) else { return };
    if let Ok(own) = Reference::parse(&payload.identity) {
        let _ = identity::Identity::MatchRepoDigestOrExact.fits(&own, &payload.identity).is_ok();
    }
}

#[cfg(test)]
mod tests;
