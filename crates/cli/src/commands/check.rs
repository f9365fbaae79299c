//! `skep system check`: proves that all that is stored is owned and intact, and puts right what can be.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{self, Outcome, Stop};
use crate::output::Output;
use crate::units;
use clap::Parser;
use engine::check::{self, Finding, Fix, Repaired, Report};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, stderr};

pub(super) const ENTRY: Entry = Entry::new::<Check>(
    Group::System,
    &["system check"],
    "[OPTIONS]",
    "Prove that every byte and every record of the store is owned and intact",
);

const HELP: &str = "\
Hashes every blob, compares every unpacked layer with its blob, and looks at every record. Prints a line for each thing that
is wrong: what it is, what is wrong, the way out. Containers may run meanwhile. What killed commands left is no damage: it
is counted, and goes with the next collection or with --repair.

Repairs: layers are unpacked again, claims made again, leftovers deleted. A blob that is damaged is deleted, so that
`skep pull` fetches it. What a container wrote and what skep does not know is never touched.

Exit code: 0 if all is well (or was repaired), 1 if not.";

#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Check {
    /// Put right what can be
    #[arg(long)]
    repair: bool,
    /// Look at records only, not at the bytes of blobs and layers
    #[arg(long)]
    quick: bool,
    /// Print what is wrong, and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// Format output ("table" or "json")
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], hide_possible_values = true)]
    format: Option<String>,
}

impl Invoke for Check {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let bar = (!self.quiet && stderr().is_terminal()).then(bar);
        let report = check::check(&home, self.quick, &mut |done, total| {
            if let Some(bar) = &bar {
                bar.set_length(total);
                bar.set_position(done);
            }
        })?;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let repaired = if self.repair { check::repair(&home, &report)? } else { Vec::new() };
        let mut out = Output::new();
        match self.format.as_deref() {
            Some("json") => out.line(&as_json(&report, &repaired).to_string())?,
            _ => self.table(&mut out, &report, &repaired)?,
        }
        out.flush()?;
        match report.findings.iter().any(|finding| is_left(finding, &repaired)) {
            true => Err(Stop::Code(exit::PLAIN)),
            false => Ok(0),
        }
    }
}

impl Check {
    fn table(&self, out: &mut Output, report: &Report, repaired: &[Repaired]) -> Outcome<()> {
        for finding in &report.findings {
            let Finding { object, problem, remedy, .. } = finding;
            match repaired.iter().find(|one| one.object == *object).map(|one| &one.outcome) {
                None => out.line(&format!("{object}: {problem}; {remedy}"))?,
                Some(Ok(done)) => out.line(&format!("{object}: {problem}; repaired: {done}"))?,
                Some(Err(error)) => out.line(&format!("{object}: {problem}; not repaired: {error}"))?,
            }
        }
        if self.quiet {
            return Ok(());
        }
        if !report.leftovers.is_empty() {
            let bytes = units::decimal(report.leftovers.iter().map(|leftover| leftover.bytes).sum());
            let swept = repaired.iter().find(|one| one.object == "leftovers").map(|one| &one.outcome);
            let fate = match swept {
                None => "they go with the next collection, or with `--repair`".to_owned(),
                Some(Ok(_)) => "deleted".to_owned(),
                Some(Err(error)) => format!("not deleted: {error}"),
            };
            out.line(&format!("leftovers of commands that ended early: {} ({bytes}); {fate}", report.leftovers.len()))?;
        }
        let Report { names, blobs, layers, bytes, .. } = report;
        let read = if self.quick { "records only".to_owned() } else { format!("{} read", units::decimal(*bytes)) };
        let verdict = match report.findings.len() {
            0 => "all is intact".to_owned(),
            1 => "1 thing is wrong".to_owned(),
            more => format!("{more} things are wrong"),
        };
        out.line(&format!("{names} names, {blobs} blobs, {layers} layers, {read}: {verdict}"))?;
        if report.unproven > 0 && !self.quick {
            out.line(&format!("{} layers have no blob here to be compared with", report.unproven))?;
        }
        Ok(())
    }
}

/// Whether something is still wrong after a repair: what must be fetched again is.
fn is_left(finding: &Finding, repaired: &[Repaired]) -> bool {
    let done = repaired.iter().any(|one| one.object == finding.object && one.outcome.is_ok());
    !done || matches!(finding.fix, Fix::Fetch(_))
}

fn as_json(report: &Report, repaired: &[Repaired]) -> Value {
    let finding =
        |finding: &Finding| json!({"Object": finding.object, "Problem": finding.problem, "Remedy": finding.remedy});
    let repair = |one: &Repaired| match &one.outcome {
        Ok(done) => json!({"Object": one.object, "Done": done}),
        Err(error) => json!({"Object": one.object, "Error": error.to_string()}),
    };
    let leftovers = report.leftovers.iter().map(|one| json!({"Object": one.object, "Bytes": one.bytes}));
    json!({
        "Findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "Leftovers": leftovers.collect::<Vec<_>>(),
        "Repaired": repaired.iter().map(repair).collect::<Vec<_>>(),
        "Names": report.names,
        "Blobs": report.blobs,
        "Layers": report.layers,
        "BytesRead": report.bytes,
        "LayersWithoutBlob": report.unproven,
    })
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("Checking [{bar:30}] {bytes}/{total_bytes} {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}
