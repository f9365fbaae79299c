//! `create`: a request becomes a container on disk. See [`crate::recover`] for the order of writes.

use failure::Result;
use runtime::ContainerId;

use crate::{Home, Request};

/// A new container, not started.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What could not be granted, a line each.
    pub warnings: Vec<String>,
}

/// Makes a container.
///
/// # Errors
/// Anything about the request that can be known before it runs; nothing is left behind.
pub fn create(home: &Home, request: Request) -> Result<Created> {
    let _ = (home, request);
    unimplemented!()
}

/// What `run` would do, as numbered readable steps; nothing is kept.
///
/// # Errors
/// As [`create`].
pub fn dry_run(home: &Home, request: Request) -> Result<String> {
    let _ = (home, request);
    unimplemented!()
}
