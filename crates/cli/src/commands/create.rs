//! `skep create`: a container that `start` starts later.

use super::creation::Creation;
use super::idfile::IdFile;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::{self, Output};
use clap::Parser;
use engine::RemoveOptions;

pub(super) const ENTRY: Entry = Entry::new::<Create>(
    Group::Containers,
    &["create", "container create"],
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container",
);

const EXAMPLES: &str = "\
Takes the flags of `skep run` and prints the id of the container, which does not run.

Examples:
  skep create --name db -m 1g postgres
  skep start -a db";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Create {
    #[command(flatten)]
    creation: Creation,
    #[arg(required = true, trailing_var_arg = true, hide = true, value_name = "IMAGE")]
    image: Vec<String>,
}

impl Invoke for Create {
    fn invoke(self, context: &Context) -> Outcome {
        let dry_run = self.creation.dry_run();
        let cidfile = self.creation.cidfile().map(str::to_owned);
        let stdin = self.creation.streams().stdin;
        let before = self.creation.before(&self.image[0]);
        let mut request = self.creation.request(self.image)?;
        request.stdin_once = request.open_stdin && stdin;
        let home = context.home()?;
        let mut out = Output::new();
        if dry_run {
            out.text(&engine::dry_run(&home, request)?)?;
            return out.done();
        }
        before.pull(&home, &mut request)?;
        let cidfile = IdFile::new(cidfile)?;
        let created = engine::create(&home, request)?;
        created.warnings.iter().for_each(|line| output::warn(line));
        if let Err(error) = cidfile.write(&created.id) {
            let _ = engine::remove(&home, &created.id, RemoveOptions { force: true, volumes: true });
            return Err(error.into());
        }
        out.line(created.id.as_ref())?;
        out.done()
    }
}
