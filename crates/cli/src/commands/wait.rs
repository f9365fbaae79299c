//! `skep wait`: until containers stop; prints their exit codes.

use super::each::each_line;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use clap::Parser;
use engine::WaitFor;

pub(super) const ENTRY: Entry = Entry::new::<Wait>(
    Group::Containers,
    &["wait", "container wait"],
    "CONTAINER [CONTAINER...]",
    "Block until one or more containers stop, then print their exit codes",
);

#[derive(Debug, Parser)]
struct Wait {
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Wait {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        each_line(&self.containers, |name| {
            let id = engine::find(&home, name)?;
            engine::wait(&home, &id, WaitFor::NotRunning).map(|code| Some(code.to_string()))
        })
    }
}
