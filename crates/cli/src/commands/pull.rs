//! `skep pull`: an image from a registry; and the pull that `run` and `create` begin with.

mod progress;

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::{self, Output};
use clap::Parser;
use engine::Home;
use engine::Request;
use engine::pull::{self, Platform, Platforms, Pulled};
use engine::registries::{Reference, Session};
use failure::{Kind, Result};
use progress::Place;

pub(super) const ENTRY: Entry = Entry::new::<Pull>(
    Group::Common,
    &["pull", "image pull"],
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry",
);

const EXAMPLES: &str = "\
A name without a host is one of Docker Hub, unless registries.conf says otherwise; mirrors, certificates and accounts come
from the files that Docker, podman and containerd read. What is here already is not downloaded again. A pull that is cut
off, or ended with ctrl-c, goes on where it was when it is started again.

Examples:
  skep pull debian
  skep pull --platform linux/arm64 ghcr.io/team/app:1.2
  skep pull debian@sha256:4abf773f2a570e6873259c4e3ba16de6c6268fb571fd46ec80be7c67822823b3";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Pull {
    /// Pull all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Pull the image for another platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    platform: Option<String>,
    /// Pull the images for all platforms, and what belongs to them
    #[arg(long)]
    all_platforms: bool,
    /// Print the name alone
    #[arg(short, long)]
    quiet: bool,
    /// Does nothing: signatures are checked as the policy says
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    #[arg(hide = true, value_name = "NAME")]
    name: String,
}

impl Invoke for Pull {
    fn invoke(self, context: &Context) -> Outcome {
        let wanted = match (&self.platform, self.all_platforms) {
            (Some(platform), _) => Platforms::One(parse_platform(platform)?),
            (None, true) => Platforms::All,
            (None, false) => Platforms::Mine,
        };
        let home = context.home()?;
        let session = Session::open(&Context::environment())?;
        let names = pull::names(&session, &self.name, self.all_tags)?;
        let place = if self.quiet { Place::Nowhere } else { Place::Stdout };
        if !self.quiet && !self.all_tags && !says_which(&self.name) {
            place.line("Using default tag: latest")?;
        }
        let mut is_new = false;
        for name in &names {
            let pulled = pull_one(&home, &session, name, &wanted, place)?;
            is_new |= pulled.is_new;
            if !self.all_tags {
                place.line(&status(&pulled.name.to_string(), is_new))?;
                place_name(&pulled)?;
            }
        }
        if let (true, Some(name)) = (self.all_tags, names.first()) {
            place.line(&status(&name.familiar_repository(), is_new))?;
            let mut out = Output::new();
            out.line(&format!("{}/{}", name.host(), name.path()))?;
            out.flush()?;
        }
        Context::added_images(&home);
        Ok(0)
    }
}

fn place_name(pulled: &Pulled) -> Outcome<()> {
    let mut out = Output::new();
    out.line(&pulled.name.full())?;
    out.flush()
}

fn status(name: &str, is_new: bool) -> String {
    match is_new {
        true => format!("Status: Downloaded newer image for {name}"),
        false => format!("Status: Image is up to date for {name}"),
    }
}

/// Whether a name says which image of its repository.
fn says_which(name: &str) -> bool {
    name.rsplit('/').next().unwrap_or(name).contains([':', '@'])
}

fn pull_one(home: &Home, session: &Session, name: &Reference, wanted: &Platforms, place: Place) -> Outcome<Pulled> {
    let which = name.digest().map(ToString::to_string).or_else(|| name.tag().map(str::to_owned)).unwrap_or_default();
    place.line(&format!("{which}: Pulling from {}", name.path()))?;
    let mut shown = progress::of(place);
    let pulled = pull::pull(home, session, name, wanted, shown.as_mut());
    drop(shown);
    let pulled = pulled?;
    place.line(&format!("Digest: {}", pulled.digest))?;
    Ok(pulled)
}

fn parse_platform(text: &str) -> Outcome<Platform> {
    Platform::parse(text).map_err(|error| Stop::Arguments(error.to_string()))
}

/// When `run` and `create` pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum When {
    /// When nothing is called so.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Not at all.
    Never,
}

/// How `run` and `create` pull.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) when: When,
    pub(super) quiet: bool,
    pub(super) image: String,
    pub(super) platform: Option<String>,
}

impl Before {
    /// Pulls the image if it has to be, and tells about it on stderr. A short name that files give another meaning becomes the
    /// name that it has in the store.
    pub(super) fn pull(&self, home: &Home, request: &mut Request) -> Result<()> {
        // What is wrong about a platform is said where it is used.
        let platform = self.platform.as_deref().and_then(|text| Platform::parse(text).ok());
        let due = match self.when {
            When::Never => false,
            When::Always => !pull::is_local(&self.image),
            When::Missing => pull::is_missing(home, &self.image, platform.as_ref())?,
        };
        if !due {
            return Ok(());
        }
        let session = Session::open(&Context::environment())?;
        let name = session.named(&self.image)?;
        if Reference::parse(&self.image).is_ok_and(|docker| docker != name) {
            request.image = name.to_string();
            if self.when == When::Missing && !pull::is_missing(home, &request.image, platform.as_ref())? {
                return Ok(());
            }
        }
        if self.when == When::Missing {
            output::complain_plainly(&format!("Unable to find image '{name}' locally"));
        }
        let place = if self.quiet { Place::Nowhere } else { Place::Stderr };
        let wanted = platform.map_or(Platforms::Mine, Platforms::One);
        match pull_one(home, &session, &name, &wanted, place) {
            Ok(pulled) => {
                let _ = place.line(&status(&pulled.name.to_string(), pulled.is_new));
                Ok(())
            }
            Err(Stop::Failed(error)) => Err(error),
            Err(_) => Err(failure::Error::new(Kind::Internal, "tell about the pull")),
        }
    }
}
