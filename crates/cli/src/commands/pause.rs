//! `skep pause`, `skep unpause`.

use super::each::each;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use clap::Parser;

pub(super) const PAUSE: Entry = Entry::new::<Pause>(
    Group::Containers,
    &["pause", "container pause"],
    "CONTAINER [CONTAINER...]",
    "Pause all processes within one or more containers",
);

pub(super) const UNPAUSE: Entry = Entry::new::<Unpause>(
    Group::Containers,
    &["unpause", "container unpause"],
    "CONTAINER [CONTAINER...]",
    "Unpause all processes within one or more containers",
);

#[derive(Debug, Parser)]
struct Pause {
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Pause {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        each(&home, &self.containers, |id| engine::pause(&home, id))
    }
}

#[derive(Debug, Parser)]
struct Unpause {
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Unpause {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        each(&home, &self.containers, |id| engine::unpause(&home, id))
    }
}
