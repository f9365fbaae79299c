//! `skep exec`: one more process in a running container.

use super::session::{end_on_signal, needs_terminal};
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{self, Outcome};
use crate::output;
use crate::terminal::{self, Raw};
use crate::values::{directory, environment};
use clap::Parser;
use engine::keys::DetachKeys;
use engine::stdio::{Local, Pumped, Signals};
use engine::{ExecRequest, ExecStreams};
use std::io::{stderr, stdin, stdout};
use std::os::fd::AsFd as _;

pub(super) const ENTRY: Entry = Entry::new::<Exec>(
    Group::Common,
    &["exec", "container exec"],
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
);

const EXAMPLES: &str = "\
Examples:
  skep exec -it web sh
  skep exec -u 1000 -w /tmp -e A=1 web env
  tar c . | skep exec -i web tar x -C /srv

The exit code is the command's; 126 if it cannot be executed, 127 if it is not there.";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Exec {
    /// Run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = environment::variable)]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Keep stdin open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-terminal
    #[arg(short, long)]
    tty: bool,
    /// User, by name or number: USER[:GROUP]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIRECTORY", value_parser = directory)]
    workdir: Option<String>,
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, hide = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

impl Invoke for Exec {
    fn invoke(mut self, context: &Context) -> Outcome {
        let command = self.words.split_off(1);
        let mut environment = Vec::new();
        for file in &self.env_file {
            environment.extend(environment::file(file)?);
        }
        environment.append(&mut self.env);
        let home = context.home()?;
        let id = engine::find(&home, &self.words[0])?;
        let request = ExecRequest {
            command,
            environment,
            user: self.user.take().filter(|user| !user.is_empty()),
            working_directory: self.workdir.take().filter(|directory| !directory.is_empty()),
            privileged: self.privileged,
        };
        if self.detach {
            engine::exec(&home, &id, &request, ExecStreams::Null)?;
            return Ok(0);
        }
        needs_terminal(self.tty, self.interactive)?;
        let keys = self.detach_keys.as_deref().map_or_else(|| Ok(DetachKeys::default()), DetachKeys::parse)?;
        // A terminal that was made raw must be put back whatever signal comes; pipes need no such care.
        let signals = if self.tty { Some(Signals::block(true)?) } else { None };
        let mut execution = engine::exec(&home, &id, &request, self.streams())?;
        let (input, output, errors) = (stdin(), stdout(), stderr());
        let raw = if self.tty && self.interactive { Some(Raw::enter()?) } else { None };
        let mut on_signal = end_on_signal;
        let pumped = execution.relay(Local {
            stdin: self.interactive.then(|| input.as_fd()),
            stdout: Some(output.as_fd()),
            stderr: Some(errors.as_fd()),
            terminal: (self.tty && output::to_terminal()).then(|| output.as_fd()),
            detach_keys: raw.is_some().then_some(keys),
            signals: signals.as_ref().map(|signals| (signals, &mut on_signal as &mut dyn FnMut(i32))),
        });
        drop(raw);
        match pumped? {
            Pumped::Ended => Ok(exit::of_container(execution.wait()?)),
            Pumped::Detached | Pumped::OutputClosed => Ok(0),
        }
    }
}

impl Exec {
    fn streams(&self) -> ExecStreams {
        if !self.tty {
            return ExecStreams::Pipes { stdin: self.interactive };
        }
        let (rows, columns) = terminal::size().unwrap_or((24, 80));
        ExecStreams::Terminal { rows, columns }
    }
}
