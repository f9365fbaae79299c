//! `skep container prune`, `skep image prune`, `skep system prune`: remove what is not used.

use super::filter::filter;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::output::Output;
use crate::units;
use clap::Parser;
use engine::{Home, upkeep};
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

pub(super) const SYSTEM: Entry = Entry::new::<System>(
    Group::System,
    &["system prune"],
    "[OPTIONS]",
    "Remove stopped containers, unused images and what cut-off commands left",
);

#[derive(Debug, Parser)]
#[command(after_help = "Filters: until (a time or how long ago), label, label!.")]
struct Images {
    /// Remove all unused images, not just those without a name
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "NAME=VALUE", value_parser = filter)]
    filter: Vec<(String, String)>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Invoke for Containers {
    fn invoke(self, context: &Context) -> Outcome {
        if !self.force && !confirm("This will remove all stopped containers.")? {
            return Ok(0);
        }
        let mut out = Output::new();
        let reclaimed = containers(&mut out, &context.home()?, &self.filter)?;
        out.line(&format!("Total reclaimed space: {}", units::decimal(reclaimed)))?;
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
        let mut out = Output::new();
        let reclaimed = images(&mut out, &context.home()?, self.all, &self.filter)?;
        out.line(&format!("Total reclaimed space: {}", units::decimal(reclaimed)))?;
        out.done()
    }
}

#[derive(Debug, Parser)]
#[command(after_help = "Filters: until (a time or how long ago), label, label!.")]
struct System {
    /// Remove all unused images, not just those without a name
    #[arg(short, long)]
    all: bool,
    /// Remove volumes without a name, too
    #[arg(long)]
    volumes: bool,
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "NAME=VALUE", value_parser = filter)]
    filter: Vec<(String, String)>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Invoke for System {
    fn invoke(self, context: &Context) -> Outcome {
        let until = self.filter.iter().any(|(name, _)| name == "until");
        if self.volumes && until {
            return Err(Stop::Usage("the \"until\" filter is not supported with \"--volumes\"".into()));
        }
        let images_line = if self.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        let mut lines = vec!["all stopped containers"];
        lines.extend(self.volumes.then_some("all anonymous volumes not used by at least one container"));
        lines.push(images_line);
        let what = lines.iter().map(|line| format!("  - {line}\n")).collect::<String>();
        if !self.force && !confirm(&format!("This will remove:\n{what}"))? {
            return Ok(0);
        }
        let home = context.home()?;
        let mut out = Output::new();
        let mut reclaimed = containers(&mut out, &home, &self.filter)?;
        if self.volumes {
            let (names, bytes) = engine::prune_volumes(&home)?;
            section(&mut out, "Deleted Volumes:", names.iter().map(String::as_str))?;
            reclaimed += bytes;
        }
        reclaimed += images(&mut out, &home, self.all, &self.filter)?;
        out.line(&format!("Total reclaimed space: {}", units::decimal(reclaimed)))?;
        out.done()
    }
}

/// Prunes containers and says which; the bytes that went.
fn containers(out: &mut Output, home: &Home, filter: &[(String, String)]) -> Outcome<u64> {
    let pruned = engine::prune(home, filter)?;
    section(out, "Deleted Containers:", pruned.containers.iter().map(AsRef::as_ref))?;
    Ok(pruned.reclaimed)
}

/// Prunes images and says which; the bytes that went.
fn images(out: &mut Output, home: &Home, all: bool, filter: &[(String, String)]) -> Outcome<u64> {
    let (removed, collected) = upkeep::prune_images(home, all, filter)?;
    let lines: Vec<String> = removed.iter().map(|line| super::rmi::line(line).to_lowercase()).collect();
    section(out, "Deleted Images:", lines.iter().map(String::as_str))?;
    Ok(collected.bytes)
}

fn section<'a>(out: &mut Output, title: &str, lines: impl Iterator<Item = &'a str>) -> Outcome<()> {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    out.line(title)?;
    lines.try_for_each(|line| out.line(line))?;
    out.line("")
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
