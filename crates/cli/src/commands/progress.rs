//! Bars on stderr while an image comes in, if stderr is a terminal; nothing otherwise.

use engine::images::{Digest, Progress, Quiet};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, stderr};

const RUNNING: &str = "{prefix}: {msg:<14} [{bar:30}] {bytes}/{total_bytes}";
const LOADING: &str = "Loading layer";
const ENDED: &str = "{prefix}: {msg}";

/// What to tell about an image that comes in.
pub(super) fn bars(quiet: bool) -> Box<dyn Progress> {
    if quiet || !stderr().is_terminal() {
        return Box::new(Quiet);
    }
    Box::new(Bars { all: MultiProgress::new(), bars: Vec::new() })
}

/// A bar a layer.
struct Bars {
    all: MultiProgress,
    bars: Vec<(String, ProgressBar)>,
}

impl Bars {
    fn of(&mut self, layer: &Digest) -> &ProgressBar {
        let digest = layer.to_string();
        let at = match self.bars.iter().position(|(known, _)| *known == digest) {
            Some(at) => at,
            None => {
                let digits: String = digest.rsplit(':').next().unwrap_or_default().chars().take(12).collect();
                let bar = ProgressBar::new(0).with_style(style(RUNNING)).with_prefix(digits).with_message(LOADING);
                let bar = self.all.add(bar);
                self.bars.push((digest, bar));
                self.bars.len() - 1
            }
        };
        &self.bars[at].1
    }

    fn end(&mut self, layer: &Digest, word: &'static str) {
        let bar = self.of(layer);
        bar.set_style(style(ENDED));
        bar.finish_with_message(word);
    }
}

impl Progress for Bars {
    fn begin(&mut self, layer: &Digest, total: u64) {
        self.of(layer).set_length(total);
    }

    fn advance(&mut self, layer: &Digest, done: u64) {
        self.of(layer).set_position(done);
    }

    fn finish(&mut self, layer: &Digest) {
        self.end(layer, "Loaded");
    }

    fn present(&mut self, layer: &Digest) {
        self.end(layer, "Already exists");
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
