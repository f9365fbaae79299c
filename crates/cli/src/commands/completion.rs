//! `skep completion SHELL`: the script that a shell completes commands and flags with.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use clap::Parser;
use clap_complete::Shell;

pub(super) const ENTRY: Entry = Entry::new::<Completion>(
    Group::System,
    &["completion"],
    "bash|fish|zsh|elvish|powershell",
    "Print the completion script of a shell",
);

const EXAMPLES: &str = "\
Examples:
  skep completion bash > /usr/share/bash-completion/completions/skep
  skep completion zsh > /usr/share/zsh/site-functions/_skep
  skep completion fish > ~/.config/fish/completions/skep.fish";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Completion {
    #[arg(hide = true)]
    shell: String,
}

impl Invoke for Completion {
    fn invoke(self, _: &Context) -> Outcome {
        let shell: Shell = self.shell.parse().map_err(|_| {
            Stop::Arguments(format!("no completion for `{}`: choose bash, fish, zsh, elvish or powershell", self.shell))
        })?;
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut super::tree(), "skep", &mut script);
        let mut out = Output::new();
        out.text(&String::from_utf8_lossy(&script))?;
        out.done()
    }
}
