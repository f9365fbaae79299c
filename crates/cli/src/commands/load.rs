//! `skep load`: images from an archive.

use super::progress;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use crate::terminal;
use clap::Parser;
use engine::images::{self, Input, Platform};
use failure::Context as _;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

pub(super) const ENTRY: Entry =
    Entry::new::<Load>(Group::Images, &["load", "image load"], "[OPTIONS]", "Load images from a tar archive or stdin");

const EXAMPLES: &str = "\
Reads what `docker save`, `skep save`, `podman save` and `skopeo copy` write: docker-archive and oci-archive, plain or
compressed with gzip or zstd; and a directory that is an OCI image layout, as `oci:PATH` or `oci:PATH:NAME`.

Examples:
  skep load -i debian.tar.zst
  docker save debian | skep load
  skep load -i oci:/srv/layout:debian";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Load {
    /// Read from a file, instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only images for OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

impl Invoke for Load {
    fn invoke(self, context: &Context) -> Outcome {
        let layout = self.input.as_deref().and_then(Path::to_str).and_then(|text| text.strip_prefix("oci:"));
        let platform = self.platform.as_deref().map(Platform::parse).transpose()?;
        let platform = platform.as_ref();
        let home = context.home()?;
        let mut progress = progress::bars(self.quiet);
        let loaded = match (layout, &self.input) {
            (Some(layout), _) => {
                let (directory, name) = split_layout(layout);
                images::load_layout(&home, Path::new(directory), name, platform, progress.as_mut())?
            }
            (None, Some(path)) => images::load(&home, Input::Path(path.clone()), platform, progress.as_mut())?,
            (None, None) => images::load(&home, standard_input("load")?, platform, progress.as_mut())?,
        };
        drop(progress);
        let mut out = Output::new();
        for image in &loaded {
            if image.names.is_empty() {
                out.line(&format!("Loaded image ID: {}", image.id))?;
            }
            image.names.iter().try_for_each(|name| out.line(&format!("Loaded image: {name}")))?;
        }
        out.flush()?;
        Context::added_images(&home);
        out.done()
    }
}

/// `PATH` or `PATH:NAME`; a path that exists is one as a whole.
fn split_layout(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((path, name)) if !Path::new(text).exists() => (path, Some(name)),
        _ => (text, None),
    }
}

/// Standard input, unless somebody would have to type the archive.
pub(super) fn standard_input(command: &str) -> Outcome<Input> {
    if terminal::on_stdin() {
        return Err(Stop::Arguments(format!(
            "requested {command} from stdin, but stdin is empty: give a file, or redirect one"
        )));
    }
    let file = std::io::stdin().as_fd().try_clone_to_owned().context("open standard input")?;
    Ok(Input::Open(File::from(file), "standard input".into()))
}
