//! One command of the command line: its words, its help, its flags, what it does.

use crate::context::Context;
use crate::exit::{self, Outcome};
use crate::usage;
use clap::{ArgMatches, Command};

/// Where a command stands in `skep --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The first ones to learn.
    Common,
    /// About containers.
    Containers,
    /// About images.
    Images,
    /// About the engine.
    System,
    /// Works, but is not shown.
    Hidden,
}

/// A command. All of them stand in [`crate::commands::ALL`].
pub(crate) struct Entry {
    /// What calls it: the short word first (`ps`), then in its group (`container ls`).
    pub(crate) words: &'static [&'static str],
    /// Where it is shown.
    pub(crate) group: Group,
    /// One line about it.
    pub(crate) about: &'static str,
    /// What follows its words.
    pub(crate) usage: &'static str,
    /// The exit code when the engine refuses.
    pub(crate) refusal: u8,
    flags: fn() -> Command,
    invoke: fn(&Context, &ArgMatches) -> Outcome,
}

/// The flags of a command, parsed, and what they do.
pub(crate) trait Invoke: clap::Parser {
    /// Does it.
    fn invoke(self, context: &Context) -> Outcome;
}

impl Entry {
    /// The command whose flags are `F`.
    pub(crate) const fn new<F: Invoke>(
        group: Group,
        words: &'static [&'static str],
        usage: &'static str,
        about: &'static str,
    ) -> Self {
        Self { words, group, about, usage, refusal: exit::PLAIN, flags: F::command, invoke: invoke::<F> }
    }

    /// The same, but a refusal of the engine is code 125.
    pub(crate) const fn refusing_with_125(mut self) -> Self {
        self.refusal = exit::ENGINE;
        self
    }

    /// Its clap tree for parsing, for when it was called by `word`.
    pub(crate) fn command(&self, word: &str) -> Command {
        usage::parsed(self.shown(word))
    }

    /// Its clap tree for help, completions and the manual.
    pub(crate) fn shown(&self, word: &str) -> Command {
        usage::shown((self.flags)(), self.words, word, self.usage, self.about)
    }

    /// Runs it with its flags.
    pub(crate) fn invoke(&self, context: &Context, matches: &ArgMatches) -> Outcome {
        (self.invoke)(context, matches)
    }
}

fn invoke<F: Invoke>(context: &Context, matches: &ArgMatches) -> Outcome {
    let flags = F::from_arg_matches(matches).map_err(|error| exit::Stop::Usage(error.to_string()))?;
    flags.invoke(context)
}
