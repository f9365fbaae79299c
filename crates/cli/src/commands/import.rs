//! `skep import`: an image of one layer from the tar archive of a root filesystem.

use super::load::standard_input;
use super::progress;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::Output;
use crate::values::epoch;
use clap::Parser;
use engine::images::{self, ConfigChange, Import as Request, Input, Platform, Reference};
use failure::Error;

pub(super) const ENTRY: Entry = Entry::new::<Import>(
    Group::Images,
    &["import", "image import"],
    "[OPTIONS] FILE|- [REPOSITORY[:TAG]]",
    "Import the contents from a tarball to create a filesystem image",
);

const EXAMPLES: &str = "\
The archive may be compressed with gzip or zstd.
Instructions of --change: CMD ENTRYPOINT ENV EXPOSE LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR.

Example:
  tar c -C /srv/rootfs . | skep import -c 'CMD [\"/bin/sh\"]' - mine:1";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Import {
    /// Apply a Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What the image is for, as OS[/ARCH[/VARIANT]]; this machine's platform by default
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    #[arg(hide = true)]
    source: String,
    #[arg(hide = true)]
    reference: Option<String>,
}

impl Invoke for Import {
    fn invoke(self, context: &Context) -> Outcome {
        if self.source.contains("://") {
            let line = format!("import from `{}` is not supported: download it and give the file", self.source);
            return Err(Error::unsupported(line).into());
        }
        let changes = self.change.iter().map(|text| ConfigChange::parse(text)).collect::<Result<_, _>>()?;
        let reference = self.reference.as_deref().map(Reference::parse).transpose()?;
        let input = if self.source == "-" { standard_input("import")? } else { Input::Path(self.source.into()) };
        let platform = self.platform.as_deref().map(Platform::parse).transpose()?;
        let request = Request { input, changes, message: self.message, reference, platform, epoch: epoch::epoch()? };
        let mut progress = progress::bars(false);
        let home = context.home()?;
        let id = images::import(&home, request, progress.as_mut())?;
        drop(progress);
        let mut out = Output::new();
        out.line(&id.to_string())?;
        out.flush()?;
        Context::added_images(&home);
        out.done()
    }
}
