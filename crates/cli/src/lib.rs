//! The command line: flags, output and progress over the engine. The only crate that prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the crate that prints")]

mod exit;
mod output;
mod table;
mod template;
mod units;

/// Runs the command line of this process and returns its exit code.
pub fn main() -> u8 {
    0
}
