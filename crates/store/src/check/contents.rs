//! The bytes: every blob is hashed, every layer's tree is compared with its blob, as many at once as there are processors.
//!
//! No lock is held. What goes away meanwhile was not needed any more: it is looked for again before a finding is told.

use std::collections::VecDeque;
use std::fs::File;

use failure::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::survey::Survey;
use super::{Compared, Fix, Report};
use crate::jobs::checker::{compare_with_blob, hash, read_comparison, read_hashes};
use crate::jobs::crew::{News, crew};
use crate::{ChainId, Digest, Layer, Store};

/// Small blobs are hashed together, so that an image's documents do not cost a process each.
const BATCH_BYTES: u64 = 64 << 20;
const BATCH_FILES: usize = 64;

/// A job, by its place in the list of all.
enum Work {
    Hash(Vec<Digest>),
    Compare(ChainId, Layer),
}

/// Looks at all contents, and adds what is wrong to the report.
pub(super) fn prove(
    store: &Store,
    survey: &Survey,
    report: &mut Report,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let works = works(survey);
    let sizes: Vec<u64> = works.iter().map(|work| size(work, survey)).collect();
    let total = sizes.iter().sum();
    let mut done = vec![0; works.len()];
    let mut open: VecDeque<usize> = (0..works.len()).collect();
    let mut compared: Vec<(usize, Result<Compared>)> = Vec::new();
    let next = || {
        let at = open.pop_front()?;
        Some(start(store, &works[at]).map(|child| (at, child)))
    };
    progress(0, total);
    crew(next, |at, news| {
        match news {
            News::Progress(bytes) => done[at] = bytes.min(sizes[at]),
            News::Over(outcome) => {
                done[at] = sizes[at];
                match &works[at] {
                    Work::Hash(blobs) => hashed(store, survey, report, blobs, outcome)?,
                    Work::Compare(..) => compared.push((at, outcome.and_then(|payload| read_comparison(&payload)))),
                }
            }
        }
        progress(done.iter().sum(), total);
        Ok(())
    })?;
    let proven = compared.iter().filter(|(_, outcome)| outcome.is_ok()).count() as u64;
    report.unproven = (survey.layers.len() as u64).saturating_sub(proven);
    report.bytes = total;
    // Only now it is known which blobs are damaged: what they say about a tree is nothing.
    for (at, outcome) in compared {
        if let Work::Compare(layer, blob) = &works[at] {
            judge(store, survey, report, *layer, blob, outcome);
        }
    }
    Ok(())
}

fn size(work: &Work, survey: &Survey) -> u64 {
    let length = |digest: &Digest| survey.blobs.get(digest).copied().unwrap_or(0);
    match work {
        Work::Hash(blobs) => blobs.iter().map(length).sum(),
        Work::Compare(_, blob) => length(&blob.digest),
    }
}

/// The largest first, so that no processor is idle at the end.
fn works(survey: &Survey) -> Vec<Work> {
    let mut works = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for (digest, length) in &survey.blobs {
        batch.push(*digest);
        bytes += length;
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_FILES {
            works.push(Work::Hash(std::mem::take(&mut batch)));
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        works.push(Work::Hash(batch));
    }
    let layers = survey.sources.iter().filter(|(layer, _)| survey.layers.contains(layer));
    let present = layers.filter(|(_, blob)| survey.blobs.contains_key(&blob.digest));
    works.extend(present.map(|(layer, blob)| Work::Compare(*layer, blob.clone())));
    works.sort_by_key(|work| std::cmp::Reverse(size(work, survey)));
    works
}

fn start(store: &Store, work: &Work) -> Result<crate::jobs::Child> {
    match work {
        Work::Hash(blobs) => {
            let open = |digest: &Digest| {
                store.open_blob(digest).or_else(|_| File::open("/dev/null").context("open `/dev/null`"))
            };
            hash(blobs.iter().map(open).collect::<Result<_>>()?)
        }
        Work::Compare(layer, blob) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let gone = || File::open("/dev/null").context("open `/dev/null`");
            let file = store.open_blob(&blob.digest).or_else(|_| gone())?;
            match openat(CWD, store.layer_tree(layer), flags, Mode::empty()) {
                Ok(tree) => compare_with_blob(tree, file, blob.diff_id, *store.limits()),
                // It went meanwhile; whoever hears of it sees that.
                Err(_) => hash(Vec::new()),
            }
        }
    }
}

fn hashed(
    store: &Store,
    survey: &Survey,
    report: &mut Report,
    blobs: &[Digest],
    outcome: Result<Vec<u8>>,
) -> Result<()> {
    for (blob, found) in blobs.iter().zip(read_hashes(&outcome?)?) {
        let object = format!("blob {blob}");
        let known = report.findings.iter().any(|finding| finding.object == object);
        if found.digest == *blob || !store.has_blob(blob) || known {
            continue;
        }
        let users: Vec<String> = survey.needed_by.get(blob).into_iter().flatten().cloned().collect();
        let users = if users.is_empty() { String::new() } else { format!("; needed by {}", users.join(", ")) };
        let problem = format!("its {} bytes have another digest{users}", found.length);
        report.find(object, problem, "pull the image again", Fix::Fetch(*blob));
    }
    Ok(())
}

/// Tells what differs between a layer and its blob, and between the record of its sizes and both.
fn judge(store: &Store, survey: &Survey, report: &mut Report, layer: ChainId, blob: &Layer, outcome: Result<Compared>) {
    if is_damaged(report, survey, &blob.digest) || !store.has_blob(&blob.digest) || !store.has_layer(&layer) {
        return;
    }
    let lines: Vec<String> = match outcome {
        Ok(compared) => {
            let sizes = (store.layer_size(&layer).ok(), store.layer_archive_size(&layer).ok().flatten());
            let right = sizes.0 == Some(compared.bytes) && sizes.1.is_none_or(|length| length == compared.length);
            let wrong = (!right).then(|| "its `size` is missing or wrong".to_owned());
            wrong.into_iter().chain(compared.lines).collect()
        }
        Err(error) => vec![error.to_string()],
    };
    if !lines.is_empty() {
        let fix = Fix::Unpack(layer, Box::new(blob.clone()));
        let remedy = "`skep system check --repair` unpacks it again from its blob";
        report.find(format!("layer {layer}"), lines.join("; "), remedy, fix);
    }
}

fn is_damaged(report: &Report, survey: &Survey, blob: &Digest) -> bool {
    let object = format!("blob {blob}");
    !survey.blobs.contains_key(blob) || report.findings.iter().any(|finding| finding.object == object)
}
