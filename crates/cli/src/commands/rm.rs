//! `skep rm`.

use super::each::{complain, each_line};
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use clap::Parser;
use engine::RemoveOptions;
use failure::Kind;

pub(super) const ENTRY: Entry = Entry::new::<Remove>(
    Group::Containers,
    &["rm", "container rm", "container remove"],
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Remove one or more containers",
);

#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  skep rm -f -v web\n  skep rm $(skep ps -aq -f status=exited)")]
struct Remove {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// There are no links
    #[arg(short, long, hide = true)]
    link: bool,
    #[arg(required = true, hide = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Invoke for Remove {
    fn invoke(self, context: &Context) -> Outcome {
        if self.link {
            return Err(Stop::Usage("--link is not supported: there are no links".into()));
        }
        let home = context.home()?;
        let options = RemoveOptions { force: self.force, volumes: self.volumes };
        if self.force && self.containers.len() > 1 {
            let ids: Vec<_> = self.containers.iter().filter_map(|name| engine::find(&home, name).ok()).collect();
            engine::kill_ahead(&home, &ids);
        }
        let outcome = each_line(&self.containers, |name| {
            let removed = engine::find(&home, name).and_then(|id| engine::remove(&home, &id, options));
            match removed {
                // As Docker: with -f a container that is not there is no failure, but said.
                Err(error) if self.force && error.kind() == Kind::NotFound => {
                    complain(&error);
                    Ok(None)
                }
                other => other.map(|()| Some(name.to_owned())),
            }
        });
        engine::tidy_up(&home);
        outcome
    }
}
