//! `skep ps`: containers, a line each.

use super::filter::filter;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::listing::{self, Format, Heading, Row};
use crate::output::{self, Output};
use crate::units;
use clap::Parser;
use engine::{ListOptions, Status, Summary};
use jiff::Timestamp;
use serde_json::Value;

pub(super) const ENTRY: Entry = Entry::new::<Ps>(
    Group::Common,
    &["ps", "container ls", "container list", "container ps"],
    "[OPTIONS]",
    "List containers",
);

const EXAMPLES: &str = "\
Filters: id, name, label, status, exited, ancestor, before, since, volume, network.
Fields of a format: ID Names Image Command CreatedAt RunningFor Ports State Status Size Labels .Label \"x\" Mounts
LocalVolumes Networks.

Examples:
  skep ps -a --filter status=exited --filter label=team=web
  skep ps --format 'table {{.Names}}\\t{{.Status}}'
  skep ps -a --format json";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Ps {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = filter)]
    filter: Vec<(String, String)>,
    /// Format output using "table", "table TEMPLATE", "json" or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "NUMBER", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

pub(super) const HEADINGS: &[Heading] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];
const COLUMNS: &[&str] = &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"];

impl Invoke for Ps {
    fn invoke(self, context: &Context) -> Outcome {
        let format = Format::of(self.format.as_deref())?;
        let last =
            if self.latest { Some(1) } else { self.last.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) };
        let shows_size =
            self.size || self.format.as_deref().is_some_and(|text| text.contains(".Size") || text.contains("json"));
        let options = ListOptions { all: self.all, last, size: shows_size && !self.quiet, filters: self.filter };
        let containers = engine::list(&context.home()?, &options)?;
        let now = Timestamp::now();
        let line = |summary| Line { summary, whole: self.no_trunc, now };
        let lines: Vec<Line> = containers.into_iter().map(line).collect();
        let mut out = Output::new();
        if self.quiet {
            if !format.is_table() {
                output::warn("--quiet shows ids only: --format is ignored");
            }
            lines.iter().try_for_each(|line| out.line(&line.id()))?;
            return out.done();
        }
        let columns = if self.size { COLUMNS } else { &COLUMNS[..COLUMNS.len() - 1] };
        listing::print(&mut out, &format, HEADINGS, columns, &lines)?;
        out.done()
    }
}

/// A container as it is shown.
pub(super) struct Line {
    pub(super) summary: Summary,
    pub(super) whole: bool,
    pub(super) now: Timestamp,
}

impl Line {
    fn id(&self) -> String {
        if self.whole { self.summary.id.to_string() } else { self.summary.id.short().to_string() }
    }

    fn command(&self) -> String {
        // As Docker: words with a space in single quotes, and the whole as a Go string.
        let quoted = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
        let command = self.summary.command.iter().map(quoted).collect::<Vec<_>>().join(" ");
        let shown = if self.whole { command } else { ellipsis(&command, 20) };
        quote(&shown)
    }

    fn image(&self) -> String {
        let image = &self.summary.image;
        // A name with a digest is too long for a table.
        match image.split_once("@sha256:") {
            Some((name, _)) if !self.whole => name.to_owned(),
            _ => image.clone(),
        }
    }

    fn size(&self) -> Option<String> {
        let (written, all) = self.summary.size?;
        Some(format!("{} (virtual {})", units::decimal_short(written), units::decimal_short(all)))
    }

    fn mounts(&self) -> String {
        let short = |name: &String| if self.whole { name.clone() } else { ellipsis(name, 15) };
        self.summary.mounts.iter().map(short).collect::<Vec<_>>().join(",")
    }
}

impl Row for Line {
    fn field(&self, name: &str) -> Option<Value> {
        let summary = &self.summary;
        let text = match name {
            "ID" => self.id(),
            "Names" => summary.name.clone(),
            "Image" => self.image(),
            "Command" => self.command(),
            "CreatedAt" => units::local(summary.created),
            "RunningFor" => units::ago(summary.created, self.now),
            "Ports" if summary.status == Status::Running => summary.exposed_ports.join(", "),
            "Ports" => String::new(),
            "State" => summary.status.as_str().into(),
            "Status" => status(summary, self.now),
            "Size" => self.size().unwrap_or_default(),
            "Labels" => {
                summary.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
            }
            "Mounts" => self.mounts(),
            "LocalVolumes" => summary.mounts.iter().filter(|mount| !mount.starts_with('/')).count().to_string(),
            "Networks" => summary.networks.join(","),
            _ => return None,
        };
        Some(text.into())
    }

    fn method(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        let [Value::String(key)] = arguments else { return None };
        let label = self.summary.labels.iter().find(|(known, _)| known == key);
        (name == "Label").then(|| label.map(|(_, value)| value.clone()).unwrap_or_default().into())
    }
}

/// `Up 3 minutes (Paused)`, `Exited (0) 2 hours ago`.
fn status(summary: &Summary, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| units::duration(time.map_or(0, |time| now.as_second() - time.as_second()));
    let text = match summary.status {
        Status::Created => "Created".into(),
        Status::Running => format!("Up {}", since(summary.started)),
        Status::Paused => format!("Up {} (Paused)", since(summary.started)),
        Status::Exited => format!("Exited ({}) {} ago", summary.exit_code.unwrap_or(0), since(summary.finished)),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", summary.exit_code.unwrap_or(0), since(summary.finished))
        }
        Status::Removing => "Removal In Progress".into(),
        Status::Dead => "Dead".into(),
    };
    match &summary.note {
        Some(note) => format!("{text} ({note})"),
        None => text,
    }
}

/// A text in double quotes, with what would break out of them or of the line escaped.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            control if control.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// At most so many characters, the last of them `…` if something was left out.
pub(super) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: Status) -> Line {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let summary = Summary {
            id: "ab".repeat(32).parse().unwrap(),
            name: "web".into(),
            image: "busybox".into(),
            image_id: None,
            command: vec!["/bin/sh".into(), "-c".into(), "sleep 1000000".into()],
            created: at(0),
            status,
            started: Some(at(5)),
            finished: Some(at(100)),
            exit_code: Some(3),
            pid: None,
            labels: vec![("a.b".into(), "c".into())],
            mounts: vec!["/a/long/path/of/the/host".into(), "data".into()],
            networks: vec!["none".into()],
            size: Some((1500, 4_200_000)),
            note: None,
            exposed_ports: vec!["80/tcp".into()],
        };
        Line { summary, whole: false, now: at(130) }
    }

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(line(Status::Running).field(name), Some(expected.into()));
    }

    #[test]
    fn fields_as_docker_shows_them() {
        check("ID", "abababababab");
        check("Command", "\"/bin/sh -c 'sleep 1…\"");
        assert_eq!(quote("a\n\"b\" \\ \u{1b}é"), "\"a\\n\\\"b\\\" \\\\ \\x1bé\"");
        check("RunningFor", "2 minutes ago");
        check("Size", "1.5kB (virtual 4.2MB)");
        check("Labels", "a.b=c");
        check("Mounts", "/a/long/path/o…,data");
        check("LocalVolumes", "1");
    }

    #[test]
    fn states() {
        assert_eq!(line(Status::Running).field("Status"), Some("Up 2 minutes".into()));
        assert_eq!(line(Status::Paused).field("Status"), Some("Up 2 minutes (Paused)".into()));
        assert_eq!(line(Status::Exited).field("Status"), Some("Exited (3) 30 seconds ago".into()));
        assert_eq!(line(Status::Created).field("Status"), Some("Created".into()));
    }
}
