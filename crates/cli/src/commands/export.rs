//! `skep export`: a container's whole filesystem as a tar archive.

use super::file_output;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use clap::Parser;
use std::path::PathBuf;

pub(super) const ENTRY: Entry = Entry::new::<Export>(
    Group::Containers,
    &["export", "container export"],
    "[OPTIONS] CONTAINER",
    "Export a container's filesystem as a tar archive",
);

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep export web | tar t")]
struct Export {
    /// Write to a file, instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(hide = true)]
    container: String,
}

impl Invoke for Export {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let id = engine::find(&home, &self.container)?;
        file_output::write(self.output, |out| engine::export(&home, &id, out))
    }
}
