//! The table of all commands.

mod create;
mod delete;
mod kill;
mod list;
mod run;
mod start;
mod state;

use crate::command::Command;

/// Every command, as `help` lists them.
pub(crate) static ALL: &[&Command] = &[
    &create::COMMAND,
    &delete::COMMAND,
    &kill::COMMAND,
    &list::COMMAND,
    &run::COMMAND,
    &start::COMMAND,
    &state::COMMAND,
];

/// The command of a name.
pub(crate) fn named(name: &str) -> Option<&'static Command> {
    ALL.iter().find(|command| command.name == name).copied()
}
