//! `skep version`.

use super::inspect::pretty;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::Output;
use crate::table::{self, Widths};
use crate::template::Template;
use clap::Parser;
use serde_json::Value;

pub(super) const ENTRY: Entry =
    Entry::new::<Version>(Group::System, &["version"], "[OPTIONS]", "Show the skep version information");

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep version -f '{{.Server.Version}}'")]
struct Version {
    /// Format output using "json" or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Invoke for Version {
    fn invoke(self, _: &Context) -> Outcome {
        let mut out = Output::new();
        show(&mut out, self.format.as_deref(), &engine::version(), plain)?;
        out.done()
    }
}

/// An object as JSON, by a template, or in the command's own way.
pub(super) fn show(
    out: &mut Output,
    format: Option<&str>,
    value: &Value,
    plain: fn(&mut Output, &Value) -> Outcome<()>,
) -> Outcome<()> {
    match format {
        None | Some("") => plain(out, value),
        Some("json") => out.line(&value.to_string()),
        Some(text) => {
            let text = text.replace("\\t", "\t").replace("\\n", "\n");
            out.line(&Template::parse(&text)?.render(value)?)
        }
    }
}

fn plain(out: &mut Output, value: &Value) -> Outcome<()> {
    let Some(facts) = value.get("Server").or(Some(value)).and_then(Value::as_object) else {
        return out.line(&pretty(value));
    };
    let mut text = String::new();
    let word = |key: &str| facts.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    text.push_str("skep:\n");
    text.push_str(&format!(" Version:\t{}\n", word("Version")));
    text.push_str(&format!(" OS/Arch:\t{}/{}\n", word("Os"), word("Arch")));
    text.push_str(&format!(" Kernel:\t{}\n", word("KernelVersion")));
    out.text(&table::align(&text, Widths { least: 20, padding: 1 }))
}
