//! `skep system df`: what takes room, and what of it could go.

use super::{images, ps};
use crate::context::Context;
use crate::entry::{Entry, Group, Invoke};
use crate::exit::Outcome;
use crate::listing::{self, Format, Heading, Row};
use crate::output::Output;
use crate::template::Template;
use crate::units;
use clap::Parser;
use engine::usage::{DiskUsage, VolumeUsage};
use engine::{Status, Summary};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(super) const ENTRY: Entry = Entry::new::<Usage>(
    Group::System,
    &["system df"],
    "[OPTIONS]",
    "Show disk usage of images, containers and volumes",
);

const HELP: &str = "\
The size of images is what lies on disk: layers as blobs and unpacked, each counted once, whatever uses it.
Fields of a format: Type TotalCount Active Size Reclaimable; with -v, the lists Images Containers Volumes BuildCache.

Examples:
  skep system df -v
  skep system df --format '{{.Type}}: {{.Reclaimable}}'";

#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Usage {
    /// Format output using "table", "table TEMPLATE", "json" or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

const SUMMARY: &[Heading] = &[
    ("Active", "ACTIVE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Size", "SIZE"),
    ("TotalCount", "TOTAL"),
    ("Type", "TYPE"),
];
const VOLUMES: &[Heading] = &[("Links", "LINKS"), ("Name", "VOLUME NAME"), ("Size", "SIZE")];
const CACHE: &[Heading] = &[
    ("CacheType", "CACHE TYPE"),
    ("CreatedSince", "CREATED"),
    ("ID", "CACHE ID"),
    ("LastUsedSince", "LAST USED"),
    ("Shared", "SHARED"),
    ("Size", "SIZE"),
    ("UsageCount", "USAGE"),
];

impl Invoke for Usage {
    fn invoke(self, context: &Context) -> Outcome {
        let format = Format::of(self.format.as_deref())?;
        let usage = engine::usage::disk_usage(&context.home()?)?;
        let mut out = Output::new();
        match (self.verbose, &format) {
            (false, _) => {
                let columns = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];
                listing::print(&mut out, &format, SUMMARY, &columns, &summary(&usage))?;
            }
            (true, Format::Json) => out.line(&details(&usage).to_string())?,
            (true, Format::Lines(template) | Format::TableOf(template)) => render(&mut out, template, &usage)?,
            (true, Format::Table) => tables(&mut out, &usage)?,
        }
        out.done()
    }
}

/// A line of the short form.
struct Kind {
    name: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

impl Row for Kind {
    fn field(&self, name: &str) -> Option<Value> {
        let text = match name {
            "Type" => self.name.into(),
            "TotalCount" => self.total.to_string(),
            "Active" => self.active.to_string(),
            "Size" => units::decimal(self.size),
            "Reclaimable" if self.size == 0 => units::decimal(self.reclaimable),
            "Reclaimable" => {
                let percent = u128::from(self.reclaimable) * 100 / u128::from(self.size);
                format!("{} ({percent}%)", units::decimal(self.reclaimable))
            }
            _ => return None,
        };
        Some(text.into())
    }
}

fn summary(usage: &DiskUsage) -> [Kind; 4] {
    let images = &usage.images;
    let lives = |summary: &&Summary| matches!(summary.status, Status::Running | Status::Paused | Status::Restarting);
    let written = |summary: &Summary| summary.size.map_or(0, |(written, _)| written);
    let used = |volume: &&VolumeUsage| volume.links > 0;
    [
        Kind {
            name: "Images",
            total: images.images.len(),
            active: images.images.iter().filter(|image| image.containers > 0).count(),
            size: images.total,
            reclaimable: images.reclaimable,
        },
        Kind {
            name: "Containers",
            total: usage.containers.len(),
            active: usage.containers.iter().filter(lives).count(),
            size: usage.containers.iter().map(written).sum(),
            reclaimable: usage.containers.iter().filter(|one| !lives(one)).map(written).sum(),
        },
        Kind {
            name: "Local Volumes",
            total: usage.volumes.len(),
            active: usage.volumes.iter().filter(used).count(),
            size: usage.volumes.iter().map(|volume| volume.size).sum(),
            reclaimable: usage.volumes.iter().filter(|one| !used(one)).map(|volume| volume.size).sum(),
        },
        Kind { name: "Build Cache", total: 0, active: 0, size: 0, reclaimable: 0 },
    ]
}

/// Fields that were worked out already.
struct Fields(Map<String, Value>);

impl Row for Fields {
    fn field(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}

const IMAGE: &[&str] = &["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"];
const CONTAINER: &[&str] = &["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"];

fn image_rows(usage: &DiskUsage) -> Vec<Fields> {
    let mut rows = Vec::new();
    for image in &usage.images.images {
        let one = [image.image.clone()];
        for line in images::lines(&one, false, false) {
            let mut fields = listing::whole(images::HEADINGS, &line);
            let sizes = [
                ("Size", units::decimal_short(image.size)),
                ("SharedSize", units::decimal_short(image.shared)),
                ("UniqueSize", units::decimal_short(image.size - image.shared)),
                ("Containers", image.containers.to_string()),
            ];
            fields.extend(sizes.map(|(name, value)| (name.to_owned(), value.into())));
            rows.push(Fields(fields));
        }
    }
    rows
}

fn container_rows(usage: &DiskUsage) -> Vec<Fields> {
    let now = Timestamp::now();
    let row = |summary: &Summary| {
        let mut fields = listing::whole(ps::HEADINGS, &ps::Line { summary: summary.clone(), whole: false, now });
        let written = summary.size.map_or(0, |(written, _)| written);
        fields.insert("Size".into(), units::decimal_short(written).into());
        Fields(fields)
    };
    usage.containers.iter().map(row).collect()
}

fn volume_rows(usage: &DiskUsage) -> Vec<Fields> {
    let row = |volume: &VolumeUsage| {
        let size = units::decimal_short(volume.size);
        let fields = [("Name", volume.name.clone()), ("Links", volume.links.to_string()), ("Size", size)];
        Fields(fields.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect())
    };
    usage.volumes.iter().map(row).collect()
}

fn tables(out: &mut Output, usage: &DiskUsage) -> Outcome<()> {
    out.text("Images space usage:\n\n")?;
    listing::print(out, &Format::Table, images::HEADINGS, IMAGE, &image_rows(usage))?;
    out.text("\nContainers space usage:\n\n")?;
    listing::print(out, &Format::Table, ps::HEADINGS, CONTAINER, &container_rows(usage))?;
    out.text("\nLocal Volumes space usage:\n\n")?;
    listing::print(out, &Format::Table, VOLUMES, &["Name", "Links", "Size"], &volume_rows(usage))?;
    out.text("\nBuild cache usage: 0B\n\n")?;
    let columns = ["ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"];
    listing::print::<Fields>(out, &Format::Table, CACHE, &columns, &[])
}

fn details(usage: &DiskUsage) -> Value {
    let list = |rows: Vec<Fields>| rows.into_iter().map(|row| Value::Object(row.0)).collect::<Vec<_>>();
    json!({
        "Images": list(image_rows(usage)),
        "Containers": list(container_rows(usage)),
        "Volumes": list(volume_rows(usage)),
        "BuildCache": [],
    })
}

fn render(out: &mut Output, template: &Template, usage: &DiskUsage) -> Outcome<()> {
    out.line(&template.render(&details(usage))?)
}
