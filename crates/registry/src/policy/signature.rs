//! Public keys in PEM, and whether a signature over a text is one of theirs.
//!
//! ```text
//! -----BEGIN PUBLIC KEY-----     SubjectPublicKeyInfo = SEQUENCE { SEQUENCE { algorithm, parameters }, BIT STRING key }
//! P-256, P-384                   ECDSA over SHA-256 (P-384: or SHA-384), ASN.1      what `cosign generate-key-pair` makes
//! Ed25519                        over the text itself
//! RSA 2048..8192                 PKCS #1 v1.5 or PSS over SHA-256
//! ```
//! The arithmetic is ring's. Here is only the frame of the key, read to the byte.

use base64::Engine as _;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// More keys in one file than a rule needs.
const MOST: usize = 100;

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// Object identifiers, as DER has them.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;
const BITS: u8 = 0x03;

impl PublicKey {
    /// All keys of a PEM text, at least one; or what is wrong with it.
    ///
    /// # Errors
    /// There is no public key, or one of another kind.
    pub fn all(text: &str) -> Result<Vec<Self>, &'static str> {
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once("-----BEGIN ") {
            let (label, after) = after.split_once("-----").ok_or("it is not PEM")?;
            let (body, after) = after.split_once("-----END ").ok_or("it is not PEM: it has no end")?;
            match label {
                "PUBLIC KEY" => keys.push(Self::parse(body)?),
                "PRIVATE KEY"
                | "ENCRYPTED PRIVATE KEY"
                | "EC PRIVATE KEY"
                | "RSA PRIVATE KEY"
                | "ENCRYPTED COSIGN PRIVATE KEY"
                | "ENCRYPTED SIGSTORE PRIVATE KEY" => {
                    return Err("it is a private key; the rule needs the public one");
                }
                _ => return Err("it is PEM of something else than a public key"),
            }
            if keys.len() > MOST {
                return Err("it has more than 100 keys");
            }
            rest = after;
        }
        if keys.is_empty() { Err("it has no public key in PEM (-----BEGIN PUBLIC KEY-----)") } else { Ok(keys) }
    }

    fn parse(body: &str) -> Result<Self, &'static str> {
        let text: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| "its PEM is not base64")?;
        let damaged = "its public key is damaged";
        let (whole, rest) = element(&der, SEQUENCE).ok_or(damaged)?;
        let (algorithm, key) = element(whole, SEQUENCE).ok_or(damaged)?;
        let (bits, more) = element(key, BITS).ok_or(damaged)?;
        let (0, bytes) = bits.split_first().map(|(unused, bytes)| (*unused, bytes)).ok_or(damaged)? else {
            return Err(damaged);
        };
        if !rest.is_empty() || !more.is_empty() {
            return Err(damaged);
        }
        let (object, parameters) = element(algorithm, OBJECT).ok_or(damaged)?;
        let kind = match object {
            ED25519 if parameters.is_empty() => Kind::Ed25519,
            RSA => Kind::Rsa,
            EC => match element(parameters, OBJECT) {
                Some((P256, [])) => Kind::P256,
                Some((P384, [])) => Kind::P384,
                _ => return Err("its curve is not supported; P-256, P-384 and Ed25519 are"),
            },
            _ => return Err("its kind of key is not supported; ECDSA, Ed25519 and RSA are"),
        };
        Ok(Self { kind, bytes: bytes.to_vec() })
    }

    /// Whether this key made the signature over `text`.
    pub fn holds(&self, text: &[u8], signature: &[u8]) -> bool {
        let algorithms: &[&'static dyn VerificationAlgorithm] = match self.kind {
            Kind::P256 => &[&signature::ECDSA_P256_SHA256_ASN1],
            Kind::P384 => &[&signature::ECDSA_P384_SHA256_ASN1, &signature::ECDSA_P384_SHA384_ASN1],
            Kind::Ed25519 => &[&signature::ED25519],
            Kind::Rsa => &[&signature::RSA_PKCS1_2048_8192_SHA256, &signature::RSA_PSS_2048_8192_SHA256],
        };
        let holds = |algorithm: &&'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(*algorithm, &self.bytes).verify(text, signature).is_ok()
        };
        algorithms.iter().any(holds)
    }
}

/// The content of the first element, if it has this tag, and what follows. Lengths up to 64 KiB, in their shortest form.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = match rest {
        [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x81, length @ 0x80..=0xff, rest @ ..] => (usize::from(*length), rest),
        [0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length)).flatten()
}
