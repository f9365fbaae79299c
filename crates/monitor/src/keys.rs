//! The key sequence that detaches from a terminal, in Docker's syntax: `ctrl-p,ctrl-q`, `ctrl-a,a`, `~,.`.

use failure::Result;

/// A sequence of keys; may be empty (nothing detaches).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// ctrl-p, ctrl-q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// Reads `ctrl-x` (x: a-z @ [ \ ] ^ _) and single characters, separated by commas.
    ///
    /// # Errors
    /// A key is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let _ = text;
        unimplemented!()
    }
}
