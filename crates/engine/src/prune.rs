//! `container prune`: removes what does not run, and sweeps what killed commands left.

use failure::Result;
use runtime::ContainerId;

use crate::Home;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The containers.
    pub containers: Vec<ContainerId>,
    /// Bytes of disk.
    pub reclaimed: u64,
}

/// Removes all containers that do not run. Filters: `until`, `label`, `label!`.
///
/// # Errors
/// A filter that does not exist.
pub fn prune(home: &Home, filters: &[(String, String)]) -> Result<Pruned> {
    let _ = (home, filters);
    unimplemented!()
}
