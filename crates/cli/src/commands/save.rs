//! `skep save`: images as one archive.

use super::file_output;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::values::Parsed;
use clap::Parser;
use engine::images::{self, Format};
use std::path::PathBuf;

pub(super) const ENTRY: Entry = Entry::new::<Save>(
    Group::Images,
    &["save", "image save"],
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to stdout by default)",
);

#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  skep save -o debian.tar debian\n  skep save --format oci-archive debian | zstd > debian.tar.zst"
)]
struct Save {
    /// Write to a file, instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// docker-archive (the default) or oci-archive
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", hide_default_value = true, value_parser = format)]
    format: Format,
    #[arg(required = true, hide = true, value_name = "IMAGE")]
    images: Vec<String>,
}

fn format(text: &str) -> Parsed<Format> {
    match text {
        "docker-archive" => Ok(Format::DockerArchive),
        "oci-archive" => Ok(Format::OciArchive),
        _ => Err(format!("'{text}' is no format: it is docker-archive or oci-archive")),
    }
}

impl Invoke for Save {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        file_output::write(self.output, |out| images::save(&home, &self.images, self.format, out))
    }
}
