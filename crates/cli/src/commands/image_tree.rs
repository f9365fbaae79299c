//! `skep images --tree`: what each image takes of the disk, with its images for each platform below it.

use super::images::Line;
use crate::exit::Outcome;
use crate::output::Output;
use crate::table::{self, Widths};
use crate::units;
use engine::Home;
use engine::usage::{ImageUsage, MemberUsage};
use std::collections::HashMap;

const COLUMNS: [&str; 5] = ["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"];
/// What EXTRA says of an image that a container uses.
const IN_USE: &str = "U";

/// Prints the images that `lines` are of: all their names, then their platforms.
pub(super) fn show(mut out: Output, home: &Home, lines: &[Line<'_>], whole: bool) -> Outcome {
    let usage = engine::usage::image_usage(home)?;
    let measured: HashMap<_, _> = usage.images.iter().map(|image| (image.image.target, image)).collect();
    let mut cells = vec![COLUMNS.map(str::to_owned).to_vec()];
    for (at, line) in lines.iter().enumerate() {
        let Some(image) = measured.get(&line.image.target) else { continue };
        cells.push(top(line, image));
        // Names of one image follow each other; its platforms come once.
        if lines.get(at + 1).is_none_or(|next| next.image.target != line.image.target) {
            let last = image.members.len().saturating_sub(1);
            cells.extend(image.members.iter().enumerate().map(|(at, member)| below(member, at == last, whole)));
        }
    }
    out.text(&table::render(&cells, Widths::default()))?;
    out.line("")?;
    out.line("DISK USAGE counts layers as blobs and unpacked, CONTENT SIZE blobs alone; U: a container uses it")?;
    out.done()
}

fn top(line: &Line<'_>, image: &ImageUsage) -> Vec<String> {
    let extra = if image.containers > 0 { IN_USE } else { "" };
    let (size, content) = (units::decimal_short(image.size), units::decimal_short(image.content));
    vec![line.name(), line.id(), size, content, extra.to_owned()]
}

fn below(member: &MemberUsage, last: bool, whole: bool) -> Vec<String> {
    let branch = if last { "└─" } else { "├─" };
    let id = member.id.as_ref().map_or_else(|| "-".to_owned(), |id| shown(&id.to_string(), whole));
    let size = |bytes| if member.id.is_some() { units::decimal_short(bytes) } else { "-".to_owned() };
    vec![format!("{branch} {}", member.platform), id, size(member.size), size(member.content), String::new()]
}

fn shown(id: &str, whole: bool) -> String {
    if whole { id.to_owned() } else { id.trim_start_matches("sha256:").chars().take(12).collect() }
}
