//! `logs`: what a container wrote, read from its log files; no lock, no monitor.

use std::ops::ControlFlow;

use failure::{Error, Result};
use jiff::Timestamp;
use monitor::log::{Driver, Query, Reader};
pub use monitor::log::{Record, Stream, parse_time};
use runtime::ContainerId;

use crate::config::ContainerConfig;
use crate::{Home, state};

/// Which part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Only what was written at or after this.
    pub since: Option<Timestamp>,
    /// Only what was written before this.
    pub until: Option<Timestamp>,
    /// Only this many of the last lines.
    pub tail: Option<u64>,
    /// Go on until the container ends.
    pub follow: bool,
    /// Leave out stdout.
    pub without_stdout: bool,
    /// Leave out stderr.
    pub without_stderr: bool,
}

/// Gives every record that was asked for, in order, until the end or until told to stop.
///
/// # Errors
/// A container without a log.
pub fn logs(
    home: &Home,
    id: &ContainerId,
    request: &LogRequest,
    each: &mut dyn FnMut(Record<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let config = ContainerConfig::read(home, id)?;
    if config.log.driver == Driver::None {
        return Err(Error::unsupported(format!("container `{}` keeps no log (`--log-driver none`)", config.name)));
    }
    // Asked before the log is read, so that what is written between the two is not missed.
    let follow = match request.follow && state::observe(home, id)?.1.is_running() {
        true => monitor::client::end_of(&home.container_run(id)).ok(),
        false => None,
    };
    let query = Query {
        since: request.since,
        until: request.until,
        tail: request.tail,
        follow,
        without_stdout: request.without_stdout,
        without_stderr: request.without_stderr,
    };
    // It may not be there yet: the monitor of a container that has just started makes it.
    Reader::open(&state::log_directory(home, id))?.read(query, each)
}
