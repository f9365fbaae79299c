//! `info` and `version`: what this machine and this engine are.

use failure::Result;
use serde_json::Value;

use crate::Home;

/// The engine's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Facts of the engine and the machine, with Docker's names.
///
/// # Errors
/// Data that cannot be read.
pub fn info(home: &Home) -> Result<Value> {
    let _ = home;
    unimplemented!()
}

/// Versions of the engine and the kernel, in the shape of `docker version --format json`.
pub fn version() -> Value {
    unimplemented!()
}
