//! The flags that `run` and `create` share, in families, and how they become the engine's [`Request`].

mod files;
mod limits;
mod network;
mod program;
pub(super) mod refused;
mod security;

use super::pull::Before;
use crate::exit::{Outcome, Stop};
use clap::Args;
use engine::Request;
use program::Program;

/// Every flag of a new container.
#[derive(Debug, Args)]
pub(super) struct Creation {
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    files: files::Files,
    #[command(flatten)]
    limits: limits::Limits,
    #[command(flatten)]
    security: security::Isolation,
    #[command(flatten)]
    network: network::Network,
}

/// Which streams of the command a foreground `run` is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

impl Creation {
    /// The file to write the id to.
    pub(super) fn cidfile(&self) -> Option<&str> {
        self.program.cidfile.as_deref()
    }

    /// Whether only the plan is wanted.
    pub(super) fn dry_run(&self) -> bool {
        self.program.dry_run
    }

    /// How the image is pulled before.
    pub(super) fn before(&self, image: &str) -> Before {
        let Program { pull: when, quiet, platform, .. } = &self.program;
        Before { when: *when, quiet: *quiet, image: image.to_owned(), platform: platform.clone() }
    }

    /// The streams to connect to in the foreground: those of `-a`, else stdout and stderr, and stdin with `-i`.
    pub(super) fn streams(&self) -> Streams {
        let chosen = &self.program.attach;
        if chosen.is_empty() {
            return Streams { stdin: self.program.interactive, stdout: true, stderr: true };
        }
        let has = |name: &str| chosen.iter().any(|stream| stream == name);
        Streams { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr") }
    }

    /// Whether `-a` was given.
    pub(super) fn attaches(&self) -> bool {
        !self.program.attach.is_empty()
    }

    /// The request for an image and a command.
    ///
    /// # Errors
    /// Files that cannot be read; values that exclude each other: all of them are mistakes in the flags.
    pub(super) fn request(self, words: Vec<String>) -> Outcome<Request> {
        self.apply(words).map_err(|stop| match stop {
            Stop::Failed(error) => Stop::Usage(error.to_string()),
            other => other,
        })
    }

    fn apply(self, mut words: Vec<String>) -> Outcome<Request> {
        let mut request = Request { image: words.remove(0), command: words, ..Request::default() };
        if request.image.is_empty() {
            return Err(Stop::Usage("invalid reference format: the name of the image is empty".into()));
        }
        self.program.apply(&mut request)?;
        self.files.apply(&mut request)?;
        self.limits.apply(&mut request)?;
        self.security.apply(&mut request)?;
        self.network.apply(&mut request)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests;
