//! What goes to stdout.

use std::io::Write as _;

use failure::{Context as _, Error, Result};
use serde::Serialize;

/// Text as it is.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the output")
}

/// Indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string_pretty(value).map_err(|wrong| Error::internal(wrong.to_string()))?;
    line.push('\n');
    text(&line)
}

/// Indented JSON with tabs instead of pairs of blanks.
pub(crate) fn tabs(text: &str) -> String {
    let line = |line: &str| {
        let plain = line.trim_start_matches(' ');
        format!("{}{plain}\n", "\t".repeat((line.len() - plain.len()) / 2))
    };
    text.lines().map(line).collect()
}

/// JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string(value).map_err(|wrong| Error::internal(wrong.to_string()))?;
    line.push('\n');
    text(&line)
}

/// Rows of a table: columns as wide as their widest cell and three blanks, at least twelve, as Go's tabwriter sets them.
pub(crate) fn table(rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count() + 3).max().unwrap_or_default().max(12)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = String::new();
    for row in rows {
        for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let last = index + 1 == row.len();
            lines.push_str(&if last { cell.clone() } else { format!("{cell:width$}") });
        }
        lines.push('\n');
    }
    text(&lines)
}
