//! `skep images`: a line for each name of each image.

use super::filter::filter;
use super::image_tree as tree;
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::{Outcome, Stop};
use crate::listing::{self, Format, Heading, Row};
use crate::output::Output;
use crate::units;
use clap::Parser;
use engine::images::{self, ImageSummary, Reference};
use jiff::Timestamp;
use serde_json::Value;

pub(super) const ENTRY: Entry = Entry::new::<Images>(
    Group::Common,
    &["images", "image ls", "image list"],
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
);

const EXAMPLES: &str = "\
Filters: dangling, label, reference, before, since, until (a time or how long ago).
Fields of a format: ID Repository Tag Digest CreatedSince CreatedAt Size.

Examples:
  skep images debian
  skep images --format '{{.Repository}}:{{.Tag}} {{.Size}}'";

#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Images {
    /// Show all images (there are no hidden ones)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = filter)]
    filter: Vec<(String, String)>,
    /// Format output using "table", "table TEMPLATE", "json" or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Show what each image takes of the disk, and its images for each platform
    #[arg(long, conflicts_with_all = ["digests", "format", "quiet"])]
    tree: bool,
    #[arg(hide = true)]
    repository: Option<String>,
}

pub(super) const HEADINGS: &[Heading] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
];

impl Invoke for Images {
    fn invoke(self, context: &Context) -> Outcome {
        let format = Format::of(self.format.as_deref())?;
        let home = context.home()?;
        let all = images::images(&home)?;
        let mut lines = lines(&all, self.no_trunc, self.digests);
        for (name, value) in &self.filter {
            lines = keep(lines, &all, name, value)?;
        }
        if let Some(wanted) = &self.repository {
            lines.retain(|line| line.matches(wanted));
        }
        let mut out = Output::new();
        if self.tree {
            return tree::show(out, &home, &lines, self.no_trunc);
        }
        if self.quiet && format.is_table() {
            let mut shown: Vec<String> = Vec::new();
            for line in &lines {
                let id = line.id();
                if !shown.contains(&id) {
                    out.line(&id)?;
                    shown.push(id);
                }
            }
            return out.done();
        }
        let columns: &[&str] = if self.digests {
            &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
        } else {
            &["Repository", "Tag", "ID", "CreatedSince", "Size"]
        };
        listing::print(&mut out, &format, HEADINGS, columns, &lines)?;
        out.done()
    }
}

/// One name of an image.
pub(super) struct Line<'a> {
    pub(super) image: &'a ImageSummary,
    repository: String,
    tag: String,
    digest: String,
    whole: bool,
    now: Timestamp,
}

pub(super) fn lines(images: &[ImageSummary], whole: bool, digests: bool) -> Vec<Line<'_>> {
    const NONE: &str = "<none>";
    let now = Timestamp::now();
    let mut lines = Vec::new();
    for image in images {
        let line = |repository: String, tag: Option<&str>, digest: String| {
            let tag = tag.unwrap_or(NONE).to_owned();
            Line { image, repository, tag, digest, whole, now }
        };
        if image.names.is_empty() {
            lines.push(line(NONE.into(), None, NONE.into()));
        }
        for name in &image.names {
            // A name with a digest only is a line of its own only where digests are asked for, or nothing else is.
            let tagged = image.names.iter().any(|other| other.tag().is_some());
            if name.tag().is_none() && tagged && !digests {
                continue;
            }
            let digest = name.digest().or_else(|| image.pushed.get(name)).unwrap_or(&image.target).to_string();
            lines.push(line(name.familiar_repository(), name.tag(), digest));
        }
    }
    lines
}

impl Line<'_> {
    /// `NAME:TAG`.
    pub(super) fn name(&self) -> String {
        match self.repository.as_str() {
            "<none>" => "<untagged>".to_owned(),
            _ if self.tag == "<none>" => format!("{}@{}", self.repository, self.digest),
            _ => format!("{}:{}", self.repository, self.tag),
        }
    }

    pub(super) fn id(&self) -> String {
        let id = self.image.id.to_string();
        if self.whole { id } else { id.trim_start_matches("sha256:").chars().take(12).collect() }
    }

    fn created(&self) -> Option<Timestamp> {
        self.image.created.as_deref().and_then(|text| text.parse().ok())
    }

    /// Whether it is `REPOSITORY[:TAG]`; a `*` stands for anything but a slash.
    fn matches(&self, wanted: &str) -> bool {
        let (repository, tag) = match wanted.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (wanted, None),
        };
        let familiar = Reference::parse(repository).map(|name| name.familiar_repository());
        let repository = familiar.unwrap_or_else(|_| repository.to_owned());
        fits(&repository, &self.repository) && tag.is_none_or(|tag| fits(tag, &self.tag))
    }
}

/// A pattern with `*` and `?` over a text without crossing slashes.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pattern_rest = pattern.chars();
    match pattern_rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let reach = text.find('/').unwrap_or(text.len());
            ends.take_while(|at| *at <= reach).any(|at| fits(pattern_rest.as_str(), &text[at..]))
        }
        Some(wanted) => {
            let mut text_rest = text.chars();
            let found = text_rest.next().is_some_and(|c| c == wanted || (wanted == '?' && c != '/'));
            found && fits(pattern_rest.as_str(), text_rest.as_str())
        }
    }
}

/// The lines that a filter leaves.
fn keep<'a>(lines: Vec<Line<'a>>, all: &[ImageSummary], name: &str, value: &str) -> Outcome<Vec<Line<'a>>> {
    let created_of = |text: &str| {
        let named = |image: &&ImageSummary| {
            let id = image.id.to_string();
            let reference = Reference::parse(text).ok();
            id.starts_with(text)
                || id.trim_start_matches("sha256:").starts_with(text)
                || reference.is_some_and(|name| image.names.contains(&name))
        };
        let found = all.iter().find(named).ok_or_else(|| failure::Error::not_found(format!("no such image: `{text}`")));
        found.map(|image| image.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok()))
    };
    let test: Box<dyn Fn(&Line<'a>) -> bool> = match name {
        "dangling" => {
            let wanted = crate::values::switch::boolean(value)
                .map_err(|_| Stop::Arguments(format!("invalid filter 'dangling={value}'")))?;
            Box::new(move |line| line.image.names.is_empty() == wanted)
        }
        "label" => {
            let (key, wanted) = value.split_once('=').map_or((value, None), |(key, value)| (key, Some(value)));
            let (key, wanted) = (key.to_owned(), wanted.map(str::to_owned));
            let fits =
                move |(known, value): &(String, String)| *known == key && wanted.as_ref().is_none_or(|it| it == value);
            Box::new(move |line| line.image.labels.iter().any(&fits))
        }
        "reference" => {
            let value = value.to_owned();
            Box::new(move |line| line.matches(&value))
        }
        "until" => {
            let until = engine::prune::until(value)?;
            Box::new(move |line| line.created().is_some_and(|created| created < until))
        }
        "before" | "since" => {
            let moment = created_of(value)?;
            let before = name == "before";
            Box::new(move |line| if before { line.created() < moment } else { line.created() > moment })
        }
        _ => return Err(Stop::Arguments(format!("invalid filter '{name}'"))),
    };
    Ok(lines.into_iter().filter(|line| test(line)).collect())
}

impl Row for Line<'_> {
    fn field(&self, name: &str) -> Option<Value> {
        let text = match name {
            "ID" => self.id(),
            "Repository" => self.repository.clone(),
            "Tag" => self.tag.clone(),
            "Digest" => self.digest.clone(),
            "CreatedSince" => self.created().map_or_else(|| "N/A".into(), |time| units::ago(time, self.now)),
            "CreatedAt" => self.created().map_or_else(|| "N/A".into(), units::local),
            "Size" => units::decimal_short(self.image.size),
            "Containers" | "SharedSize" | "UniqueSize" => "N/A".into(),
            _ => return None,
        };
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(fits("debian", "debian") && !fits("debian", "debian2"));
        assert!(fits("deb*", "debian") && fits("*", "debian") && !fits("*", "a/b") && fits("*/b", "a/b"));
        assert!(fits("d?b*n", "debian"));
    }
}
