//! `skep rmi`: takes names away, and images with their last name.

use super::each::complain;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::Output;
use clap::Parser;
use engine::images::{self, Removed};
use failure::Kind;

pub(super) const ENTRY: Entry = Entry::new::<Rmi>(
    Group::Images,
    &["rmi", "image rm", "image remove"],
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
);

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep rmi $(skep images -q -f dangling=true)")]
struct Rmi {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// There are no untagged parents
    #[arg(long, hide = true)]
    no_prune: bool,
    #[arg(required = true, hide = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Invoke for Rmi {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let mut out = Output::new();
        let mut code = 0;
        for name in &self.images {
            match images::remove_image(&home, name, self.force) {
                Ok(removed) => removed.iter().try_for_each(|it| out.line(&line(it)))?,
                Err(error) => {
                    out.flush()?;
                    let failed = complain(&error);
                    if !(self.force && error.kind() == Kind::NotFound) {
                        code = failed;
                    }
                }
            }
        }
        out.done().map(|_| code)
    }
}

/// `Untagged: NAME` or `Deleted: sha256:..`.
pub(super) fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(name) => format!("Untagged: {name}"),
        Removed::Deleted(digest) => format!("Deleted: {digest}"),
    }
}
