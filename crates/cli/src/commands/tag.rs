//! `skep tag`.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use clap::Parser;

pub(super) const ENTRY: Entry = Entry::new::<Tag>(
    Group::Images,
    &["tag", "image tag"],
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
);

#[derive(Debug, Parser)]
struct Tag {
    #[arg(hide = true)]
    source: String,
    #[arg(hide = true)]
    target: String,
}

impl Invoke for Tag {
    fn invoke(self, context: &Context) -> Outcome {
        engine::images::tag(&context.home()?, &self.source, &self.target)?;
        Ok(0)
    }
}
