//! `skep manifest`: manifests as registries have them, and lists of images for several platforms.

use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::Output;
use clap::Parser;
use engine::images::Reference;
use engine::manifest::{self, Annotations, Inspected};
use engine::registries::Session;
use failure::Error;
use serde::Serialize as _;
use serde_json::{Value, json};

pub(super) const INSPECT: Entry = Entry::new::<Inspect>(
    Group::Images,
    &["manifest inspect"],
    "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    "Display an image manifest, or manifest list",
);

pub(super) const CREATE: Entry = Entry::new::<Create>(
    Group::Images,
    &["manifest create"],
    "[OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]",
    "Create a local manifest list for annotating and pushing to a registry",
);

pub(super) const ANNOTATE: Entry = Entry::new::<Annotate>(
    Group::Images,
    &["manifest annotate"],
    "[OPTIONS] MANIFEST_LIST MANIFEST",
    "Add additional information to a local image manifest",
);

pub(super) const PUSH: Entry = Entry::new::<Push>(
    Group::Images,
    &["manifest push"],
    "[OPTIONS] MANIFEST_LIST",
    "Push a manifest list to a repository",
);

pub(super) const REMOVE: Entry = Entry::new::<Remove>(
    Group::Images,
    &["manifest rm"],
    "MANIFEST_LIST [MANIFEST_LIST...]",
    "Delete one or more manifest lists from local storage",
);

#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  skep manifest inspect debian:12\n  skep manifest inspect -v host:5000/app")]
struct Inspect {
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    /// Does nothing: which registries are insecure is configured
    #[arg(long, hide = true)]
    insecure: bool,
    #[arg(hide = true, required = true, num_args = 1..=2)]
    names: Vec<String>,
}

impl Invoke for Inspect {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let session = Session::open(&Context::environment())?;
        let (last, list) = self.names.split_last().ok_or_else(|| Error::internal("a command without its name"))?;
        let found = match list.first() {
            None => manifest::inspect(&home, &session, &Reference::parse(last)?)?,
            Some(list) => of_list(&home, &session, list, last)?,
        };
        let document: Value = parse(&found)?;
        let is_index = document["manifests"].is_array();
        let shown = match (self.verbose, is_index) {
            (false, _) => document,
            (true, false) => verbose(&found)?,
            (true, true) => {
                let images = manifest::inspect_images(&home, &session, &found)?;
                images.iter().map(verbose).collect::<Outcome<Value>>()?
            }
        };
        let mut out = Output::new();
        out.line(&tabbed(&shown)?)?;
        out.done()
    }
}

/// One image of a list.
fn of_list(home: &engine::Home, session: &Session, list: &str, image: &str) -> Outcome<Inspected> {
    let list = manifest::inspect(home, session, &Reference::parse(list)?)?;
    let wanted = Reference::parse(image)?;
    let digest = wanted.digest().copied();
    let images = manifest::inspect_images(home, session, &list)?;
    let means = |one: &Inspected| Some(one.digest) == digest || one.name == wanted.pinned(one.digest);
    let found = images.into_iter().find(means);
    let missing = || Error::not_found(format!("no such manifest: {image} in {}", list.name));
    Ok(found.ok_or_else(missing)?)
}

fn parse(found: &Inspected) -> Outcome<Value> {
    let wrong = |error| Error::invalid(format!("the manifest of `{}` is damaged", found.name)).with_source(error);
    Ok(serde_json::from_slice(&found.document).map_err(wrong)?)
}

/// As Docker shows it: the descriptor, then the document under the name of its kind.
fn verbose(found: &Inspected) -> Outcome<Value> {
    let kind = if found.media_type.contains(".docker.") { "SchemaV2Manifest" } else { "OCIManifest" };
    let mut descriptor = json!({
        "mediaType": found.media_type, "digest": found.digest.to_string(), "size": found.document.len(),
    });
    if let Some(platform) = &found.platform {
        descriptor["platform"] = platform.clone();
    }
    Ok(json!({"Ref": found.name.full(), "Descriptor": descriptor, kind: parse(found)?}))
}

/// JSON with a tab a level.
fn tabbed(value: &Value) -> Outcome<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    let written = value.serialize(&mut serializer);
    written.map_err(|error| Error::internal("write JSON").with_source(error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const CREATE_HELP: &str = "\
A MANIFEST is an image that is here, or a name in a registry; the images of an index are added one by one.

Examples:
  skep manifest create host:5000/app:1 host:5000/app:1-amd64 host:5000/app:1-arm64
  skep manifest push host:5000/app:1";

#[derive(Debug, Parser)]
#[command(after_help = CREATE_HELP)]
struct Create {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Does nothing: which registries are insecure is configured
    #[arg(long, hide = true)]
    insecure: bool,
    #[arg(hide = true)]
    list: String,
    #[arg(hide = true, required = true)]
    images: Vec<String>,
}

impl Invoke for Create {
    fn invoke(self, context: &Context) -> Outcome {
        let name = Reference::parse(&self.list)?;
        let session = Session::open(&Context::environment())?;
        manifest::create(&context.home()?, &session, &name, &self.images, self.amend)?;
        let mut out = Output::new();
        out.line(&format!("Created manifest list {}", name.full()))?;
        out.done()
    }
}

#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  skep manifest annotate --arch arm --variant v7 host:5000/app:1 host:5000/app:1-arm"
)]
struct Annotate {
    /// Set architecture
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "NAME")]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    #[arg(hide = true)]
    list: String,
    #[arg(hide = true)]
    image: String,
}

impl Invoke for Annotate {
    fn invoke(self, context: &Context) -> Outcome {
        let annotations = Annotations {
            os: self.os,
            architecture: self.arch,
            variant: self.variant,
            os_version: self.os_version,
            os_features: self.os_features,
        };
        manifest::annotate(&context.home()?, &Reference::parse(&self.list)?, &self.image, &annotations)?;
        Ok(0)
    }
}

#[derive(Debug, Parser)]
struct Push {
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    /// Does nothing: which registries are insecure is configured
    #[arg(long, hide = true)]
    insecure: bool,
    #[arg(hide = true)]
    list: String,
}

impl Invoke for Push {
    fn invoke(self, context: &Context) -> Outcome {
        let home = context.home()?;
        let name = Reference::parse(&self.list)?;
        let session = Session::open(&Context::environment())?;
        let mut sent = Vec::new();
        let digest = manifest::push(&home, &session, &name, &mut |image| sent.push(image.clone()))?;
        let mut out = Output::new();
        for image in sent {
            let digest = image.digest().map_or_else(String::new, ToString::to_string);
            out.line(&format!("Pushed ref {} with digest: {digest}", image.full()))?;
        }
        out.line(&digest.to_string())?;
        if self.purge {
            manifest::remove(&home, &[name])?;
        }
        out.done()
    }
}

#[derive(Debug, Parser)]
struct Remove {
    #[arg(hide = true, required = true)]
    lists: Vec<String>,
}

impl Invoke for Remove {
    fn invoke(self, context: &Context) -> Outcome {
        let names = self.lists.iter().map(|list| Reference::parse(list)).collect::<Result<Vec<_>, _>>()?;
        manifest::remove(&context.home()?, &names)?;
        Ok(0)
    }
}
