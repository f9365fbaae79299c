//! The list of all images without reading all their documents.
//!
//! ```text
//! <root>/catalog.json   { "version": 1, "platform": "linux/amd64",
//!                         "images": { "<target's digest>": { "manifest", "id", "created", "size", "labels" }, ... } }
//! ```
//!
//! A thousand images have two thousand documents, while their list needs a few words of each, which never change. So
//! what was read once is noted. The file is derived: it may be missing, old or damaged at any time, and is then made
//! anew, by whoever finds the store's lock free. What has a name, index.json alone says. An index for several platforms is
//! noted only when the image of this machine's is here: no other can take its place.

use std::collections::BTreeMap;

use failure::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::blobs::read_at_most;
use crate::{Digest, Image, ImageId, ImageSummary, Name, Names, Platform, Store};

/// The file.
pub(crate) const CATALOG: &str = "catalog.json";
const VERSION: u32 = 1;
/// The largest catalog that is read; a larger one is made anew and never read.
const LARGEST: u64 = 64 << 20;

#[derive(Default, Deserialize, Serialize)]
struct Catalog {
    version: u32,
    platform: String,
    images: BTreeMap<String, Facts>,
}

/// What is noted of an image.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct Facts {
    manifest: String,
    id: String,
    created: Option<String>,
    size: u64,
    labels: Vec<(String, String)>,
}

impl Store {
    /// All images, newest first. One that is damaged is left out: its name can still be removed.
    ///
    /// # Errors
    /// index.json cannot be read.
    pub fn images(&self) -> Result<Vec<ImageSummary>> {
        let names = self.names()?;
        let mut entries: BTreeMap<Digest, Vec<&Name>> = BTreeMap::new();
        for entry in names.entries() {
            entries.entry(entry.target).or_default().push(entry);
        }
        let before = Catalog::read(self);
        let mut catalog = Catalog::new();
        let (mut images, mut complete) = (Vec::new(), true);
        for (target, entries) in entries {
            let noted = before.images.get_key_value(&target.to_string());
            if let Some((key, facts)) = noted
                && let Some(image) = summary(target, &entries, facts)
                && self.has_blob(&image.manifest)
            {
                catalog.images.insert(key.clone(), facts.clone());
                images.push(image);
            } else if let Ok((image, facts, lasting)) = self.look_at(target, &names) {
                complete &= !lasting;
                if lasting {
                    catalog.images.insert(target.to_string(), facts.clone());
                }
                images.extend(summary(target, &entries, &facts));
                drop(image);
            }
        }
        if !complete || catalog.images.len() != before.images.len() {
            catalog.write(self);
        }
        images.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.id.cmp(&other.id)));
        Ok(images)
    }

    /// Removes what was noted: nothing of the images stays when the last one has gone.
    pub(crate) fn forget_catalog(&self) -> Result<()> {
        match unlinkat(self.directory(), CATALOG, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other.context("remove the catalog of images"),
        }
    }

    /// The targets of which something else is noted than their documents say.
    pub(crate) fn catalog_differs(&self, names: &Names) -> Vec<String> {
        let noted = Catalog::read(self).images;
        let targets = names.entries().iter().map(|entry| entry.target);
        let differs = |target: &Digest| {
            let facts = noted.get(&target.to_string());
            let read = self.look_at(*target, names);
            matches!((facts, read), (Some(noted), Ok((_, facts, true))) if *noted != facts)
        };
        let mut found: Vec<String> = targets.filter(differs).map(|target| target.to_string()).collect();
        found.dedup();
        found
    }

    /// Reads an image's documents; says whether what they tell stays so.
    fn look_at(&self, target: Digest, names: &Names) -> Result<(Image, Facts, bool)> {
        let image = self.image_of(&target, &self.choose(&target, None)?, names)?;
        let labels = image.config.labels_of_config().into_iter().flatten();
        let mut labels: Vec<_> = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
        labels.sort();
        let facts = Facts {
            manifest: image.manifest.to_string(),
            id: image.id.to_string(),
            created: image.config.created().clone(),
            size: image.size(self)?,
            labels,
        };
        let variant = image.config.variant().as_deref();
        let platform = Platform::new(&image.config.os().to_string(), &image.config.architecture().to_string(), variant);
        let lasting = image.manifest == target || platform == Platform::of_this_machine();
        Ok((image, facts, lasting))
    }
}

/// An image's line: what is noted, under the names that it has now.
fn summary(target: Digest, entries: &[&Name], facts: &Facts) -> Option<ImageSummary> {
    let mut names: Vec<_> = entries.iter().filter_map(|entry| entry.reference.clone()).collect();
    names.sort();
    let pushed = entries.iter().filter_map(|entry| Some((entry.reference.clone()?, entry.pushed()?)));
    Some(ImageSummary {
        id: ImageId(Digest::parse(&facts.id).ok()?),
        manifest: Digest::parse(&facts.manifest).ok()?,
        target,
        names,
        pushed: pushed.collect(),
        created: facts.created.clone(),
        size: facts.size,
        labels: facts.labels.clone(),
    })
}

impl Catalog {
    fn new() -> Self {
        let platform = Platform::of_this_machine().to_string();
        Self { version: VERSION, platform, images: BTreeMap::new() }
    }

    /// What was noted; nothing when it cannot be read, or was noted by another version or on another machine.
    fn read(store: &Store) -> Self {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fresh = Self::new();
        let Ok(file) = openat(store.directory(), CATALOG, flags, Mode::empty()) else { return fresh };
        let bytes = read_at_most(std::fs::File::from(file), LARGEST).unwrap_or_default();
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(read) if read.version == VERSION && read.platform == fresh.platform => read,
            _ => fresh,
        }
    }

    /// Notes it, if nobody is changing the store at the moment.
    fn write(&self, store: &Store) {
        let (Ok(Some(_lock)), Ok(bytes)) = (store.try_lock_exclusive(), serde_json::to_vec(self)) else { return };
        // A disk that is full or read-only is no reason not to list images.
        let _ = match self.images.is_empty() {
            true => store.forget_catalog(),
            false => store.replace_derived(CATALOG, &bytes),
        };
    }
}
