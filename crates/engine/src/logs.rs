//! `logs`: what a container wrote, read from its log files; no lock, no monitor.

use failure::Result;
use jiff::Timestamp;
use runtime::ContainerId;

use crate::Home;

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
}
