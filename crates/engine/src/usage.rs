//! `system df`: what images, containers and volumes take of the disk.

use std::collections::HashMap;
use std::fs;
use std::io;

use failure::{Context as _, Result};
pub use store::usage::{ImageUsage, MemberUsage, Usage};

use crate::config::ContainerConfig;
use crate::{Home, ListOptions, Summary, images, list};

/// Everything that takes room.
#[derive(Debug)]
pub struct DiskUsage {
    /// Images.
    pub images: Usage,
    /// All containers, with the bytes they wrote.
    pub containers: Vec<Summary>,
    /// Volumes, sorted by name.
    pub volumes: Vec<VolumeUsage>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// How many containers mount it.
    pub links: usize,
    /// The bytes of its files.
    pub size: u64,
}

/// Measures everything.
///
/// # Errors
/// Something cannot be read.
pub fn disk_usage(home: &Home) -> Result<DiskUsage> {
    let options = ListOptions { all: true, size: true, ..ListOptions::default() };
    Ok(DiskUsage { images: image_usage(home)?, containers: list(home, &options)?, volumes: volumes(home)? })
}

/// Measures the images alone.
///
/// # Errors
/// The store cannot be read.
pub fn image_usage(home: &Home) -> Result<Usage> {
    home.store()?.usage(&images::in_use(home)?)
}

fn volumes(home: &Home) -> Result<Vec<VolumeUsage>> {
    let mut links: HashMap<String, usize> = HashMap::new();
    for id in list::ids(home)? {
        let Ok(config) = ContainerConfig::read(home, &id) else { continue };
        let mut names: Vec<String> = config.mounts.iter().filter_map(|entry| entry.volume.clone()).collect();
        names.sort();
        names.dedup();
        for name in names {
            *links.entry(name).or_default() += 1;
        }
    }
    let path = home.volumes();
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("list `{}`", path.display()))?,
    };
    let mut volumes = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("list `{}`", path.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // One that is removed just now takes no room.
        let size = store::writable::size_of_tree(&entry.path().join("_data")).unwrap_or(0);
        volumes.push(VolumeUsage { links: links.get(&name).copied().unwrap_or(0), name, size });
    }
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(volumes)
}
