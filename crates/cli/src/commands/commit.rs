//! `skep commit`: an image of what a container changed.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::Output;
use crate::values::{epoch, switch};
use clap::{ArgAction, Parser};
use engine::CommitRequest;

pub(super) const ENTRY: Entry = Entry::new::<Commit>(
    Group::Containers,
    &["commit", "container commit"],
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes",
);

const EXAMPLES: &str = "\
Instructions of --change: CMD ENTRYPOINT ENV EXPOSE LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR.

The same changes make the same image, digest for digest. It is as old as the newest change in it, or as the variable
SOURCE_DATE_EPOCH says in seconds; then no file in its layer is newer either.

Example:
  skep commit -m 'with curl' -c 'CMD [\"bash\"]' work debian:curl";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Commit {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Pause the container during commit
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_value = "true", default_missing_value = "true", hide_possible_values = true, value_parser = switch::boolean)]
    pause: bool,
    /// Do not pause the container
    #[arg(long)]
    no_pause: bool,
    #[arg(hide = true)]
    container: String,
    #[arg(hide = true)]
    reference: Option<String>,
}

impl Invoke for Commit {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let request = CommitRequest {
            reference: self.reference,
            author: self.author,
            message: self.message,
            changes: self.change,
            no_pause: self.no_pause || !self.pause,
            epoch: epoch::epoch()?,
        };
        let image = engine::commit(&home, &engine::find(&home, &self.container)?, &request)?;
        let mut out = Output::new();
        out.line(&image)?;
        out.flush()?;
        Context::added_images(&home);
        out.done()
    }
}
