//! Rows of things under headings: `--format` for `ps`, `images`, `history`, `stats`, `diff`.
//!
//! ```text
//!   (nothing), table      the default columns under their headings
//!   table TEMPLATE        these columns under their headings
//!   json                  an object a line, all fields
//!   TEMPLATE              the template a line
//! ```
//! A field is worked out only when it is shown.

use crate::exit::Outcome;
use crate::output::Output;
use crate::table::{self, Widths};
use crate::template::Template;
use failure::Result;
use serde_json::{Map, Value};

/// A field and its heading.
pub(crate) type Heading = (&'static str, &'static str);

/// One thing.
pub(crate) trait Row {
    /// One of its fields, if it has it.
    fn field(&self, name: &str) -> Option<Value>;

    /// `{{.Label "x"}}` and the like.
    fn method(&self, _name: &str, _arguments: &[Value]) -> Option<Value> {
        None
    }
}

/// How rows are shown.
#[derive(Debug)]
pub(crate) enum Format {
    /// The default columns.
    Table,
    /// Columns of a template.
    TableOf(Template),
    /// JSON lines.
    Json,
    /// A template a line.
    Lines(Template),
}

impl Format {
    /// Reads `--format`.
    ///
    /// # Errors
    /// A template that is none.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        match text.trim() {
            "" | "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => match text.strip_prefix("table ").or_else(|| text.strip_prefix("table\t")) {
                Some(columns) => Template::parse(columns.trim_start()).map(Self::TableOf),
                None => Template::parse(&text).map(Self::Lines),
            },
        }
    }

    /// The format of a flag that may be missing.
    ///
    /// # Errors
    /// As [`Format::parse`].
    pub(crate) fn of(flag: Option<&str>) -> Result<Self> {
        Self::parse(flag.unwrap_or_default())
    }

    /// Whether headings are shown.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Self::Table | Self::TableOf(_))
    }
}

/// Prints the rows. `headings` has all fields, sorted by name; `columns` those that are shown by default.
pub(crate) fn print<R: Row>(
    out: &mut Output,
    format: &Format,
    headings: &[Heading],
    columns: &[&str],
    rows: &[R],
) -> Outcome<()> {
    match format {
        Format::Table => {
            let mut cells = vec![columns.iter().map(|name| heading(headings, name)).collect::<Vec<_>>()];
            cells.extend(rows.iter().map(|row| columns.iter().map(|name| cell(row, name)).collect()));
            out.text(&table::render(&cells, Widths::default()))
        }
        Format::TableOf(template) => {
            let mut text = template.headings(&|name| heading(headings, name)) + "\n";
            for row in rows {
                text += &(render(template, headings, row)? + "\n");
            }
            out.text(&table::align(&text, Widths::default()))
        }
        Format::Json => rows.iter().try_for_each(|row| out.line(&Value::from(whole(headings, row)).to_string())),
        Format::Lines(template) => rows.iter().try_for_each(|row| out.line(&render(template, headings, row)?)),
    }
}

fn render<R: Row>(template: &Template, headings: &[Heading], row: &R) -> Result<String> {
    let data = if template.shows_all() { whole(headings, row).into() } else { Value::Object(Map::new()) };
    let methods = |name: &str, arguments: &[Value]| match arguments {
        [] => row.field(name),
        _ => row.method(name, arguments),
    };
    template.render_with(&data, &methods)
}

/// All fields of a row.
pub(crate) fn whole<R: Row>(headings: &[Heading], row: &R) -> Map<String, Value> {
    headings.iter().filter_map(|(name, _)| Some(((*name).to_owned(), row.field(name)?))).collect()
}

fn cell<R: Row>(row: &R, name: &str) -> String {
    match row.field(name) {
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// A field's heading; a label's is the last part of its name.
fn heading(headings: &[Heading], name: &str) -> String {
    match headings.iter().find(|(field, _)| *field == name) {
        Some((_, heading)) => (*heading).to_owned(),
        None => name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " "),
    }
}
