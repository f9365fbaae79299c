//! Garbage that goes without being asked for, after commands that add images.
//!
//! ```text
//! load, pull, import, commit --after_adding--> the last time is less than an hour ago, or this is the first: nothing
//!                                              else a process that nobody waits for, at the lowest priority:
//!    little space is free      all images without a name, all that nothing refers to, all that cut-off pulls left
//!    else                      images without a name since `dangling_after`, and what cut-off pulls left `resume_for` ago
//!    `named_after` is set      images with a name that no container uses, this long after they came
//! ```
//! `<root>/collected` is the only memory: its time is that of the last collection, and its lines say since when which
//! images have no name: `sha256:<hex> <seconds since 1970>`. An image is taken only if it was seen without a name before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use failure::{Context as _, Result};
use store::collect::{Collected, Removed};
use store::{Digest, Image};

use crate::images::{self, in_use};
use crate::settings::Settings;
use crate::{Home, files};

/// Collections come no closer to each other.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Where the last one left its note.
const NOTE: &str = "collected";
/// How little a collection matters beside everything else.
const LOWEST_PRIORITY: i32 = 19;

/// Collects garbage if it is time for that, in a process of its own: the caller has nothing to wait for. For a process of
/// one thread.
///
/// # Errors
/// The settings are wrong.
pub fn after_adding(home: &Home) -> Result<()> {
    let settings = home.settings()?;
    if !settings.collect || !is_due(home) {
        return Ok(());
    }
    if let Ok(monitor::process::Fork::Child) = monitor::process::fork() {
        if monitor::process::setup_process(&[]).is_ok() {
            let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
            let _ = collect(&home.reopened(), &settings);
        }
        monitor::process::exit(0);
    }
    Ok(())
}

/// Whether the last collection was long ago. A store's first hour is its own: there is a note, and nothing else.
fn is_due(home: &Home) -> bool {
    let path = note(home);
    let changed = fs::symlink_metadata(&path).and_then(|status| status.modified());
    let Ok(changed) = changed else {
        let _ = files::write_new(&path, b"");
        return false;
    };
    // What lies in the future was written by a clock that was wrong.
    let elapsed = SystemTime::now().duration_since(changed).unwrap_or(INTERVAL);
    // Written first, so that of two commands one goes on; an hour later is early enough for the other.
    elapsed >= INTERVAL && File::open(&path).and_then(|file| file.set_modified(SystemTime::now())).is_ok()
}

/// Collects what the settings let go.
///
/// # Errors
/// The store cannot be read; nothing is deleted then.
pub fn collect(home: &Home, settings: &Settings) -> Result<(Vec<Removed>, Collected)> {
    let is_short = is_short(home, settings)?;
    let now = SystemTime::now();
    let mut dangling = read_note(home);
    let nameless: Vec<Digest> = nameless(home)?;
    dangling.retain(|target, _| nameless.contains(target));
    for target in nameless {
        dangling.entry(target).or_insert(now);
    }
    let expired = |since: SystemTime, after: Option<Duration>| {
        after.is_some_and(|after| now.duration_since(since).is_ok_and(|age| age >= after))
    };
    let store = home.store()?;
    let keep = |image: &Image| {
        let goes = match image.names.is_empty() {
            true => {
                is_short || dangling.get(&image.target).is_some_and(|since| expired(*since, settings.dangling_after))
            }
            false => settings.named_after.is_some() && expired(came(store, &image.target), settings.named_after),
        };
        !goes
    };
    let resume_for = if is_short { Duration::ZERO } else { settings.resume_for };
    let outcome =
        store::collect::prune(store, true, keep, || Ok(store::collect::InUse { resume_for, ..in_use(home)? }))?;
    write_note(home, &dangling)?;
    Ok(outcome)
}

/// Whether less of the disk is free than should be.
fn is_short(home: &Home, settings: &Settings) -> Result<bool> {
    let disk = rustix::fs::statvfs(home.root()).context("look at the free space")?;
    let (size, free) = (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
    Ok(free < settings.free_space.wanted(size))
}

/// The images that have no name now.
fn nameless(home: &Home) -> Result<Vec<Digest>> {
    let names = home.store()?.names()?;
    Ok(names.entries().iter().filter(|entry| entry.reference.is_none()).map(|entry| entry.target).collect())
}

/// When an image came into the store.
fn came(store: &store::Store, target: &Digest) -> SystemTime {
    let status = fs::symlink_metadata(store.blob_path(target));
    status.and_then(|status| status.modified()).unwrap_or_else(|_| SystemTime::now())
}

fn note(home: &Home) -> PathBuf {
    home.root().join(NOTE)
}

fn read_note(home: &Home) -> BTreeMap<Digest, SystemTime> {
    let text = fs::read_to_string(note(home)).unwrap_or_default();
    let line = |line: &str| -> Option<(Digest, SystemTime)> {
        let (digest, seconds) = line.split_once(' ')?;
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?;
        Some((Digest::parse(digest).ok()?, since))
    };
    text.lines().filter_map(line).collect()
}

fn write_note(home: &Home, dangling: &BTreeMap<Digest, SystemTime>) -> Result<()> {
    let seconds = |since: &SystemTime| since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let text: String = dangling.iter().map(|(target, since)| format!("{target} {}\n", seconds(since))).collect();
    files::replace(&note(home), text.as_bytes())
}

/// When garbage was last collected without being asked for, and what the settings say: for `info`.
pub(crate) fn describe(home: &Home) -> String {
    match home.settings() {
        Ok(settings) => settings.summary(),
        Err(error) => error.to_string(),
    }
}

/// `image prune`: see [`store::collect::prune`]; what cut-off pulls left goes, too.
///
/// # Errors
/// A filter that does not exist; a store that cannot be read.
pub fn prune_images(home: &Home, all: bool, filters: &[(String, String)]) -> Result<(Vec<Removed>, Collected)> {
    let filters = crate::prune::Filters::parse(filters)?;
    let keep = |image: &Image| {
        let created = image.config.created().as_deref().and_then(|text| text.parse().ok()).unwrap_or_default();
        let labels = image.config.labels_of_config();
        !filters.match_all(created, |key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
    };
    let nothing_waits = || Ok(images::InUse { resume_for: Duration::ZERO, ..in_use(home)? });
    store::collect::prune(home.store()?, all, keep, nothing_waits)
}
