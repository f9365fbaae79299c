//! The table of all commands, one file each.
//!
//! A command's words, flags, manual and deed stand together in its file; this is only the list that finds it by its name,
//! in the order of `help`.

pub(crate) mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
pub(crate) mod run;
mod spec;
mod start;
mod state;
mod update;

use crate::checkpoint;
use crate::command::Command;

/// Every command, as `help` lists them.
pub(crate) static ALL: &[&Command] = &[
    &checkpoint::CHECKPOINT,
    &create::COMMAND,
    &delete::COMMAND,
    &events::COMMAND,
    &exec::COMMAND,
    &features::COMMAND,
    &kill::COMMAND,
    &list::COMMAND,
    &pause::PAUSE,
    &ps::COMMAND,
    &checkpoint::RESTORE,
    &pause::RESUME,
    &run::COMMAND,
    &spec::COMMAND,
    &start::COMMAND,
    &state::COMMAND,
    &update::COMMAND,
];

/// The command of a name.
pub(crate) fn named(name: &str) -> Option<&'static Command> {
    ALL.iter().find(|command| command.name == name).copied()
}
