//! What content is called: the SHA-256 of its bytes.
//!
//! Three names are digests of different things, and the compiler keeps them apart:
//! [`Digest`] names a blob (of the bytes as they are stored, compressed or not), [`ImageId`] names an image (the
//! digest of its configuration, as Docker shows it), [`ChainId`] names an unpacked layer together with all the
//! layers below it. Only SHA-256 exists here: other algorithms are refused where digests are parsed.

use std::fmt;
use std::str::FromStr;

use failure::{Error, Result};
use ring::digest::{Context, SHA256, digest};

/// The SHA-256 of some bytes, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sized(digest(&SHA256, bytes)))
    }

    /// A digest from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads `sha256:<64 lower-case hex digits>`.
    ///
    /// # Errors
    /// Another algorithm, or no such digits.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Self::from_hex(hex),
            Some((algorithm, _)) if !algorithm.is_empty() && algorithm.len() <= 16 => Err(Error::unsupported(format!(
                "digest algorithm `{}` is not supported; only sha256 is",
                algorithm.escape_debug()
            ))),
            _ => Err(invalid_digest(text)),
        }
    }

    /// Reads the 64 lower-case hex digits alone.
    ///
    /// # Errors
    /// There are not 64 of them.
    pub fn from_hex(hex: &str) -> Result<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return Err(invalid_digest(hex));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (Some(high), Some(low)) = (hex_value(pair[0]), hex_value(pair[1])) else {
                return Err(invalid_digest(hex));
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }

    /// The 64 hex digits: the name of the blob's file.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.0
            .iter()
            .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
            .map(char::from)
            .collect()
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn invalid_digest(text: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::invalid(format!("`{}` is not a digest; it reads sha256:<64 hex digits>", shown.escape_debug()))
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Takes bytes as they stream by and ends with their [`Digest`].
#[derive(Clone)]
pub struct Hasher(Context);

/// The digest's bytes; SHA-256 always gives 32.
fn sized(digest: ring::digest::Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        Digest(sized(self.0.finish()))
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

/// An image's id, as Docker shows it: the digest of its configuration's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub Digest);

impl ImageId {
    /// The first twelve hex digits, as lists show them.
    pub fn short(&self) -> String {
        let mut hex = self.0.hex();
        hex.truncate(12);
        hex
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An unpacked layer's id: it covers the layer and all layers below it, in their order (OCI image specification,
/// "Layer ChainID"), so that equal ids mean equal trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub Digest);

impl ChainId {
    /// The chain ids of layers given by the digests of their uncompressed archives, bottom first.
    pub fn chain(diff_ids: &[Digest]) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            chain.push(Self::above(chain.last(), diff_id));
        }
        chain
    }

    /// The 64 hex digits: the name of the layer's directory.
    pub fn hex(&self) -> String {
        self.0.hex()
    }

    /// The chain id of one layer on top of `below` (or at the bottom).
    pub fn above(below: Option<&Self>, diff_id: &Digest) -> Self {
        match below {
            None => Self(*diff_id),
            Some(below) => Self(Digest::of(format!("{} {diff_id}", below.0).as_bytes())),
        }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
        for wrong in ["", "sha256:", "sha256:E3", "md5:00", "sha256:../../etc/passwd", "e3b0"] {
            assert!(Digest::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_bottom_chain_id_is_its_diff_id() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = ChainId::chain(&[a, b]);
        assert_eq!(chain[0].0, a);
        assert_eq!(chain[1].0, Digest::of(format!("{a} {b}").as_bytes()));
    }
}
