//! `skep kill`: a signal to the first process of a container.

use super::each::each;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use clap::Parser;

pub(super) const ENTRY: Entry = Entry::new::<Kill>(
    Group::Containers,
    &["kill", "container kill"],
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Kill one or more running containers",
);

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep kill -s HUP web")]
struct Kill {
    /// Signal to send: KILL, SIGHUP, 9, RTMIN+3
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Kill {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let signal = if self.signal.is_empty() { "KILL" } else { &self.signal };
        each(&home, &self.containers, |id| engine::kill(&home, id, signal))
    }
}
