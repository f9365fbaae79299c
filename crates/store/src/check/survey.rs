//! The records: is every file one that the layout knows, does every record parse, is all there that they refer to?
//!
//! Runs under the store's shared lock, so that nothing is published or collected meanwhile: what is missing now is lost.
//! Only small documents are read here; each is verified by its digest.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, DirEntry, File, FileType};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use failure::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use super::{Fix, Report};
use crate::collect::{InUse, owned};
use crate::documents::{Manifest, Parts};
use crate::leases::Need;
use crate::{ChainId, Digest, Layer, Reference, Store};

const PULL: &str = "pull the image again";
const REPAIR: &str = "`skep system check --repair`";

/// What is known after the records were read.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) report: Report,
    /// Every blob with its length.
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// Every layer that has a tree.
    pub(super) layers: BTreeSet<ChainId>,
    /// What each layer was unpacked from.
    pub(super) sources: BTreeMap<ChainId, Layer>,
    /// Which names need a blob, for messages.
    pub(super) needed_by: BTreeMap<Digest, BTreeSet<String>>,
    /// What living leases need.
    leased: HashSet<Digest>,
    /// Which layers are known to be needed.
    needed_layers: HashSet<ChainId>,
}

/// Reads all records. The caller holds the store's shared lock.
pub(super) fn survey(store: &Store, foreign: &[&str], in_use: &InUse) -> Result<Survey> {
    let mut survey = Survey::default();
    survey.root(store, foreign)?;
    survey.blobs(store)?;
    survey.layers(store)?;
    survey.leases(store)?;
    survey.partials(store)?;
    survey.trash(store)?;
    survey.names(store);
    survey.containers(store, in_use);
    survey.compressed(store)?;
    survey.owners(store, &InUse { resume_for: Duration::ZERO, ..in_use.clone() });
    Ok(survey)
}

/// All entries of a directory of the store; none if it is missing.
fn entries(path: &Path) -> Result<Vec<(String, FileType, DirEntry)>> {
    let failed = || format!("list `{}`", path.display());
    let listed = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(failed)?,
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.with_context(failed)?;
        // Gone since it was listed: trash and leases do not wait for the lock.
        let Ok(kind) = entry.file_type() else { continue };
        entries.push((entry.file_name().to_string_lossy().into_owned(), kind, entry));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}

/// The bytes of a file, or of all files below a directory.
pub(super) fn bytes_below(path: &Path) -> u64 {
    let Ok(status) = fs::symlink_metadata(path) else { return 0 };
    if !status.is_dir() {
        return status.len();
    }
    let mut total = 0;
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(status) if status.is_dir() => open.push(entry.path()),
                Ok(status) if status.is_file() => total += status.len(),
                _ => {}
            }
        }
    }
    total
}

impl Survey {
    fn root(&mut self, store: &Store, foreign: &[&str]) -> Result<()> {
        const DIRECTORIES: [&str; 7] = ["blobs", "compressed", "layers", "leases", "partial", "skeleton", "trash"];
        const FILES: [&str; 5] = ["oci-layout", "index.json", "lock", crate::collect::LAST, crate::catalog::CATALOG];
        for (name, kind, entry) in entries(store.root())? {
            let known = (kind.is_dir() && DIRECTORIES.contains(&name.as_str()))
                || (kind.is_file() && FILES.contains(&name.as_str()));
            if known || foreign.contains(&name.as_str()) {
                continue;
            }
            // Nobody writes these now: that needs the lock exclusively.
            match name.as_str() {
                ".index.json.new" | ".oci-layout.new" | ".catalog.json.new" | "collected.new" => {
                    self.report.leave(name, bytes_below(&entry.path()))
                }
                name if name.starts_with(".skeleton-") => self.report.leave(name, 0),
                _ => self.report.stranger(&entry.path()),
            }
        }
        for (name, kind, entry) in entries(&store.root().join("blobs"))? {
            if name != "sha256" || !kind.is_dir() {
                self.report.stranger(&entry.path());
            }
        }
        let layout = fs::read(store.root().join("oci-layout")).unwrap_or_default();
        let version: Option<serde_json::Value> = serde_json::from_slice(&layout).ok();
        if version.is_none_or(|layout| layout.get("imageLayoutVersion").is_none_or(|version| version != "1.0.0")) {
            self.report.find("file oci-layout", "is damaged or of another version", REPAIR, Fix::Layout);
        }
        Ok(())
    }

    fn blobs(&mut self, store: &Store) -> Result<()> {
        for (name, kind, entry) in entries(&store.root().join("blobs/sha256"))? {
            let digest = Digest::from_hex(&name).ok().filter(|_| kind.is_file());
            match (digest, entry.metadata()) {
                (Some(digest), Ok(status)) => drop(self.blobs.insert(digest, status.len())),
                _ => self.report.stranger(&entry.path()),
            }
        }
        self.report.blobs = self.blobs.len() as u64;
        Ok(())
    }

    fn layers(&mut self, store: &Store) -> Result<()> {
        for (name, kind, entry) in entries(&store.layers_directory())? {
            let Some(layer) = Digest::from_hex(&name).ok().map(ChainId).filter(|_| kind.is_dir()) else {
                self.report.stranger(&entry.path());
                continue;
            };
            self.report.layers += 1;
            for (name, kind, entry) in entries(&entry.path())? {
                match name.as_str() {
                    "tree" if kind.is_dir() => drop(self.layers.insert(layer)),
                    "size" if kind.is_file() => {}
                    _ => self.report.stranger(&entry.path()),
                }
            }
        }
        Ok(())
    }

    fn leases(&mut self, store: &Store) -> Result<()> {
        let directory = store.root().join("leases");
        let mut known = BTreeSet::new();
        for lease in store.leases()? {
            let name = lease.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            known.extend([name.clone(), format!("{name}.lock")]);
            match lease.needs() {
                Err(_) => {
                    let fix = Fix::Lease(lease.lock_path.clone());
                    self.report.find(
                        format!("lease {name}"),
                        "says what it needs in words that nobody knows",
                        REPAIR,
                        fix,
                    );
                }
                Ok(_) if lease.dead.is_some() => {
                    self.report.leave(format!("leases/{name}"), bytes_below(&lease.directory));
                }
                Ok(needs) => self.leased.extend(needs.into_iter().filter_map(|need| match need {
                    Need::Blob(blob) => Some(blob),
                    Need::Layer(_) => None,
                })),
            }
        }
        for (name, kind, entry) in entries(&directory)? {
            let is_lease = |name: &str| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let of_lease = (kind.is_dir() && is_lease(&name))
                || (kind.is_file() && name.strip_suffix(".lock").is_some_and(is_lease));
            // One that came or went between the two looks is somebody's.
            if !known.contains(&name) && !of_lease {
                self.report.stranger(&entry.path());
            } else {
                let lock = entry.path().with_extension("lock");
                if !known.contains(&name) && kind.is_dir() && !lock.exists() && entry.path().exists() {
                    let fix = Fix::Lease(entry.path().with_extension("lock"));
                    self.report.find(format!("lease {name}"), "has no lock, so nobody owns it", REPAIR, fix);
                }
            }
        }
        Ok(())
    }

    fn partials(&mut self, store: &Store) -> Result<()> {
        for (name, kind, entry) in entries(&store.root().join("partial"))? {
            if Digest::from_hex(&name).is_err() || !kind.is_file() {
                self.report.stranger(&entry.path());
                continue;
            }
            let Ok(file) = File::open(entry.path()) else { continue };
            let needed = Digest::from_hex(&name).is_ok_and(|digest| self.leased.contains(&digest));
            if !needed && flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
                self.report.leave(format!("partial/{name}"), file.metadata().map_or(0, |status| status.size()));
            }
        }
        Ok(())
    }

    fn trash(&mut self, store: &Store) -> Result<()> {
        for (name, _, entry) in entries(&store.root().join("trash"))? {
            self.report.leave(format!("trash/{name}"), bytes_below(&entry.path()));
        }
        Ok(())
    }

    fn names(&mut self, store: &Store) {
        let names = match store.names() {
            Ok(names) => names,
            Err(error) => {
                let remedy = "`skep system check --repair` makes it anew without names; give them with `skep tag`";
                self.report.find("file index.json", error.to_string(), remedy, Fix::Names);
                return;
            }
        };
        let shown = |name: &Option<Reference>, target: &Digest| match name {
            Some(reference) => format!("name {reference}"),
            None => format!("image {target}"),
        };
        for entry in names.entries() {
            self.report.names += 1;
            let user = shown(&entry.reference, &entry.target);
            let size = entry.descriptor.get("size").and_then(serde_json::Value::as_u64);
            self.document(store, &entry.target, size, &user);
            // What a push made of it goes with it, and is made again where it is missing.
            if let Some(pushed) = entry.pushed().filter(|pushed| store.has_blob(pushed)) {
                self.document(store, &pushed, None, &user);
            }
        }
        for target in store.catalog_differs(&names) {
            let problem = format!("says other things of image {target} than its documents");
            self.report.find("file catalog.json", problem, REPAIR, Fix::Catalog);
        }
        let unread = names.unread();
        if unread > 0 {
            let problem = format!("has {unread} entries that are none, or whose digest is not sha256");
            let remedy = "the next change of a name leaves them out";
            self.report.find("file index.json", problem, remedy, Fix::Nothing);
        }
    }

    /// A manifest or index that `user` needs, and all below it.
    fn document(&mut self, store: &Store, digest: &Digest, size: Option<u64>, user: &str) {
        if !self.blob(digest, size, user) {
            return;
        }
        let parsed = store.read_blob(digest).and_then(|bytes| Parts::parse(&bytes, &digest.to_string()));
        let parts = match parsed {
            Ok(parts) => parts,
            Err(error) => return self.damaged(digest, error.to_string(), user),
        };
        // An index may list images that nobody asked for.
        for child in parts.manifests.iter().filter(|child| store.has_blob(child)) {
            self.document(store, child, None, user);
        }
        for blob in parts.blobs.iter().filter(|_| !parts.is_image) {
            self.blob(blob, None, user);
        }
        if parts.is_image {
            self.image(store, digest, user);
        }
    }

    fn image(&mut self, store: &Store, manifest: &Digest, user: &str) {
        let image = match Manifest::read_by(|digest| store.read_blob(digest), manifest) {
            Ok(image) => image,
            Err(error) => {
                let head = store.read_blob(manifest).and_then(|bytes| Parts::parse(&bytes, &manifest.to_string()));
                let config = head.ok().and_then(|parts| parts.blobs.first().copied());
                if config.is_none_or(|config| self.blob(&config, None, user)) {
                    self.damaged(&config.unwrap_or(*manifest), error.to_string(), user);
                }
                return;
            }
        };
        self.blob(&image.config, None, user);
        for (layer, chain) in image.layers.iter().zip(&image.chain) {
            let present = self.blob(&layer.digest, Some(layer.size), user);
            self.layer(chain, present.then_some(layer), user);
            if present || !self.sources.contains_key(chain) {
                self.sources.insert(*chain, layer.clone());
            }
        }
    }

    /// A blob that `user` needs; whether it is there.
    fn blob(&mut self, digest: &Digest, size: Option<u64>, user: &str) -> bool {
        let known = self.needed_by.entry(*digest).or_default();
        let first = known.is_empty();
        known.insert(user.to_owned());
        match (self.blobs.get(digest), size) {
            (None, _) => {
                if first {
                    self.report.find(
                        format!("blob {digest}"),
                        format!("is missing; {user} needs it"),
                        PULL,
                        Fix::Nothing,
                    );
                }
                false
            }
            (Some(length), Some(size)) if *length != size => {
                if first {
                    let problem = format!("has {length} bytes and should have {size}; {user} needs it");
                    self.report.find(format!("blob {digest}"), problem, PULL, Fix::Fetch(*digest));
                }
                false
            }
            _ => true,
        }
    }

    fn damaged(&mut self, digest: &Digest, problem: String, user: &str) {
        let object = format!("blob {digest}");
        if !self.report.findings.iter().any(|finding| finding.object == object) {
            self.report.find(object, format!("{problem}; {user} needs it"), PULL, Fix::Fetch(*digest));
        }
    }

    /// A layer that `user` needs, and the blob that it can be made of again.
    fn layer(&mut self, chain: &ChainId, blob: Option<&Layer>, user: &str) {
        if !self.needed_layers.insert(*chain) && self.sources.contains_key(chain) {
            return;
        }
        if !self.layers.contains(chain) {
            let (remedy, fix) = match blob {
                Some(blob) => (REPAIR, Fix::Unpack(*chain, Box::new(blob.clone()))),
                None => (PULL, Fix::Nothing),
            };
            self.report.find(format!("layer {chain}"), format!("is not unpacked; {user} needs it"), remedy, fix);
        }
    }

    fn containers(&mut self, store: &Store, in_use: &InUse) {
        for user in &in_use.containers {
            let name = format!("container {}", user.container);
            // Its image may have been removed by force.
            if store.has_blob(&user.manifest) {
                self.document(store, &user.manifest, None, &name);
            }
            for layer in &user.layers {
                self.layer(layer, None, &name);
            }
        }
    }

    /// Links from uncompressed blobs to what they were compressed to.
    fn compressed(&mut self, store: &Store) -> Result<()> {
        for (name, kind, entry) in entries(&store.root().join("compressed"))? {
            let plain = name.strip_suffix(".gzip").or_else(|| name.strip_suffix(".zstd"));
            if name == ".new" || !kind.is_symlink() || plain.is_none_or(|plain| Digest::from_hex(plain).is_err()) {
                match name.as_str() {
                    ".new" => self.report.leave("compressed/.new", 0),
                    _ => self.report.stranger(&entry.path()),
                }
            } else if !entry.path().exists() {
                self.report.leave(format!("compressed/{name}"), 0);
            }
        }
        Ok(())
    }

    /// What nothing refers to is a leftover: a collection was cut off, or none came by yet. A document that cannot be read
    /// is a finding by now, and then nobody knows what it needs.
    fn owners(&mut self, store: &Store, in_use: &InUse) {
        let Ok(owned) = store.names().and_then(|names| owned(store, &names, in_use)) else { return };
        for (digest, bytes) in &self.blobs {
            if !owned.has_blob(digest) {
                self.report.leave(format!("blob {digest}"), *bytes);
            }
        }
        for layer in &self.layers {
            if !owned.has_layer(layer) {
                self.report.leave(format!("layer {layer}"), store.layer_size(layer).unwrap_or(0));
            }
        }
    }
}
