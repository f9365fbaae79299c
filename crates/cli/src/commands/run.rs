//! `skep run`: create, start, and stay until the end.

use super::creation::{Creation, Streams};
use super::idfile::IdFile;
use super::session::{Session, needs_terminal};
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{self, Outcome, Stop};
use crate::output::{self, Output};
use crate::values::switch;
use clap::{ArgAction, Parser};
use engine::{Attach, ContainerId, WaitFor};

pub(super) const ENTRY: Entry = Entry::new::<Run>(
    Group::Common,
    &["run", "container run"],
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
)
.refusing_with_125();

const EXAMPLES: &str = "\
IMAGE is a name, pulled from its registry if it is not here (see `skep pull`), or an id of `skep images`, or needs no image
at all:
  rootfs:PATH       that directory as the read-only base
  oci:PATH[:NAME]   an OCI image layout
  host:             this machine's own root filesystem, read-only, under a writable layer

Examples:
  skep run --rm -it debian bash
  skep run -d --name web -m 256m --cpus 0.5 -v /srv/www:/var/www:ro web-image
  skep run --rm --network none rootfs:/srv/rootfs /bin/sh -c 'id; hostname'
  skep run --dry-run debian true

The exit code is the command's; 125 if skep refuses, 126 if the command cannot be executed, 127 if it is not there.";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the command (not with -t)
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value = "true", default_missing_value = "true", hide_possible_values = true, value_parser = switch::boolean)]
    sig_proxy: bool,
    #[command(flatten)]
    creation: Creation,
    #[arg(required = true, trailing_var_arg = true, hide = true, value_name = "IMAGE")]
    image: Vec<String>,
}

impl Invoke for Run {
    fn invoke(self, context: &Context) -> Outcome {
        if self.detach && self.creation.attaches() {
            return Err(Stop::Arguments("conflicting options: cannot specify both --attach and --detach".into()));
        }
        let streams = if self.detach { Streams::default() } else { self.creation.streams() };
        let dry_run = self.creation.dry_run();
        let cidfile = self.creation.cidfile().map(str::to_owned);
        let before = self.creation.before(&self.image[0]);
        let mut request = self.creation.request(self.image)?;
        request.stdin_once = request.open_stdin && streams.stdin;
        let home = context.home()?;
        if dry_run {
            let mut out = Output::new();
            out.text(&engine::dry_run(&home, request)?)?;
            return out.done();
        }
        needs_terminal(request.terminal, streams.stdin)?;
        before.pull(&home, &mut request)?;
        let cidfile = IdFile::new(cidfile)?;
        let keys = self.detach_keys.as_deref();
        let mut created = Created { cidfile, said: Vec::new() };
        if self.detach {
            let started = engine::run(&home, request, Attach::detached(), &mut |id, lines| created.note(id, lines))?;
            created.warn(&started.warnings);
            let mut out = Output::new();
            out.line(started.id.as_ref())?;
            return out.done();
        }
        let session = Session::new(streams, request.terminal, keys, self.sig_proxy)?;
        let started = engine::run(&home, request, session.attach(), &mut |id, lines| created.note(id, lines))?;
        created.warn(&started.warnings);
        match started.attachment {
            Some(attachment) => session.relay(&home, &started.id, attachment),
            None => Ok(exit::of_container(engine::wait(&home, &started.id, WaitFor::NotRunning)?)),
        }
    }
}

/// What is done once the container is there: its id is noted, its warnings are said, each once.
struct Created {
    cidfile: IdFile,
    said: Vec<String>,
}

impl Created {
    fn note(&mut self, id: &ContainerId, warnings: &[String]) -> failure::Result<()> {
        self.warn(warnings);
        self.cidfile.write(id)
    }

    fn warn(&mut self, warnings: &[String]) {
        for line in warnings {
            if !self.said.contains(line) {
                output::warn(line);
                self.said.push(line.clone());
            }
        }
    }
}
