//! `skep image mount`, `skep image unmount`: an image's tree on the host.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::listing::{self, Format, Heading, Row};
use crate::output::Output;
use clap::Parser;
use engine::image_mounts::{self, ImageMount};
use serde_json::Value;
use std::path::PathBuf;

pub(super) const MOUNT: Entry = Entry::new::<Mount>(
    Group::Images,
    &["image mount"],
    "[OPTIONS] [IMAGE [DIRECTORY]]",
    "Mount an image's file system read-only, or list what is mounted",
);

pub(super) const UNMOUNT: Entry = Entry::new::<Unmount>(
    Group::Images,
    &["image unmount", "image umount"],
    "[OPTIONS] IMAGE|DIRECTORY [IMAGE|DIRECTORY...]",
    "Unmount images",
);

const HELP: &str = "\
Prints where the image is mounted: in the directory given, or at a place below the run directory. Nothing in it can be
written, no device opened, and set-uid programs are plain ones. A mounted image cannot be removed.

Example:
  cp $(skep image mount debian)/etc/os-release . && skep image unmount debian";

#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Mount {
    /// Format the list using "table", "json" or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[arg(hide = true)]
    image: Option<String>,
    #[arg(hide = true)]
    directory: Option<PathBuf>,
}

#[derive(Debug, Parser)]
struct Unmount {
    /// Unmount all images
    #[arg(short, long)]
    all: bool,
    /// Unmount also what is in use: it goes when nobody uses it any more
    #[arg(short, long)]
    force: bool,
    #[arg(hide = true)]
    images: Vec<String>,
}

const HEADINGS: &[Heading] = &[("ID", "IMAGE ID"), ("Image", "IMAGE"), ("Path", "PATH")];

impl Row for ImageMount {
    fn field(&self, name: &str) -> Option<Value> {
        let text = match name {
            "ID" => self.id.trim_start_matches("sha256:").chars().take(12).collect(),
            "Image" => self.name.clone(),
            "Path" => self.path.display().to_string(),
            _ => return None,
        };
        Some(text.into())
    }
}

impl Invoke for Mount {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let mut out = Output::new();
        match &self.image {
            Some(image) => {
                let mount = image_mounts::mount(&home, image, self.directory.as_deref())?;
                out.line(&mount.path.display().to_string())?;
            }
            None => {
                let format = Format::of(self.format.as_deref())?;
                let mounts = image_mounts::list(&home)?;
                listing::print(&mut out, &format, HEADINGS, &["Image", "ID", "Path"], &mounts)?;
            }
        }
        out.done()
    }
}

impl Invoke for Unmount {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let mut gone: Vec<ImageMount> = Vec::new();
        match (self.all, self.images.is_empty()) {
            (true, true) => gone = image_mounts::unmount_all(&home, self.force)?,
            (false, false) => {
                for what in &self.images {
                    gone.extend(image_mounts::unmount(&home, what, self.force)?);
                }
            }
            _ => return Err(Stop::Arguments("name what to unmount, or use --all".into())),
        }
        let mut out = Output::new();
        gone.iter().try_for_each(|mount| out.line(&mount.path.display().to_string()))?;
        out.done()
    }
}
