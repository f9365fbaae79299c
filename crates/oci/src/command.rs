//! One command: its words, its flags, its manual, what it does.
//!
//! All of it is a constant: naming a command costs a look into a table, and nothing is built for those that were not
//! named. `skep-runtime help` and `COMMAND --help` print from the same table.

use std::fmt::Write as _;

use failure::{Error, Result};

use crate::flags::{Flag, Order, Words};
use crate::global::Global;

/// A command of the table in [`crate::commands`].
#[derive(Debug)]
pub(crate) struct Command {
    /// What calls it.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
    /// What follows its name.
    pub(crate) usage: &'static str,
    /// More about it; may be empty.
    pub(crate) description: &'static str,
    /// Its flags.
    pub(crate) flags: &'static [Flag],
    /// Where they may stand.
    pub(crate) order: Order,
    /// How many words it takes: at least, at most.
    pub(crate) words: (usize, usize),
    /// Does it; the exit code.
    pub(crate) run: fn(&Global, &Words) -> Result<u8>,
}

impl Command {
    /// Checks the words and does what they say.
    pub(crate) fn invoke(&self, global: &Global, words: Vec<String>) -> Result<u8> {
        let words = Words::parse(self.flags, self.order, words)
            .map_err(|wrong| Error::invalid(format!("Incorrect Usage: {wrong}; see `{} --help`", self.name)))?;
        self.check(words.rest.len())?;
        (self.run)(global, &words)
    }

    fn check(&self, count: usize) -> Result<()> {
        let (least, most) = self.words;
        let wanted = match (count < least, count > most) {
            (false, false) => return Ok(()),
            _ if least == most => format!("exactly {least}"),
            (true, _) => format!("a minimum of {least}"),
            (_, true) => format!("a maximum of {most}"),
        };
        Err(Error::invalid(format!("skep-runtime: \"{}\" requires {wanted} argument(s)", self.name)))
    }

    /// Its manual.
    pub(crate) fn manual(&self) -> String {
        let mut text = format!(
            "NAME:\n   skep-runtime {} - {}\n\nUSAGE:\n   skep-runtime {0} {}\n",
            self.name,
            self.about,
            if self.flags.is_empty() { self.usage.to_owned() } else { format!("[command options] {}", self.usage) },
        );
        if !self.description.is_empty() {
            let _ = write!(text, "\nDESCRIPTION:\n   {}\n", self.description.replace('\n', "\n   "));
        }
        if !self.flags.is_empty() {
            let _ = write!(text, "\nOPTIONS:\n{}", options(self.flags));
        }
        text
    }
}

/// The flags of a table, one a line.
pub(crate) fn options(flags: &[Flag]) -> String {
    let left = |flag: &Flag| {
        let value = if flag.takes_value { " value" } else { "" };
        let dashed = |name: &&str| format!("{}{name}{value}", if name.len() == 1 { "-" } else { "--" });
        flag.names.iter().map(dashed).collect::<Vec<_>>().join(", ")
    };
    let width = flags.iter().map(|flag| left(flag).len()).max().unwrap_or_default();
    flags.iter().fold(String::new(), |mut text, flag| {
        let _ = writeln!(text, "   {:width$}  {}", left(flag), flag.help);
        text
    })
}
