//! `skep container prune`, `skep image prune`: remove what is not used.

use super::filter::filter;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::output::Output;
use crate::units;
use clap::Parser;
use engine::{Home, images};
use failure::Kind;
use std::collections::HashMap;
use std::io::{self, BufRead as _, Write as _};

pub(super) const CONTAINERS: Entry =
    Entry::new::<Containers>(Group::Containers, &["container prune"], "[OPTIONS]", "Remove all stopped containers");

pub(super) const IMAGES: Entry =
    Entry::new::<Images>(Group::Images, &["image prune"], "[OPTIONS]", "Remove unused images");

#[derive(Debug, Parser)]
#[command(after_help = "Filters: until (a time or how long ago), label, label!.")]
struct Containers {
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "NAME=VALUE", value_parser = filter)]
    filter: Vec<(String, String)>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Parser)]
struct Images {
    /// Remove all unused images, not just those without a name
    #[arg(short, long)]
    all: bool,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Invoke for Containers {
    fn invoke(self, context: &Context) -> Outcome {
        if !self.force && !confirm("This will remove all stopped containers.")? {
            return Ok(0);
        }
        let pruned = engine::prune(&context.home()?, &self.filter)?;
        let mut out = Output::new();
        if !pruned.containers.is_empty() {
            out.line("Deleted Containers:")?;
            pruned.containers.iter().try_for_each(|id| out.line(id.as_ref()))?;
            out.line("")?;
        }
        out.line(&format!("Total reclaimed space: {}", units::decimal(pruned.reclaimed)))?;
        out.done()
    }
}

impl Invoke for Images {
    fn invoke(self, context: &Context) -> Outcome {
        let which = if self.all {
            "This will remove all images without at least one container associated to them."
        } else {
            "This will remove all dangling images."
        };
        if !self.force && !confirm(which)? {
            return Ok(0);
        }
        let home = context.home()?;
        let mut out = Output::new();
        let before = unpacked(&home)?;
        let mut removed = Vec::new();
        for image in images::images(&home)?.iter().filter(|image| self.all || image.names.is_empty()) {
            let names = image.names.iter().map(ToString::to_string);
            let names: Vec<String> = if image.names.is_empty() { vec![image.id.to_string()] } else { names.collect() };
            for name in names {
                match images::remove_image(&home, &name, false) {
                    Ok(lines) => removed.extend(lines),
                    // A container uses it, or somebody else removed it meanwhile.
                    Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Busy | Kind::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let collected = images::collect(&home)?;
        let reclaimed = collected.bytes + before.saturating_sub(unpacked(&home)?);
        if !removed.is_empty() {
            out.line("Deleted Images:")?;
            removed.iter().try_for_each(|line| out.line(&super::rmi::line(line).to_lowercase()))?;
            out.line("")?;
        }
        out.line(&format!("Total reclaimed space: {}", units::decimal(reclaimed)))?;
        out.done()
    }
}

/// Bytes of the layers that images have, each layer once.
fn unpacked(home: &Home) -> failure::Result<u64> {
    let store = home.store()?;
    let mut layers = HashMap::new();
    for summary in images::images(home)? {
        for layer in images::image(home, &summary.id.to_string())?.layers {
            layers.entry(layer.to_string()).or_insert(store.layer_size(&layer)?);
        }
    }
    Ok(layers.values().sum())
}

/// Docker's question; no answer is no.
fn confirm(what: &str) -> Outcome<bool> {
    let mut out = io::stdout().lock();
    write!(out, "WARNING! {what}\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim(), "y" | "Y") {
        return Ok(true);
    }
    Ok(false)
}
