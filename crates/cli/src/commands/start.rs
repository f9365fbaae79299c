//! `skep start`: containers that were created or have ended.

use super::creation::Streams;
use super::each::each;
use super::facts::Facts;
use super::session::{Session, needs_terminal};
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output;
use clap::Parser;
use engine::Attach;

pub(super) const ENTRY: Entry = Entry::new::<Start>(
    Group::Containers,
    &["start", "container start"],
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start one or more stopped containers",
);

const EXAMPLES: &str = "\
Examples:
  skep start web db
  skep start -a -i shell      the exit code is the command's";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Start {
    /// Attach stdout and stderr, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach stdin, too
    #[arg(short, long)]
    interactive: bool,
    /// Keys that detach from the terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Start {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        if !self.attach && !self.interactive {
            return each(&home, &self.containers, |id| {
                let started = engine::start(&home, id, Attach::detached())?;
                started.warnings.iter().for_each(|line| output::warn(line));
                Ok(())
            });
        }
        let [name] = self.containers.as_slice() else {
            return Err(Stop::Arguments("you cannot start and attach multiple containers at once".into()));
        };
        let id = engine::find(&home, name)?;
        let facts = Facts::read(&home, &id)?;
        let streams = Streams { stdin: self.interactive && facts.open_stdin, stdout: true, stderr: true };
        needs_terminal(facts.terminal, streams.stdin)?;
        let session = Session::new(streams, facts.terminal, self.detach_keys.as_deref(), true)?;
        let started = engine::start(&home, &id, session.attach())?;
        started.warnings.iter().for_each(|line| output::warn(line));
        match started.attachment {
            Some(attachment) => session.relay(&home, &id, attachment),
            None => Ok(0),
        }
    }
}
