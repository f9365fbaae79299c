//! `events`: what a container uses, every few seconds or once, and when it lacked memory; a line of JSON each.
//!
//! ```text
//!   {"type":"stats","id":"x","data":{"cpu":{...},"memory":{...}, ...}}
//!   {"type":"oom","id":"x"}
//! ```
//! The form of the data is runc's (`types/events.go`), and the runtime's counters are serialized in it. One thread: it
//! waits for the watch over the group and for the next interval at once.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use failure::{Context as _, Error, Result};
use runtime::cgroup::{Cgroup, MemoryEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Value, json};

use crate::command::Command;
use crate::container::{Container, Status};
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::output;

pub(crate) static COMMAND: Command = Command {
    name: "events",
    about: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
    usage: "<container-id>",
    description: "Prints what a container uses as JSON, once every 5 seconds, until it ends.",
    flags: &[
        Flag::value(&["interval"], "set the stats collection interval (default: 5s)"),
        Flag::plain(&["stats"], "display the container's stats then exit"),
    ],
    order: Order::Mixed,
    words: (1, 1),
    run,
};

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

fn run(global: &Global, words: &Words) -> Result<u8> {
    let interval = words.value("interval").map_or(Ok(Duration::from_secs(5)), duration)?;
    let container = Container::find(global, &words.rest[0])?;
    if matches!(container.status(), Status::Stopped | Status::Creating) {
        return Err(Error::conflict(format!("container with id {} is not running", container.id())));
    }
    let group = container.cgroup()?;
    let id = container.id().as_ref();
    if words.has("stats") {
        output::json_line(&statistics(id, &group)?)?;
        return Ok(0);
    }
    // One that has ended just now has no events any more.
    let Ok(process) = container.record()?.process.open() else { return Ok(0) };
    follow(id, &group, &process, interval)?;
    Ok(0)
}

/// Until the container has ended: its first process, or all of its group.
fn follow(id: &str, group: &Cgroup, process: &OwnedFd, interval: Duration) -> Result<()> {
    let mut watch = group.watch_memory()?;
    let mut next = Instant::now() + interval;
    loop {
        let rest = next.saturating_duration_since(Instant::now());
        let limit = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() };
        let mut polled = [PollFd::new(&watch, PollFlags::IN), PollFd::new(process, PollFlags::IN)];
        match poll(&mut polled, Some(&limit)) {
            Err(Errno::INTR) => continue,
            ready => ready.context("cannot wait for events")?,
        };
        let [memory, ended] = polled.map(|polled| !polled.revents().is_empty());
        // Want of memory may be why it ended.
        if memory {
            match watch.take_event()? {
                MemoryEvent::OutOfMemory => output::json_line(&Event { kind: "oom", id, data: None })?,
                MemoryEvent::Nothing => {}
                MemoryEvent::Ended => return Ok(()),
            }
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            next += interval;
            output::json_line(&statistics(id, group)?)?;
        }
    }
}

fn statistics<'a>(id: &'a str, group: &Cgroup) -> Result<Event<'a>> {
    let wrong = |wrong: serde_json::Error| Error::internal(wrong.to_string());
    let mut data = serde_json::to_value(group.metrics()?).map_err(wrong)?;
    if let Some(fields) = data.as_object_mut() {
        // Not the group's: nothing is known of them here, and readers want the fields.
        fields.insert("intel_rdt".to_owned(), json!({}));
        fields.insert("network_interfaces".to_owned(), Value::Null);
    }
    Ok(Event { kind: "stats", id, data: Some(data) })
}

/// Go's form: `5s`, `1m30s`, `500ms`, `1.5h`.
fn duration(text: &str) -> Result<Duration> {
    let wrong = || Error::invalid(format!("invalid value `{text}` for --interval; give it as 5s or 500ms"));
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * unit;
        rest = tail;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration > Duration::ZERO && seconds < 1e9 => Ok(duration),
        _ => Err(Error::invalid("duration interval must be greater than 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_go() {
        for (text, milliseconds) in [("5s", 5000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for text in ["", "0", "0s", "5", "s", "1x", "-1s", "1..2s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
