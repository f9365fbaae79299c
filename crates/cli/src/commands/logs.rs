//! `skep logs`: what a container wrote.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use crate::values::Parsed;
use clap::Parser;
use engine::LogRequest;
use engine::logs::{Record, Stream, parse_time};
use jiff::Timestamp;
use std::io::{self, Write as _};
use std::ops::ControlFlow;

pub(super) const ENTRY: Entry = Entry::new::<Logs>(
    Group::Containers,
    &["logs", "container logs"],
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container",
);

const EXAMPLES: &str = "\
TIME is a moment (2026-11-21T09:00:00Z, 1700000000) or how long ago (42m, 1h30m).

Examples:
  skep logs -f -n 20 web
  skep logs --since 10m -t web";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Logs {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show logs before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", allow_hyphen_values = true, value_parser = tail)]
    tail: Tail,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// There are no extra details
    #[arg(long, hide = true)]
    details: bool,
    #[arg(hide = true)]
    container: String,
}

/// How many lines from the end; none: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail(Option<u64>);

fn tail(text: &str) -> Parsed<Tail> {
    match text.parse::<i64>() {
        Ok(count) => Ok(Tail(u64::try_from(count).ok())),
        Err(_) if text == "all" || text.is_empty() => Ok(Tail(None)),
        Err(_) => Err(format!("invalid tail \"{text}\": it is a number or \"all\"")),
    }
}

impl Invoke for Logs {
    fn invoke(self, context: &Context) -> Outcome {
        let now = Timestamp::now();
        let moment = |text: &Option<String>| text.as_deref().map(|text| parse_time(text, now)).transpose();
        let (since, until) = (moment(&self.since)?, moment(&self.until)?);
        let home = context.home()?;
        let id = engine::find(&home, &self.container)?;
        let request = LogRequest { since, until, tail: self.tail.0, follow: self.follow, ..LogRequest::default() };
        let mut writer = Writer { out: Output::new(), timestamps: self.timestamps, eager: self.follow, stopped: None };
        engine::logs(&home, &id, &request, &mut |record| match writer.write(&record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(stop) => {
                writer.stopped = Some(stop);
                ControlFlow::Break(())
            }
        })?;
        match writer.stopped {
            Some(stop) => Err(stop),
            None => writer.out.done(),
        }
    }
}

/// Records to stdout and stderr, in their order.
struct Writer {
    out: Output,
    timestamps: bool,
    /// Show each record at once.
    eager: bool,
    stopped: Option<Stop>,
}

impl Writer {
    fn write(&mut self, record: &Record<'_>) -> Outcome<()> {
        let time = if self.timestamps && record.begins_line { format!("{:.9} ", record.time) } else { String::new() };
        match record.stream {
            Stream::Stdout => {
                self.out.text(&time)?;
                self.out.write_all(record.bytes)?;
                if self.eager { self.out.flush() } else { Ok(()) }
            }
            Stream::Stderr => {
                self.out.flush()?;
                let mut errors = io::stderr().lock();
                errors.write_all(time.as_bytes())?;
                Ok(errors.write_all(record.bytes)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        assert_eq!((tail("all"), tail("5"), tail("-1")), (Ok(Tail(None)), Ok(Tail(Some(5))), Ok(Tail(None))));
        assert!(tail("x").is_err());
    }
}
