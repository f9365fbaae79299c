//! Timing in turns: one round runs every contestant once, so that what a neighbour does to one it does to all.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// One side of a comparison.
pub(crate) struct Contestant<'a> {
    pub(crate) name: String,
    action: Box<dyn FnMut() -> Result<()> + 'a>,
    /// Not timed, after each turn: puts back what the action changed.
    restore: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// The times of one contestant.
pub(crate) struct Series {
    pub(crate) name: String,
    sorted: Vec<Duration>,
}

impl<'a> Contestant<'a> {
    /// A command that must succeed, run to its end.
    pub(crate) fn command(name: &str, mut command: Command) -> Self {
        silence(&mut command);
        Self::action(name, move || finish(&mut command))
    }

    /// Anything else.
    pub(crate) fn action(name: &str, action: impl FnMut() -> Result<()> + 'a) -> Self {
        Self { name: name.to_owned(), action: Box::new(action), restore: Box::new(|| Ok(())) }
    }

    /// Adds what must be done between its turns.
    pub(crate) fn restoring(mut self, restore: impl FnMut() -> Result<()> + 'a) -> Self {
        self.restore = Box::new(restore);
        self
    }
}

impl Series {
    /// The price: the least of all times.
    pub(crate) fn minimum(&self) -> f64 {
        milliseconds(self.sorted[0])
    }

    /// What users get.
    pub(crate) fn median(&self) -> f64 {
        milliseconds(self.sorted[self.sorted.len() / 2])
    }
}

/// Runs the contestants in turn after one warm-up each, 100 ms apart: one's tear-down is not the other's bill.
pub(crate) fn compare(rounds: usize, contestants: &mut [Contestant<'_>]) -> Result<Vec<Series>> {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            sleep(Duration::from_millis(100));
            let start = Instant::now();
            (contestant.action)().with_context(|| contestant.name.clone())?;
            let elapsed = start.elapsed();
            (contestant.restore)().with_context(|| contestant.name.clone())?;
            if round > 0 {
                times.push(elapsed);
            }
        }
    }
    let series = contestants.iter().zip(times).map(|(contestant, mut sorted)| {
        sorted.sort_unstable();
        Series { name: contestant.name.clone(), sorted }
    });
    Ok(series.collect())
}

/// Gives a command no terminal, no input and nowhere to write: containers must not keep the caller's streams.
pub(crate) fn silence(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Runs a command to its end; anything but success is an error.
pub(crate) fn finish(command: &mut Command) -> Result<()> {
    let status = command.spawn().with_context(|| format!("{command:?}"))?.wait()?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// What a command printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A duration as a number of milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
