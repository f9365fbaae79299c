//! From what a person types to a container: a name, an id, or the unique beginning of an id.

use failure::Result;
use runtime::ContainerId;

use crate::Home;

/// Finds the container that is called so: a full id first, then a name, then the unique prefix of an id.
///
/// # Errors
/// Nothing or more than one is called so.
pub fn find(home: &Home, text: &str) -> Result<ContainerId> {
    let _ = (home, text);
    unimplemented!()
}

/// The name of a container.
///
/// # Errors
/// A container that is gone.
pub fn name_of(home: &Home, id: &ContainerId) -> Result<String> {
    let _ = (home, id);
    unimplemented!()
}
