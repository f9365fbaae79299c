//! `skep history`: how an image came to be.

use super::ps::ellipsis;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::listing::{self, Format, Heading, Row};
use crate::output::Output;
use crate::units;
use crate::values::switch;
use clap::{ArgAction, Parser};
use engine::images::{self, Platform};
use jiff::Timestamp;
use serde_json::Value;

pub(super) const ENTRY: Entry = Entry::new::<History>(
    Group::Images,
    &["history", "image history"],
    "[OPTIONS] IMAGE",
    "Show the history of an image",
);

#[derive(Debug, Parser)]
#[command(after_help = "Fields of a format: ID CreatedSince CreatedAt CreatedBy Size Comment.")]
struct History {
    /// Format output using "table", "table TEMPLATE", "json" or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value = "true", default_missing_value = "true", hide_possible_values = true, value_parser = switch::boolean)]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Of an image for several platforms, the one for OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(hide = true)]
    image: String,
}

const HEADINGS: &[Heading] = &[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

impl Invoke for History {
    fn invoke(self, context: &Context) -> Outcome {
        let format = Format::of(self.format.as_deref())?;
        let home = context.home()?;
        let platform = self.platform.as_deref().map(Platform::parse).transpose()?;
        let image = images::image_for(&home, &self.image, platform.as_ref())?;
        let store = home.store()?;
        let document = image.document(store)?;
        let sizes: Vec<u64> = image.layers.iter().map(|layer| store.layer_size(layer)).collect::<Result<_, _>>()?;
        let mut sizes = sizes.into_iter();
        let empty = Vec::new();
        let entries = document.json().get("history").and_then(Value::as_array).unwrap_or(&empty);
        let now = Timestamp::now();
        let mut lines: Vec<Line> = Vec::new();
        for entry in entries {
            let hollow = entry.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
            let size = if hollow { 0 } else { sizes.next().unwrap_or(0) };
            lines.push(Line::new(entry, size, self.no_trunc, self.human, now));
        }
        // Layers that the history does not tell of.
        lines.extend(sizes.map(|size| Line::new(&Value::Null, size, self.no_trunc, self.human, now)));
        lines.reverse();
        if let Some(newest) = lines.first_mut() {
            newest.id = image.id.to_string();
        }
        let mut out = Output::new();
        if self.quiet && format.is_table() {
            lines.iter().try_for_each(|line| out.line(&line.id()))?;
            return out.done();
        }
        let created = if self.human { "CreatedSince" } else { "CreatedAt" };
        listing::print(&mut out, &format, HEADINGS, &["ID", created, "CreatedBy", "Size", "Comment"], &lines)?;
        out.done()
    }
}

/// One step.
struct Line {
    id: String,
    created: Option<Timestamp>,
    created_by: String,
    comment: String,
    size: u64,
    whole: bool,
    human: bool,
    now: Timestamp,
}

impl Line {
    fn new(entry: &Value, size: u64, whole: bool, human: bool, now: Timestamp) -> Self {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            id: "<missing>".into(),
            created: text("created").parse().ok(),
            created_by: text("created_by").replace('\t', " "),
            comment: text("comment"),
            size,
            whole,
            human,
            now,
        }
    }

    fn id(&self) -> String {
        match self.id.strip_prefix("sha256:") {
            Some(digits) if !self.whole => digits.chars().take(12).collect(),
            _ => self.id.clone(),
        }
    }
}

impl Row for Line {
    fn field(&self, name: &str) -> Option<Value> {
        let at = || self.created.map(|time| format!("{time:.0}")).unwrap_or_default();
        let text = match name {
            "ID" => self.id(),
            "CreatedSince" if !self.human => at(),
            "CreatedSince" => self.created.map_or_else(|| "N/A".into(), |time| units::ago(time, self.now)),
            "CreatedAt" => at(),
            "CreatedBy" if self.whole => self.created_by.clone(),
            "CreatedBy" => ellipsis(&self.created_by, 45),
            "Size" if self.human => units::decimal_short(self.size),
            "Size" => self.size.to_string(),
            "Comment" => self.comment.clone(),
            _ => return None,
        };
        Some(text.into())
    }
}
