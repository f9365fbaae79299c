//! The key sequence that detaches from a terminal, in Docker's syntax: `ctrl-p,ctrl-q`, `ctrl-a,a`, `~,.`.
//!
//! Keys that begin the sequence are kept until the next one decides: the end of the sequence swallows them, any other
//! key lets them go first.

use failure::{Error, Result};

/// A sequence of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// ctrl-p, ctrl-q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// Reads `ctrl-x` (x: a-z @ [ \ ] ^ _) and single characters, separated by commas. Empty: the default.
    ///
    /// # Errors
    /// A key is neither.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|name| key(name).ok_or_else(|| wrong(text, name))).collect::<Result<_>>().map(Self)
    }
}

/// Looks for the sequence in what is typed.
#[derive(Debug)]
pub(crate) struct Detector {
    keys: DetachKeys,
    /// A beginning of the sequence.
    held: Vec<u8>,
}

impl Detector {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys, held: Vec::new() }
    }

    /// Appends to `output` what is not part of the sequence; true if the sequence was typed.
    pub(crate) fn filter(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        for byte in input {
            self.held.push(*byte);
            while !self.keys.0.starts_with(&self.held) {
                output.push(self.held.remove(0));
            }
            if self.held == self.keys.0 {
                return true;
            }
        }
        false
    }
}

fn key(name: &str) -> Option<u8> {
    match name.strip_prefix("ctrl-").map(str::as_bytes) {
        None => name.as_bytes().first().copied().filter(|byte| name.len() == 1 && byte.is_ascii()),
        Some([letter @ b'a'..=b'z']) => Some(letter - b'a' + 1),
        Some([sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(sign - b'@'),
        Some(_) => None,
    }
}

fn wrong(text: &str, name: &str) -> Error {
    Error::invalid(format!(
        "detach keys `{text}`: `{name}` is no key; use `ctrl-` with a-z, @, [, \\, ], ^ or _, or one character"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str, typed: &[&str], expect: &str, detached: bool) {
        let mut detector = Detector::new(DetachKeys::parse(keys).unwrap());
        let mut output = Vec::new();
        let found = typed.iter().any(|piece| detector.filter(piece.as_bytes(), &mut output));
        assert_eq!((str::from_utf8(&output).unwrap(), found), (expect, detached), "{keys} {typed:?}");
    }

    #[test]
    fn the_sequence_detaches() {
        check("", &["ab\x10\x11"], "ab", true);
        check("", &["\x10", "\x11"], "", true);
        check("ctrl-a,a", &["x\x01a"], "x", true);
        check("~,.", &["~", "."], "", true);
    }

    #[test]
    fn other_keys_pass() {
        check("", &["\x10", "x"], "\x10x", false);
        check("", &["\x10\x10\x11"], "\x10", true);
        check("a,a,b", &["aaab"], "a", true);
        check("", &["plain\n"], "plain\n", false);
    }

    #[test]
    fn names_are_read_or_refused() {
        assert_eq!(DetachKeys::parse("ctrl-@,ctrl-_,ctrl-z,Z").unwrap(), DetachKeys(vec![0, 31, 26, b'Z']));
        for text in ["ctrl-", "ctrl-A", "ctrl-1", "ab", "a,,b", "ü"] {
            assert!(DetachKeys::parse(text).is_err(), "{text}");
        }
    }
}
