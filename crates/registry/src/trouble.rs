//! A failure of one request, and who may be asked next.

use std::time::Duration;

use failure::{Error, Kind};

/// Why an endpoint did not give what it was asked for.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) next: Next,
    /// No connection was made at all: nothing was sent, and nothing arrived.
    pub(crate) unmet: bool,
    /// Something was received before it ended: it is worth going on at once.
    pub(crate) progress: bool,
}

/// Who may be asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same endpoint, after a pause (the one that it asked for).
    Again(Option<Duration>),
    /// Another endpoint only: this one has said its last word.
    Elsewhere,
    /// Nobody: the failure is on our side.
    Nobody,
}

impl Trouble {
    /// A failure that passes.
    pub(crate) fn passing(message: String) -> Self {
        Self::new(Error::new(Kind::Unavailable, message), Next::Again(None))
    }

    /// A failure of this side.
    pub(crate) fn ours(error: Error) -> Self {
        Self::new(error, Next::Nobody)
    }

    pub(crate) fn new(error: Error, next: Next) -> Self {
        Self { error, next, unmet: false, progress: false }
    }
}

impl From<Error> for Trouble {
    /// What an endpoint said cannot be used; asking again would change nothing.
    fn from(error: Error) -> Self {
        Self::new(error, Next::Elsewhere)
    }
}
