//! Which process a number means.

use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for a later one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: i32,
    /// When it started.
    pub start_time: u64,
}

impl ProcessIdentity {
    /// Whether it lives.
    pub fn is_alive(&self) -> bool {
        false
    }
}
