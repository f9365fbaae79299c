//! `skep save`: images as one archive.

use super::file_output;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::values::Parsed;
use clap::Parser;
use engine::images::{self, Format, Platform, SaveRequest};
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
    /// Write to a file (for oci-dir: a directory), instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// docker-archive (the default), oci-archive, or oci-dir (a directory)
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", hide_default_value = true, value_parser = form)]
    format: Form,
    /// Of an image for several platforms, the one for OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    #[arg(required = true, hide = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// What to write.
#[derive(Clone, Copy, Debug)]
enum Form {
    Archive(Format),
    Directory,
}

fn form(text: &str) -> Parsed<Form> {
    match text {
        "docker-archive" => Ok(Form::Archive(Format::DockerArchive)),
        "oci-archive" => Ok(Form::Archive(Format::OciArchive)),
        "oci-dir" => Ok(Form::Directory),
        _ => Err(format!("'{text}' is no format: it is docker-archive, oci-archive or oci-dir")),
    }
}

impl Invoke for Save {
    fn invoke(self, context: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(Platform::parse).transpose()?;
        let request = SaveRequest { names: self.images, platform };
        match (self.format, self.output) {
            (Form::Archive(format), output) => {
                let home = context.home()?;
                file_output::write(output, |out| images::save(&home, &request, format, out))
            }
            (Form::Directory, Some(directory)) => {
                images::save_directory(&context.home()?, &request, &directory)?;
                Ok(0)
            }
            (Form::Directory, None) => {
                Err(Stop::Arguments("a directory cannot go to stdout: name it with -o, or use oci-archive".into()))
            }
        }
    }
}
