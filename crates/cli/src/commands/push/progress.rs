//! How a push comes along: a bar a layer on a terminal, a line a layer elsewhere.

use crate::exit::Outcome;
use crate::output::Output;
use engine::images::Digest;
use engine::push::{Arrival, PushProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, stderr, stdout};

const RUNNING: &str = "{prefix}: {msg:<11} [{bar:30}] {bytes}/{total_bytes}";
const STANDING: &str = "{prefix}: {msg}";

/// What is shown.
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// Bars on stderr.
    Bars(Bars),
    /// Lines on stdout. A reader that is gone is noticed at the end.
    Lines(Output, Outcome<()>),
}

/// A bar for each layer, in their order.
pub(super) struct Bars {
    all: MultiProgress,
    bars: Vec<(Digest, ProgressBar)>,
}

impl Shown {
    pub(super) fn new(quiet: bool) -> Self {
        match (quiet, stderr().is_terminal() && stdout().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Bars(Bars { all: MultiProgress::new(), bars: Vec::new() }),
            (false, false) => Self::Lines(Output::new(), Ok(())),
        }
    }

    /// The push is done.
    pub(super) fn end(self) -> Outcome<()> {
        match self {
            Self::Lines(mut out, outcome) => outcome.and_then(|()| out.flush()),
            Self::Bars(_) | Self::Nothing => Ok(()),
        }
    }

    fn bar(&mut self, layer: &Digest, word: &'static str, done: u64, total: u64) {
        let Self::Bars(bars) = self else { return };
        let bar = bars.of(layer);
        if bar.length() != Some(total) {
            bar.set_length(total);
            bar.set_style(style(RUNNING));
        }
        bar.set_message(word);
        bar.set_position(done);
    }
}

impl Bars {
    fn of(&mut self, layer: &Digest) -> &ProgressBar {
        let at = self.bars.iter().position(|(known, _)| known == layer).unwrap_or_else(|| {
            let bar = ProgressBar::no_length().with_style(style(STANDING)).with_prefix(short(layer));
            self.bars.push((*layer, self.all.add(bar)));
            self.bars.len() - 1
        });
        &self.bars[at].1
    }
}

impl PushProgress for Shown {
    fn waits(&mut self, layer: &Digest) {
        if let Self::Bars(bars) = self {
            bars.of(layer).set_message("Waiting");
        }
    }

    fn compressed(&mut self, layer: &Digest, done: u64, total: u64) {
        self.bar(layer, "Compressing", done, total);
    }

    fn sent(&mut self, layer: &Digest, done: u64, total: u64) {
        self.bar(layer, "Pushing", done, total);
    }

    fn arrived(&mut self, layer: &Digest, arrival: &Arrival) {
        let words = match arrival {
            Arrival::Present => "Layer already exists".to_owned(),
            Arrival::Sent => "Pushed".to_owned(),
            Arrival::Mounted(from) => format!("Mounted from {from}"),
        };
        match self {
            Self::Nothing => {}
            Self::Bars(bars) => {
                let bar = bars.of(layer);
                bar.set_style(style(STANDING));
                bar.finish_with_message(words);
            }
            Self::Lines(out, outcome) => {
                let line = format!("{}: {words}", short(layer));
                if outcome.is_ok() {
                    *outcome = out.line(&line).and_then(|()| out.flush());
                }
            }
        }
    }
}

fn short(layer: &Digest) -> String {
    layer.hex().chars().take(12).collect()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
