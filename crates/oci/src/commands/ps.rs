//! `ps`: the processes of a container, as the host's `ps` shows them, or their numbers.

use std::collections::BTreeSet;

use failure::{Context as _, Error, Result};

use crate::command::Command;
use crate::container::Container;
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::output;

pub(crate) static COMMAND: Command = Command {
    name: "ps",
    about: "ps displays the processes running inside a container",
    usage: "<container-id> [ps options]",
    description: "Shows the processes of a container. The options are those of the host's ps; without any, -ef.",
    flags: &[Flag::value(&["format", "f"], "select one of: table or json (default: \"table\")")],
    order: Order::FlagsFirst,
    words: (1, usize::MAX),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    let container = Container::find(global, &words.rest[0])?;
    let pids = match container.cgroup() {
        Ok(group) => group.processes()?,
        // Of one that has stopped nobody is left.
        Err(_) => Vec::new(),
    };
    match words.value("format").unwrap_or("table") {
        "json" => output::json_line(&pids)?,
        "table" => output::text(&table(&pids.into_iter().collect(), words.rest.get(1..).unwrap_or_default())?)?,
        _ => return Err(Error::invalid("invalid format option")),
    }
    Ok(0)
}

fn table(pids: &BTreeSet<i32>, options: &[String]) -> Result<String> {
    let everything = ["-ef".to_owned()];
    let options = if options.is_empty() { &everything } else { options };
    let shown = std::process::Command::new("ps").args(options).output().context("cannot run `ps`")?;
    if !shown.status.success() {
        let words = String::from_utf8_lossy(&shown.stderr).trim().to_owned();
        return Err(Error::invalid(format!("ps: {}: {words}", shown.status)));
    }
    choose(&String::from_utf8_lossy(&shown.stdout), pids)
}

/// The lines of these processes, with the head.
fn choose(shown: &str, pids: &BTreeSet<i32>) -> Result<String> {
    let mut lines = shown.lines();
    let head = lines.next().unwrap_or_default();
    let column = head
        .split_ascii_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::invalid("couldn't find PID field in ps output"))?;
    let is_ours = |line: &&str| {
        let number = line.split_ascii_whitespace().nth(column).and_then(|field| field.parse().ok());
        number.is_some_and(|number| pids.contains(&number))
    };
    Ok(std::iter::once(head).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_are_shown() {
        let shown = "UID  PID PPID CMD\nroot   1    0 init\nroot  42    1 sleep 42\n";
        assert_eq!(choose(shown, &[42].into()).unwrap(), "UID  PID PPID CMD\nroot  42    1 sleep 42\n");
        assert!(choose("CMD\nx\n", &[1].into()).is_err());
    }
}
