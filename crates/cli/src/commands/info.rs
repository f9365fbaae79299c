//! `skep info`: what this machine and this engine are.

use super::version::show;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::Output;
use crate::units;
use clap::Parser;
use serde_json::Value;

pub(super) const ENTRY: Entry =
    Entry::new::<Info>(Group::System, &["info", "system info"], "[OPTIONS]", "Display system-wide information");

#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  skep info -f '{{json .SecurityOptions}}'")]
struct Info {
    /// Format output using "json" or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Invoke for Info {
    fn invoke(self, context: &Context) -> Outcome {
        let value = engine::info(&context.home()?)?;
        let mut out = Output::new();
        show(&mut out, self.format.as_deref(), &value, plain)?;
        out.done()
    }
}

/// The lines of `docker info`, in its order: a label, and the field that it shows.
const LINES: &[(&str, &str)] = &[
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("DriverStatus", "DriverStatus"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Image Collection", "ImageCollection"),
    ("Security Options", "SecurityOptions"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Root Dir", "DockerRootDir"),
    ("Run Dir", "RunRoot"),
];

fn plain(out: &mut Output, value: &Value) -> Outcome<()> {
    for (label, field) in LINES {
        match (*field, value.get(field)) {
            (_, None) => {}
            ("MemTotal", Some(bytes)) => {
                out.line(&format!("{label}: {}", units::binary(bytes.as_u64().unwrap_or(0))))?
            }
            ("DriverStatus", Some(Value::Array(pairs))) => {
                for pair in pairs {
                    let word = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default();
                    out.line(&format!(" {}: {}", word(0), word(1)))?;
                }
            }
            ("SecurityOptions", Some(Value::Array(options))) => security(out, label, options)?,
            (_, Some(Value::String(text))) => out.line(&format!("{label}: {text}"))?,
            (_, Some(other)) => out.line(&format!("{label}: {other}"))?,
        }
    }
    let empty = Vec::new();
    let warnings = value.get("Warnings").and_then(Value::as_array).unwrap_or(&empty);
    warnings.iter().filter_map(Value::as_str).try_for_each(|line| out.line(&format!("WARNING: {line}")))
}

/// `name=seccomp,profile=builtin` as a name with its options below.
fn security(out: &mut Output, label: &str, options: &[Value]) -> Outcome<()> {
    out.line(&format!("{label}:"))?;
    for option in options.iter().filter_map(Value::as_str) {
        for (at, part) in option.split(',').enumerate() {
            match (at, part.split_once('=')) {
                (0, Some((_, name))) => out.line(&format!("  {name}"))?,
                (_, Some((key, value))) => out.line(&format!("   {key}: {value}"))?,
                (_, None) => out.line(&format!("  {part}"))?,
            }
        }
    }
    Ok(())
}
