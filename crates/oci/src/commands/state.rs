//! `state`: what a container is and how it fares, as JSON in runc's form.

use std::collections::BTreeMap;

use failure::Result;
use serde::Serialize;

use crate::command::Command;
use crate::container::{Container, Status};
use crate::flags::{Order, Words};
use crate::global::Global;
use crate::output;

pub(crate) static COMMAND: Command = Command {
    name: "state",
    about: "output the state of a container",
    usage: "<container-id>",
    description: "Prints the state of a container as JSON.",
    flags: &[],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

/// runc's form, field by field; `list` prints it too.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    oci_version: String,
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
    pub(crate) bundle: String,
    rootfs: String,
    pub(crate) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(crate) owner: String,
}

impl State {
    /// What is known of a container.
    pub(crate) fn of(container: &Container) -> Self {
        let (status, record) = (container.status(), container.record_if_any());
        let lives = !matches!(status, Status::Stopped | Status::Creating);
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        Self {
            oci_version: text(record.map(|record| &record.oci_version)),
            id: container.id().to_string(),
            pid: record.filter(|_| lives).map_or(0, |record| record.process.pid),
            status: status.name(),
            bundle: text(record.map(|record| &record.bundle)),
            rootfs: text(record.map(|record| &record.rootfs)),
            // Go's zero time: it was never created.
            created: record.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |record| record.created.clone()),
            annotations: record.map(|record| record.annotations.clone()).unwrap_or_default(),
            owner: owner(container.root.owner(container.id())),
        }
    }
}

fn run(global: &Global, words: &Words) -> Result<u8> {
    let container = Container::find(global, &words.rest[0])?;
    output::json(&State::of(&container))?;
    Ok(0)
}

/// The user's name, from the host's own list.
fn owner(uid: u32) -> String {
    let name = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    };
    match uid {
        0 => "root".to_owned(),
        _ => std::fs::read_to_string("/etc/passwd")
            .ok()
            .and_then(|users| users.lines().find_map(name))
            .unwrap_or_else(|| format!("#{uid}")),
    }
}
