//! `skep stop`, `skep restart`: ask it to end, then make it end.

use super::each::each;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use clap::{Args, Parser};
use engine::StopOptions;

pub(super) const STOP: Entry = Entry::new::<Stop>(
    Group::Containers,
    &["stop", "container stop"],
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Stop one or more running containers",
);

pub(super) const RESTART: Entry = Entry::new::<Restart>(
    Group::Containers,
    &["restart", "container restart"],
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Restart one or more containers",
);

#[derive(Debug, Args)]
struct Ending {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing the container; -1 waits for ever
    #[arg(short, long = "timeout", alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<i64>,
}

impl Ending {
    fn options(self) -> StopOptions {
        StopOptions { signal: self.signal, timeout: self.timeout }
    }
}

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep stop -t 2 web")]
struct Stop {
    #[command(flatten)]
    ending: Ending,
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Stop {
    fn invoke(self, context: &Context) -> Outcome {
        let (home, options) = (context.home()?, self.ending.options());
        each(&home, &self.containers, |id| engine::stop(&home, id, &options))
    }
}

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep restart web")]
struct Restart {
    #[command(flatten)]
    ending: Ending,
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Restart {
    fn invoke(self, context: &Context) -> Outcome {
        let (home, options) = (context.home()?, self.ending.options());
        each(&home, &self.containers, |id| engine::restart(&home, id, &options))
    }
}
