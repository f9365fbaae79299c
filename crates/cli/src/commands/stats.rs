//! `skep stats`: what containers use, now and again.
//!
//! A rate is the difference of two samples. The first sample of a container is taken a moment before the second, so
//! that `--no-stream` shows a rate, too.

use super::each::complain;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::listing::{self, Format, Heading, Row};
use crate::output::{self, Output};
use crate::units;
use clap::Parser;
use engine::{ContainerId, Home, ListOptions, Sample};
use failure::Kind;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write as _;
use std::thread::sleep;
use std::time::Duration;

pub(super) const ENTRY: Entry = Entry::new::<Stats>(
    Group::Containers,
    &["stats", "container stats"],
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of container(s) resource usage statistics",
);

const FIRST: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
#[command(after_help = "Fields of a format: Container Name ID CPUPerc MemUsage MemPerc NetIO BlockIO PIDs.")]
struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output using "table", "table TEMPLATE", "json" or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

const HEADINGS: &[Heading] = &[
    ("BlockIO", "BLOCK I/O"),
    ("CPUPerc", "CPU %"),
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("MemPerc", "MEM %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("Name", "NAME"),
    ("NetIO", "NET I/O"),
    ("PIDs", "PIDS"),
];
const COLUMNS: &[&str] = &["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];

impl Invoke for Stats {
    fn invoke(self, context: &Context) -> Outcome {
        let format = Format::of(self.format.as_deref())?;
        let home = context.home()?;
        let mut before = self.sample(&home, &self.watched(&home)?);
        let code = u8::from(before.len() < self.containers.len());
        let mut pause = FIRST;
        let mut out = Output::new();
        loop {
            sleep(pause);
            pause = LATER;
            let watched = self.watched(&home)?;
            let now = self.sample(&home, &watched);
            let lines: Vec<Line> = watched.iter().map(|it| Line::new(it, &before, &now, self.no_trunc)).collect();
            let live = !self.no_stream && format.is_table() && output::to_terminal();
            if live {
                out.write_all(b"\x1b[2J\x1b[H")?;
            }
            listing::print(&mut out, &format, HEADINGS, COLUMNS, &lines)?;
            out.flush()?;
            if self.no_stream || (!self.containers.is_empty() && lines.iter().all(|line| line.sample.is_none())) {
                return Ok(code);
            }
            before = now;
        }
    }
}

/// A container that is watched.
#[derive(Clone, Debug)]
struct Watched {
    /// As it was named by the caller.
    given: String,
    name: String,
    id: ContainerId,
}

impl Stats {
    /// The containers named, or all that run.
    fn watched(&self, home: &Home) -> Outcome<Vec<Watched>> {
        if self.containers.is_empty() {
            let options = ListOptions { all: self.all, ..ListOptions::default() };
            let all = engine::list(home, &options)?.into_iter();
            return Ok(all.map(|it| Watched { given: it.id.short().to_string(), name: it.name, id: it.id }).collect());
        }
        let mut watched = Vec::new();
        for given in &self.containers {
            let id = engine::find(home, given)?;
            watched.push(Watched { given: given.clone(), name: engine::name_of(home, &id)?, id });
        }
        Ok(watched)
    }

    fn sample(&self, home: &Home, watched: &[Watched]) -> HashMap<String, Sample> {
        let mut samples = HashMap::new();
        for it in watched {
            match engine::statistics(home, &it.id) {
                Ok(sample) => {
                    samples.insert(it.id.to_string(), sample);
                }
                // It does not run (any more): shown as nothing, as in Docker.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => {
                    complain(&error);
                }
            }
        }
        samples
    }
}

/// A container as it is shown.
struct Line {
    watched: Watched,
    whole: bool,
    sample: Option<Sample>,
    /// Percent of one core.
    cpu: f64,
}

impl Line {
    fn new(watched: &Watched, before: &HashMap<String, Sample>, now: &HashMap<String, Sample>, whole: bool) -> Self {
        let sample = now.get(watched.id.as_ref()).cloned();
        let cpu = match (before.get(watched.id.as_ref()), &sample) {
            (Some(before), Some(now)) => percent(before, now),
            _ => 0.0,
        };
        Self { watched: watched.clone(), whole, sample, cpu }
    }
}

fn percent(before: &Sample, now: &Sample) -> f64 {
    let span = now.time.as_nanosecond() - before.time.as_nanosecond();
    if span <= 0 { 0.0 } else { now.cpu.saturating_sub(before.cpu) as f64 / span as f64 * 100.0 }
}

impl Row for Line {
    fn field(&self, name: &str) -> Option<Value> {
        let sample = self.sample.as_ref();
        let pair = |read: fn(&Sample) -> (u64, u64), show: fn(u64) -> String| match sample.map(read) {
            Some((first, second)) => format!("{} / {}", show(first), show(second)),
            None => "-- / --".into(),
        };
        let text = match name {
            "Container" => self.watched.given.clone(),
            "Name" => self.watched.name.clone(),
            "ID" if self.whole => self.watched.id.to_string(),
            "ID" => self.watched.id.short().to_string(),
            "CPUPerc" => sample.map_or("--".into(), |_| format!("{:.2}%", self.cpu)),
            "MemUsage" => pair(|sample| (sample.memory, sample.memory_limit), units::binary),
            "MemPerc" => sample
                .map_or("--".into(), |it| format!("{:.2}%", it.memory as f64 / it.memory_limit.max(1) as f64 * 100.0)),
            "NetIO" => pair(|sample| (sample.network_received, sample.network_sent), units::decimal_short),
            "BlockIO" => pair(|sample| (sample.block_read, sample.block_write), units::decimal_short),
            "PIDs" => sample.map_or("--".into(), |it| it.pids.to_string()),
            _ => return None,
        };
        Some(text.into())
    }
}
