//! `list`: the containers below one state directory, as a table, ids or JSON.

use failure::{Error, Kind, Result};

use super::state::State;
use crate::command::Command;
use crate::container::Container;
use crate::directory::Root;
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::output;

pub(crate) static COMMAND: Command = Command {
    name: "list",
    about: "lists containers started with the given root",
    usage: "",
    description: "Lists the containers of the state directory that `--root` names.",
    flags: &[
        Flag::value(&["format", "f"], "select one of: table or json (default: \"table\")"),
        Flag::plain(&["quiet", "q"], "display only container IDs"),
    ],
    order: Order::Mixed,
    words: (0, 0),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    let states = states(global)?;
    if words.has("quiet") {
        let ids: String = states.iter().map(|state| format!("{}\n", state.id)).collect();
        output::text(&ids)?;
        return Ok(0);
    }
    match words.value("format").unwrap_or("table") {
        // Go's word for an empty list.
        "json" if states.is_empty() => output::text("null\n")?,
        "json" => output::json_line(&states)?,
        "table" => output::table(&table(&states))?,
        _ => return Err(Error::invalid("invalid format option")),
    }
    Ok(0)
}

fn states(global: &Global) -> Result<Vec<State>> {
    let Some(root) = Root::open(&global.root)? else { return Ok(Vec::new()) };
    let mut states = Vec::new();
    for id in root.ids()? {
        match Container::find(global, id.as_ref()) {
            Ok(container) => states.push(State::of(&container)),
            // Deleted meanwhile.
            Err(gone) if gone.kind() == Kind::NotFound => {}
            Err(wrong) => global.log.warning(&format!("container `{id}`: {wrong}")),
        }
    }
    Ok(states)
}

fn table(states: &[State]) -> Vec<Vec<String>> {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned).to_vec();
    let row = |state: &State| {
        let State { id, pid, status, bundle, created, owner, .. } = state;
        vec![id.clone(), pid.to_string(), (*status).to_owned(), bundle.clone(), created.clone(), owner.clone()]
    };
    std::iter::once(head).chain(states.iter().map(row)).collect()
}
