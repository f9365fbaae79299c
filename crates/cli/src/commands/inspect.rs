//! `skep inspect`, `skep container inspect`, `skep image inspect`: JSON, or what a template takes from it.

use super::each::complain;
use super::image_view;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use crate::template::Template;
use clap::{Args, Parser};
use engine::Home;
use engine::images::Platform;
use failure::{Error, Kind, Result};
use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

pub(super) const ENTRY: Entry = Entry::new::<Inspect>(
    Group::Containers,
    &["inspect"],
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on containers and images",
);

pub(super) const CONTAINER: Entry = Entry::new::<InspectContainer>(
    Group::Hidden,
    &["container inspect"],
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Display detailed information on one or more containers",
);

pub(super) const IMAGE: Entry = Entry::new::<InspectImage>(
    Group::Hidden,
    &["image inspect"],
    "[OPTIONS] IMAGE [IMAGE...]",
    "Display detailed information on one or more images",
);

const EXAMPLES: &str = "\
Examples:
  skep inspect -f '{{.State.Pid}}' web
  skep inspect -f '{{json .Mounts}}' web
  skep inspect -f '{{range .Config.Env}}{{println .}}{{end}}' web";

#[derive(Debug, Args)]
struct What {
    /// Format output using "json" or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    #[arg(required = true, hide = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Inspect {
    #[command(flatten)]
    what: What,
    /// Measure the files of containers, too
    #[arg(short, long)]
    size: bool,
    /// Only look for this kind of thing: container or image
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct InspectContainer {
    #[command(flatten)]
    what: What,
    /// Measure its files, too
    #[arg(short, long)]
    size: bool,
}

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep image inspect -f '{{json .Config.Cmd}}' debian")]
struct InspectImage {
    #[command(flatten)]
    what: What,
    /// The platform the image must be for: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

impl Invoke for Inspect {
    fn invoke(self, context: &Context) -> Outcome {
        let size = self.size;
        match self.kind.as_deref() {
            None | Some("") => show(context, &self.what, |home, name| match container(home, name, size) {
                Err(error) if error.kind() == Kind::NotFound => image(home, name).map_err(|_| none(name)),
                other => other,
            }),
            Some("container") => show(context, &self.what, |home, name| container(home, name, size)),
            Some("image") => show(context, &self.what, image),
            Some(other) => {
                Err(Stop::Arguments(format!("\"{other}\" is not a valid value for --type: it is container or image")))
            }
        }
    }
}

impl Invoke for InspectContainer {
    fn invoke(self, context: &Context) -> Outcome {
        show(context, &self.what, |home, name| container(home, name, self.size))
    }
}

impl Invoke for InspectImage {
    fn invoke(self, context: &Context) -> Outcome {
        show(context, &self.what, |home, name| {
            let platform = self.platform.as_deref().map(Platform::parse).transpose()?;
            image_view::inspect(home, name, platform.as_ref())
        })
    }
}

fn none(name: &str) -> Error {
    Error::not_found(format!("no such container or image: `{name}`"))
}

fn container(home: &Home, name: &str, size: bool) -> Result<Value> {
    engine::inspect(home, &engine::find(home, name)?, size)
}

fn image(home: &Home, name: &str) -> Result<Value> {
    image_view::inspect(home, name, None)
}

/// What is there as one array (or a template each), what is not on stderr.
fn show(context: &Context, what: &What, look: impl Fn(&Home, &str) -> Result<Value>) -> Outcome {
    let home = context.home()?;
    let template = match what.format.as_deref() {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let (mut found, mut code) = (Vec::new(), 0);
    let mut out = Output::new();
    for name in &what.names {
        match (look(&home, name), &template) {
            (Ok(value), Some(template)) => match template.render(&value) {
                Ok(line) => out.line(&line)?,
                Err(error) => code = complain(&error),
            },
            (Ok(value), None) => found.push(value),
            (Err(error), _) => code = complain(&error),
        }
    }
    match (&template, what.format.as_deref()) {
        (Some(_), _) => {}
        (None, Some("json")) => out.line(&Value::from(found).to_string())?,
        (None, _) => out.line(&pretty(&found.into()))?,
    }
    out.done().map(|_| code)
}

/// JSON with four spaces, as Docker indents it.
pub(super) fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) => value.to_string(),
    }
}
