//! The command line: flags, output and progress over the engine. The only crate that prints.
//!
//! ```text
//!   words ──dispatch──▶ Entry (one of commands::ALL) ──clap──▶ flags ──commands/*.rs──▶ engine ──▶ Outcome ──exit──▶ code
//! ```
//! Only the flags of the command that was called are ever built. Each command is one file of `commands/`; what the
//! values of flags mean is in `values/`; how things are shown is in `listing`, `template`, `table` and `units`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the crate that prints")]

mod commands;
mod context;
mod dispatch;
mod entry;
mod exit;
mod help;
mod listing;
mod output;
mod prompt;
mod table;
mod template;
mod terminal;
mod units;
mod usage;
mod values;

use std::ffi::OsString;

/// Runs the command line of these words (without the program's own name) and returns its exit code.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    dispatch::run(words.into_iter().collect())
}
