//! `skep diff`: what a container changed.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::listing::{Format, Heading, Row, print};
use crate::output::Output;
use clap::Parser;
use engine::{Change, ChangeKind};
use serde_json::Value;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

pub(super) const ENTRY: Entry = Entry::new::<Diff>(
    Group::Containers,
    &["diff", "container diff"],
    "[OPTIONS] CONTAINER",
    "Inspect changes to files or directories on a container's filesystem",
);

#[derive(Debug, Parser)]
#[command(after_help = "A is added, C is changed, D is deleted.")]
struct Diff {
    /// Format output using "table", "json" or a Go template (fields: Type, Path)
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[arg(hide = true)]
    container: String,
}

const HEADINGS: &[Heading] = &[("Path", "PATH"), ("Type", "CHANGE TYPE")];

impl Invoke for Diff {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let changes = engine::diff(&home, &engine::find(&home, &self.container)?)?;
        let mut out = Output::new();
        if let Some(format) = &self.format {
            print(&mut out, &Format::parse(format)?, HEADINGS, &["Type", "Path"], &changes)?;
            return out.done();
        }
        for change in &changes {
            out.text(letter(change.kind))?;
            out.text(" ")?;
            match crate::output::to_terminal() {
                true => out.text(&change.path.to_string_lossy())?,
                false => out.write_all(change.path.as_os_str().as_bytes())?,
            }
            out.text("\n")?;
        }
        out.done()
    }
}

impl Row for Change {
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Type" => Some(letter(self.kind).into()),
            "Path" => Some(self.path.to_string_lossy().into()),
            _ => None,
        }
    }
}

fn letter(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "A",
        ChangeKind::Modified => "C",
        ChangeKind::Deleted => "D",
    }
}
