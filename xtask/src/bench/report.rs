//! The table for docs/performance.md: what was measured, against what, and whether the target was met.

use std::fmt::Write;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    /// skep's figure with its unit.
    pub(crate) ours: String,
    /// The figure it is held against.
    pub(crate) theirs: String,
    /// The ratio or difference that the target speaks of.
    pub(crate) result: String,
    /// The target in words, and whether it was met; none for a row that only informs.
    pub(crate) target: Option<(String, bool)>,
}

impl Row {
    /// A row for the ratio of two times in milliseconds that must be at most `limit`.
    pub(crate) fn at_most(
        what: &str,
        ours: &super::stopwatch::Series,
        theirs: &super::stopwatch::Series,
        limit: f64,
    ) -> Self {
        let ratio = ours.median() / theirs.median();
        Self {
            what: what.to_owned(),
            ours: times(ours),
            theirs: format!("{}: {}", theirs.name, times(theirs)),
            result: format!("{ratio:.2} x (min {:.2} x)", ours.minimum() / theirs.minimum()),
            target: Some((format!("at most {limit} x"), ratio <= limit)),
        }
    }

    /// A row for two rates (more is better), of which ours must be at least `limit` times theirs.
    pub(crate) fn rate(what: &str, unit: &str, ours: f64, peer: &str, theirs: f64, limit: f64) -> Self {
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.1} {unit}"),
            theirs: format!("{peer}: {theirs:.1} {unit}"),
            result: format!("{:.2} x", ours / theirs),
            target: Some((format!("at least {limit} x"), ours / theirs >= limit)),
        }
    }

    /// A row for one figure of ours under a fixed bound.
    pub(crate) fn bound(what: &str, ours: f64, unit: &str, limit: f64, detail: &str) -> Self {
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.1} {unit}"),
            theirs: detail.to_owned(),
            result: String::new(),
            target: Some((format!("at most {limit} {unit}"), ours <= limit)),
        }
    }
}

/// `median (min)` in milliseconds.
pub(crate) fn times(series: &super::stopwatch::Series) -> String {
    format!("{:.2} ms (min {:.2})", series.median(), series.minimum())
}

/// The whole report as Markdown.
pub(crate) fn render(rows: &[Row], rounds: usize, missing: &[&str]) -> String {
    let mut text = String::new();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "Kernel {}, {rounds} rounds, load at the end {load}. Medians, minima in brackets.\n",
        kernel.trim()
    );
    let _ = writeln!(text, "| what | skep | against | result | target | met |\n|---|---|---|---|---|---|");
    for row in rows {
        let (target, met) = row.target.clone().unwrap_or_default();
        let met = if row.target.is_none() {
            ""
        } else if met {
            "yes"
        } else {
            "**no**"
        };
        let _ = writeln!(text, "| {} | {} | {} | {} | {target} | {met} |", row.what, row.ours, row.theirs, row.result);
    }
    if !missing.is_empty() {
        let _ = writeln!(text, "\nNot installed here, so not compared: {}.", missing.join(", "));
    }
    text
}
