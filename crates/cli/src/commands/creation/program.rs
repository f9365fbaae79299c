//! The program: its name, streams, variables, directory, user, end.

use crate::commands::pull::When;
use crate::exit::Outcome;
use crate::values::{Parsed, directory, environment, label};
use clap::Args;
use engine::Request;
use engine::request::LogOptions;

#[derive(Debug, Args)]
pub(super) struct Program {
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Keep stdin open even if not attached
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Allocate a pseudo-terminal
    #[arg(short, long)]
    tty: bool,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM", value_parser = stream)]
    pub(super) attach: Vec<String>,
    /// Remove the container and its anonymous volumes when it exits
    #[arg(long)]
    rm: bool,
    /// Write the container's id to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<String>,
    /// Set an environment variable; NAME alone takes the caller's value
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = environment::variable)]
    env: Vec<String>,
    /// Read environment variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIRECTORY", value_parser = directory)]
    workdir: Option<String>,
    /// User, by name or number: USER[:GROUP]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Join one more group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Overwrite the entry point of the image ("" clears it)
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Run a tiny init as PID 1, which forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Set a label
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = label::label)]
    label: Vec<(String, String)>,
    /// Read labels from a file, one a line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// Add an annotation to the OCI specification
    #[arg(long, value_name = "KEY=VALUE", value_parser = label::label)]
    annotation: Vec<(String, String)>,
    /// Signal that asks the container to stop [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; -1 waits for ever [default: 10]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Pull the image before: "always", "never", or when it is "missing" (the default)
    #[arg(long, value_name = "WHEN", default_value = "missing", hide_default_value = true, value_parser = pull)]
    pub(super) pull: When,
    /// The platform the image must be for: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    pub(super) platform: Option<String>,
    /// Where the output is kept: json-file (the default) or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Option of the log driver: max-size=10m, max-file=3
    #[arg(long, value_name = "NAME=VALUE", value_parser = log_option)]
    log_opt: Vec<(String, String)>,
    /// Print the plan, step by step, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not show progress of a pull
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Only "no" so far
    #[arg(long, hide = true, value_parser = restart)]
    restart: Option<String>,
    /// Nothing to disable: health checks are not run yet
    #[arg(long, hide = true)]
    no_healthcheck: bool,
    /// Nothing to disable
    #[arg(long, hide = true)]
    disable_content_trust: bool,
}

impl Program {
    pub(super) fn apply(self, request: &mut Request) -> Outcome<()> {
        for file in &self.env_file {
            request.environment.extend(environment::file(file)?);
        }
        request.environment.extend(self.env);
        for file in &self.label_file {
            request.labels.extend(label::file(file)?);
        }
        request.labels.extend(self.label);
        request.annotations = self.annotation;
        request.name =
            self.name.map(|name| name.strip_prefix('/').unwrap_or(&name).to_owned()).filter(|name| !name.is_empty());
        request.terminal = self.tty;
        request.open_stdin = self.interactive;
        request.auto_remove = self.rm;
        request.working_directory = self.workdir.filter(|directory| !directory.is_empty());
        request.user = self.user.filter(|user| !user.is_empty());
        request.groups = self.group_add;
        request.entrypoint = self.entrypoint.map(|command| if command.is_empty() { Vec::new() } else { vec![command] });
        request.init = self.init;
        request.stop_signal = self.stop_signal;
        request.stop_timeout = self.stop_timeout;
        request.platform = self.platform;
        let options = self.log_opt.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        request.log = LogOptions::parse(self.log_driver.as_deref().unwrap_or_default(), options)?;
        Ok(())
    }
}

fn stream(text: &str) -> Parsed<String> {
    let name = text.to_ascii_lowercase();
    match name.as_str() {
        "stdin" | "stdout" | "stderr" => Ok(name),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
}

fn pull(text: &str) -> Parsed<When> {
    match text {
        "always" => Ok(When::Always),
        "missing" => Ok(When::Missing),
        "never" => Ok(When::Never),
        _ => Err(format!("invalid pull option: '{text}': must be one of \"always\", \"missing\" or \"never\"")),
    }
}

fn restart(text: &str) -> Parsed<String> {
    match text {
        "" | "no" => Ok(text.into()),
        _ => Err("restart policies are not supported yet".into()),
    }
}

fn log_option(text: &str) -> Parsed<(String, String)> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| format!("invalid logging option '{text}': must be NAME=VALUE"))
}
