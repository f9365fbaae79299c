//! `skep cp`: files between a container and this machine, or a tar stream on stdin or stdout.

use super::file_output;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use clap::Parser;
use engine::copy::Options;
use std::io::stdin;
use std::path::Path;

pub(super) const ENTRY: Entry = Entry::new::<Copy>(
    Group::Containers,
    &["cp", "container cp"],
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem",
);

const EXAMPLES: &str = "\
Use '-' as the source to read a tar archive from stdin and extract it to a directory in a container.
Use '-' as the destination to stream a tar archive of a container source to stdout.

Examples:
  skep cp site/. web:/var/www
  skep cp web:/etc/hosts .
  skep cp web:/var/log - | tar t";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Copy {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy (there is none)
    #[arg(short, long, hide = true)]
    quiet: bool,
    #[arg(hide = true)]
    source: String,
    #[arg(hide = true)]
    destination: String,
}

impl Invoke for Copy {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let options = Options { archive: self.archive, follow_link: self.follow_link };
        match (place(&self.source), place(&self.destination)) {
            (Place::Container(name, path), Place::Stream) => {
                let id = engine::find(&home, name)?;
                file_output::write(None, |out| engine::copy_out(&home, &id, path, options, out))
            }
            (Place::Stream, Place::Container(name, path)) => {
                engine::copy_in(&home, &engine::find(&home, name)?, path, options, &mut stdin().lock())?;
                Ok(0)
            }
            (Place::Container(name, path), Place::Here(to)) => {
                let id = engine::find(&home, name)?;
                engine::copy_to_host(&home, &id, path, Path::new(to), options)?;
                Ok(0)
            }
            (Place::Here(from), Place::Container(name, path)) => {
                let id = engine::find(&home, name)?;
                engine::copy_from_host(&home, &id, Path::new(from), path, options)?;
                Ok(0)
            }
            (Place::Container(..), Place::Container(..)) => Err(Stop::Arguments(
                "`skep cp` between two containers is not supported: copy to this machine first".into(),
            )),
            _ => Err(Stop::Arguments("must specify at least one container source".into())),
        }
    }
}

/// An end of the copy.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Container(&'a str, &'a str),
    Here(&'a str),
    Stream,
}

/// `NAME:PATH`, unless it is a path of this machine: `-`, `/..`, `./..`.
fn place(text: &str) -> Place<'_> {
    match text.split_once(':') {
        _ if text == "-" => Place::Stream,
        _ if text.starts_with(['/', '.']) => Place::Here(text),
        Some((name, path)) if !name.is_empty() && !name.contains('/') => Place::Container(name, path),
        _ => Place::Here(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place("web:/a:b"), Place::Container("web", "/a:b"));
        assert_eq!(place("./web:x"), Place::Here("./web:x"));
        assert_eq!(place("/web:x"), Place::Here("/web:x"));
        assert_eq!(place("file"), Place::Here("file"));
        assert_eq!(place("a/b:c"), Place::Here("a/b:c"));
        assert_eq!(place("-"), Place::Stream);
    }
}
