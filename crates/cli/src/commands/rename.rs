//! `skep rename`.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use clap::Parser;

pub(super) const ENTRY: Entry = Entry::new::<Rename>(
    Group::Containers,
    &["rename", "container rename"],
    "CONTAINER NEW_NAME",
    "Rename a container",
);

#[derive(Debug, Parser)]
struct Rename {
    #[arg(hide = true)]
    container: String,
    #[arg(hide = true)]
    new_name: String,
}

impl Invoke for Rename {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        engine::rename(&home, &engine::find(&home, &self.container)?, &self.new_name)?;
        Ok(0)
    }
}
