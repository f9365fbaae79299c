//! `skep attach`: connects to a running container.

use super::creation::Streams;
use super::facts::Facts;
use super::session::{Session, needs_terminal};
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::values::switch;
use clap::{ArgAction, Parser};
use failure::Error;

pub(super) const ENTRY: Entry = Entry::new::<Attach>(
    Group::Containers,
    &["attach", "container attach"],
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
);

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep attach --detach-keys ctrl-x shell")]
pub(super) struct Attach {
    /// Keys that detach from the terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not attach stdin
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the command (not with a terminal)
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value = "true", default_missing_value = "true", hide_possible_values = true, value_parser = switch::boolean)]
    sig_proxy: bool,
    #[arg(hide = true)]
    container: String,
}

impl Invoke for Attach {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let id = engine::find(&home, &self.container)?;
        let facts = Facts::read(&home, &id)?;
        if !facts.running {
            return Err(Error::conflict("cannot attach to a stopped container, start it first").into());
        }
        if facts.paused {
            return Err(Error::conflict("cannot attach to a paused container, unpause it first").into());
        }
        let streams = Streams { stdin: facts.open_stdin && !self.no_stdin, stdout: true, stderr: true };
        needs_terminal(facts.terminal, streams.stdin)?;
        let session = Session::new(streams, facts.terminal, self.detach_keys.as_deref(), self.sig_proxy)?;
        let attachment = engine::attach(&home, &id, session.attach())?;
        session.relay(&home, &id, attachment)
    }
}
