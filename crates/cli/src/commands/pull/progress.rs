//! What is shown of a pull: a bar for each layer on a terminal, a line for each that is there elsewhere.

use crate::exit::Outcome;
use engine::images::{Digest, Progress, Quiet};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _, Write as _};

const WAITING: &str = "{prefix}: {msg}";
const RUNNING: &str = "{prefix}: {msg:<12} [{bar:30}] {bytes}/{total_bytes}";

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Stdout,
    Stderr,
    Nowhere,
}

impl Place {
    /// A line of its own. Nothing is done about a stderr that is gone.
    pub(super) fn line(self, line: &str) -> Outcome<()> {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).chain(['\n']).collect();
        match self {
            Self::Stdout => Ok(io::stdout().write_all(line.as_bytes())?),
            Self::Stderr => {
                let _ = io::stderr().write_all(line.as_bytes());
                Ok(())
            }
            Self::Nowhere => Ok(()),
        }
    }
}

/// What to tell about layers there.
pub(super) fn of(place: Place) -> Box<dyn Progress> {
    let target = match place {
        Place::Stdout if io::stdout().is_terminal() => ProgressDrawTarget::stdout(),
        Place::Stderr if io::stderr().is_terminal() => ProgressDrawTarget::stderr(),
        Place::Stdout | Place::Stderr => return Box::new(Lines(place)),
        Place::Nowhere => return Box::new(Quiet),
    };
    Box::new(Bars { all: MultiProgress::with_draw_target(target), bars: Vec::new() })
}

/// As Docker shows a layer's digest.
fn short(layer: &Digest) -> String {
    layer.hex()[..12].to_owned()
}

/// A line when a layer is there.
struct Lines(Place);

impl Progress for Lines {
    fn begin(&mut self, _: &Digest, _: u64) {}

    fn advance(&mut self, _: &Digest, _: u64) {}

    fn finish(&mut self, layer: &Digest) {
        // A reader that is gone does not stop the pull.
        let _ = self.0.line(&format!("{}: Pull complete", short(layer)));
    }

    fn present(&mut self, layer: &Digest) {
        let _ = self.0.line(&format!("{}: Already exists", short(layer)));
    }
}

/// A bar a layer.
struct Bars {
    all: MultiProgress,
    bars: Vec<(Digest, ProgressBar)>,
}

impl Bars {
    fn of(&mut self, layer: &Digest) -> &ProgressBar {
        let at = self.bars.iter().position(|(known, _)| known == layer).unwrap_or_else(|| {
            let bar = ProgressBar::new(0).with_style(style(WAITING)).with_prefix(short(layer));
            self.bars.push((*layer, self.all.add(bar.with_message("Waiting"))));
            self.bars.len() - 1
        });
        &self.bars[at].1
    }

    fn end(&mut self, layer: &Digest, word: &'static str) {
        let bar = self.of(layer);
        bar.set_style(style(WAITING));
        bar.finish_with_message(word);
    }
}

impl Progress for Bars {
    fn begin(&mut self, layer: &Digest, total: u64) {
        self.of(layer).set_length(total);
    }

    fn advance(&mut self, layer: &Digest, done: u64) {
        let bar = self.of(layer);
        if bar.position() == 0 {
            bar.set_style(style(RUNNING));
            bar.set_message("Downloading");
        }
        bar.set_position(done);
    }

    fn stored(&mut self, layer: &Digest) {
        let bar = self.of(layer);
        bar.set_style(style(WAITING));
        bar.set_message("Extracting");
    }

    fn finish(&mut self, layer: &Digest) {
        self.end(layer, "Pull complete");
    }

    fn present(&mut self, layer: &Digest) {
        self.end(layer, "Already exists");
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
