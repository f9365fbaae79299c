//! `top`: the processes of a container, read from the host's /proc. Nothing of the container is run for it.

use failure::Result;
use runtime::ContainerId;

use crate::Home;

/// A table as ps would print it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The heads of the columns.
    pub titles: Vec<String>,
    /// A row each process.
    pub rows: Vec<Vec<String>>,
}

/// The processes of a running container. `columns` as for `ps -o`; empty: those of `ps -ef`.
///
/// # Errors
/// A container that does not run; an unknown column.
pub fn top(home: &Home, id: &ContainerId, columns: &[String]) -> Result<Table> {
    let _ = (home, id, columns);
    unimplemented!()
}
