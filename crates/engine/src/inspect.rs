//! `inspect`: a container in Docker's JSON shape.

use failure::Result;
use runtime::ContainerId;
use serde_json::Value;

use crate::Home;

/// The container as Docker's API would show it. With `size`, its layers are measured.
///
/// # Errors
/// A container that is gone.
pub fn inspect(home: &Home, id: &ContainerId, size: bool) -> Result<Value> {
    let _ = (home, id, size);
    unimplemented!()
}
