//! `import`: an image of one layer from the tar of a root filesystem.

use failure::{Context, Error, Result};
use jiff::Timestamp;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

use crate::documents::{layer_type, manifest_bytes};
use crate::jobs::{self, Copied, Source, Task};
use crate::{
    ChainId, ConfigChange, ConfigDocument, Digest, History, ImageId, Input, Layer, Name, Platform, Progress, Reference,
    Staging, Store,
};

/// What to import.
#[derive(Debug)]
pub struct Import {
    /// The tar, plain or compressed.
    pub input: Input,
    /// Changes to the configuration.
    pub changes: Vec<ConfigChange>,
    /// The comment in the history; what was imported when there is none.
    pub message: Option<String>,
    /// The name to give it.
    pub reference: Option<Reference>,
    /// What it is for; this machine's platform otherwise.
    pub platform: Option<Platform>,
    /// `SOURCE_DATE_EPOCH`: when it was made, in seconds; now otherwise.
    pub epoch: Option<i64>,
}

/// Makes an image of one layer.
///
/// # Errors
/// The archive is damaged or hostile, or the disk is full.
pub fn import(store: &Store, import: Import, progress: &mut dyn Progress) -> Result<ImageId> {
    store.sweep()?;
    let (file, name) = import.input.open()?;
    let mut staging = Staging::new(store)?;
    let layer = take_in(&mut staging, file, &name, progress)?;
    let message = import.message.unwrap_or_else(|| format!("imported from {}", name.trim_matches('`')));
    let epoch = import.epoch.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let created = epoch.unwrap_or_else(Timestamp::now).to_string();
    let mut document = ConfigDocument::empty();
    if let Some(platform) = &import.platform {
        document.set_platform(platform);
    }
    document.set("created", created.as_str());
    document.push_layer(&layer.diff_id, History { created, comment: message, ..History::default() })?;
    for change in &import.changes {
        change.apply(&mut document);
    }
    let config_bytes = document.to_bytes();
    let config = staging.put(&config_bytes)?;
    let manifest = manifest_bytes(&config, config_bytes.len() as u64, &[layer]);
    let digest = staging.put(&manifest)?;
    staging.publish(vec![Name::new(digest, manifest.len() as u64, import.reference)])?;
    Ok(ImageId(config))
}

/// Stores and unpacks the tar as a bottom layer.
fn take_in(staging: &mut Staging<'_>, file: std::fs::File, name: &str, progress: &mut dyn Progress) -> Result<Layer> {
    let stat = fstat(&file).with_context(|| format!("look at {name}"))?;
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    let source = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Source::Segment { file, offset: 0, length },
        _ => Source::Stream(file),
    };
    let blob = staging.new_blob()?;
    let directory = staging.new_layer()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let tree = openat(CWD, directory.join("tree"), flags, Mode::empty()).context("open a layer")?;
    let copy_to = blob.file.try_clone().context("copy a descriptor")?;
    // Its digest is not known before its end; until then it goes by that of its name.
    let label = Digest::of(name.as_bytes());
    progress.begin(&label, length);
    let task = Task {
        index: 0,
        label,
        name: name.to_owned(),
        origin: jobs::Origin::Archive(source),
        copy_to: Some(copy_to),
        tree: Some(tree),
    };
    let mut done = None;
    let limits = *staging.store().limits();
    jobs::run(&limits, staging.lease(), [Ok(task)].into_iter(), progress, |_, outcome| {
        done = Some(outcome);
        Ok(())
    })?;
    let outcome = done.unwrap_or_default();
    let (Some(Copied { digest, length }), Some(unpacked)) = (outcome.copied, outcome.unpacked) else {
        return Err(Error::internal("the import ended without a result"));
    };
    let diff_id = unpacked.diff_id.unwrap_or(digest);
    staging.add_blob(&digest, blob);
    staging.add_layer(&ChainId::above(None, &diff_id), directory, &unpacked)?;
    Ok(Layer { digest, size: length, media_type: layer_type(unpacked.compression), diff_id })
}
