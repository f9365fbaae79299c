//! `skep push`: an image to a registry.

mod progress;

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use crate::values::Parsed;
use clap::Parser;
use engine::push::{self, Form, Options, Scope};
use engine::registries::Session;

pub(super) const ENTRY: Entry =
    Entry::new::<Push>(Group::Common, &["push", "image push"], "[OPTIONS] NAME[:TAG]", "Upload an image to a registry");

const EXAMPLES: &str = "\
The name says where the image goes: `skep tag debian host:5000/team/debian` comes first. An image for several platforms
is pushed whole if all of it is here, else this machine's part of it. Signatures in the store go along.

Layers that came uncompressed (from commit, import, load) are compressed once and kept so: the image has a digest of its
own in the registry, which `skep images --digests` shows after the push. What is compressed already, signed or an index is
pushed byte for byte.

Examples:
  skep push host:5000/team/debian:12
  skep push -a host:5000/team/debian";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Push {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Push one platform of an image alone (linux/arm64)
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    platform: Option<String>,
    /// Push the images for all platforms; they must all be here
    #[arg(long)]
    all_platforms: bool,
    /// Compress what is not compressed with gzip (the default) or zstd, or not at all (none)
    #[arg(long, value_name = "FORM", default_value = "gzip", hide_default_value = true, value_parser = form)]
    compression: Chosen,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Does nothing: signatures are checked when images are pulled
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    #[arg(hide = true, value_name = "NAME")]
    name: String,
}

/// A form, or none.
#[derive(Clone, Copy, Debug)]
struct Chosen(Option<Form>);

fn form(text: &str) -> Parsed<Chosen> {
    match text {
        "gzip" => Ok(Chosen(Some(Form::Gzip))),
        "zstd" => Ok(Chosen(Some(Form::Zstd))),
        "none" => Ok(Chosen(None)),
        _ => Err(format!("'{text}' is no compression: it is gzip, zstd or none")),
    }
}

impl Invoke for Push {
    fn invoke(self, context: &Context) -> Outcome {
        let scope = match (&self.platform, self.all_platforms) {
            (Some(platform), _) => {
                let platform = engine::images::Platform::parse(platform);
                Scope::Platform(platform.map_err(|error| Stop::Arguments(error.to_string()))?)
            }
            (None, true) => Scope::All,
            (None, false) => Scope::Here,
        };
        let options = Options { scope, form: self.compression.0 };
        let home = context.home()?;
        let names = push::names(&home, &self.name, self.all_tags)?;
        let session = Session::open(&Context::environment())?;
        let mut out = Output::new();
        if let (Some(name), false) = (names.first(), self.quiet) {
            // As Docker: with the host, also its own.
            out.line(&format!("The push refers to repository [{}/{}]", name.host(), name.path()))?;
            out.flush()?;
        }
        for name in &names {
            let mut progress = progress::Shown::new(self.quiet);
            let pushed = push::push(&home, &session, name, &options, &mut progress)?;
            progress.end()?;
            match (self.quiet, name.tag()) {
                (true, _) => out.line(&name.full())?,
                (false, tag) => {
                    let tag = tag.unwrap_or("latest");
                    out.line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size))?;
                }
            }
            out.flush()?;
        }
        out.done()
    }
}
