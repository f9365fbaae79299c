//! `skep man [COMMAND]`: the manual page, for packagers.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use clap::Parser;
use clap_mangen::Man;

pub(super) const ENTRY: Entry = Entry::new::<Manual>(
    Group::Hidden,
    &["man"],
    "[COMMAND...]",
    "Print the manual page of skep or of a command (roff)",
);

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep man run | man -l -")]
struct Manual {
    #[arg(hide = true)]
    words: Vec<String>,
}

impl Invoke for Manual {
    fn invoke(self, _: &Context) -> Outcome {
        let word = self.words.join(" ");
        let command = if word.is_empty() {
            super::tree().about("a container engine without a daemon").long_about(crate::help::ABOUT)
        } else {
            let entry = super::find(&word).ok_or_else(|| Stop::Arguments(format!("unknown command: skep {word}")))?;
            let name: &'static str = Box::leak(format!("skep-{}", word.replace(' ', "-")).into_boxed_str());
            entry.shown(&word).name(name).before_help("")
        };
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        let mut out = Output::new();
        out.text(&String::from_utf8_lossy(&page))?;
        out.done()
    }
}
