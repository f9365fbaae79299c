//! An image as commands see it: its id, configuration, layers and names; and how one is found.

use std::collections::BTreeMap;

use failure::{Error, Kind, Result};
use oci_spec::image::ImageConfiguration;

use crate::documents::{Manifest, ManifestHead, Target};
use crate::{ChainId, ConfigDocument, Digest, ImageId, Layer, Name, Names, Platform, Reference, Store};

/// The fewest digits that may stand for an id.
const SHORTEST_ID: usize = 2;

/// An image of the store, its configuration read.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the configuration: what people see.
    pub id: ImageId,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What its names refer to: that manifest, or an index of manifests for several platforms, of which it is one.
    pub target: Digest,
    /// The configuration, read.
    pub config: ImageConfiguration,
    /// The unpacked layers, bottom first.
    pub layers: Vec<ChainId>,
    /// The layers as blobs, bottom first: `blobs[n]` unpacks to `layers[n]`.
    pub blobs: Vec<Layer>,
    /// All names of this image, sorted.
    pub names: Vec<Reference>,
    /// The digest that it has in a name's repository, where that is not the target's.
    pub pushed: BTreeMap<Reference, Digest>,
}

/// A line of `skep images`.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// The image's id.
    pub id: ImageId,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// What its names refer to: that manifest or an index.
    pub target: Digest,
    /// All its names, sorted; none when it lost its last one.
    pub names: Vec<Reference>,
    /// The digest that it has in a name's repository, where that is not the target's.
    pub pushed: BTreeMap<Reference, Digest>,
    /// When it was made, as RFC 3339, where it says so.
    pub created: Option<String>,
    /// The bytes of all its unpacked layers together.
    pub size: u64,
    /// Its labels, sorted.
    pub labels: Vec<(String, String)>,
}

impl Image {
    /// What it runs on.
    pub fn platform(&self) -> Platform {
        let variant = self.config.variant().as_deref();
        Platform::new(&self.config.os().to_string(), &self.config.architecture().to_string(), variant)
    }

    /// The configuration's own bytes, for the fields that the OCI types lack (Docker's `Healthcheck`, `OnBuild`,
    /// `Shell`, `StopTimeout`) and for changes that must keep what they do not know.
    ///
    /// # Errors
    /// The blob is gone.
    pub fn document(&self, store: &Store) -> Result<ConfigDocument> {
        ConfigDocument::parse(&store.read_blob(&self.id.0)?)
    }

    /// The digest that the image has in the repository of one of its names.
    pub fn digest_of(&self, name: &Reference) -> Digest {
        name.digest().or_else(|| self.pushed.get(name)).copied().unwrap_or(self.target)
    }

    /// The bytes of all its unpacked layers together.
    ///
    /// # Errors
    /// A layer is gone.
    pub fn size(&self, store: &Store) -> Result<u64> {
        self.layers.iter().map(|layer| store.layer_size(layer)).sum()
    }
}

impl Store {
    /// The image that `text` names: a name, `name@digest`, an id, or the beginning of an id that only one image has.
    /// A name comes before an id, as with Docker. Of several platforms it is this machine's, if that is here.
    ///
    /// # Errors
    /// There is no such image, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Image> {
        self.resolve_for(text, None)
    }

    /// The same for a platform that the caller chose.
    ///
    /// # Errors
    /// There is no such image, or more than one, or it is for other platforms.
    pub fn resolve_for(&self, text: &str, platform: Option<&Platform>) -> Result<Image> {
        let names = self.names()?;
        if let Some(target) = find_name(&names, text)? {
            let manifest = self.choose(&target, platform)?;
            return self.image_of(&target, &manifest, &names);
        }
        let (target, manifest) = self.find_id(&names, text)?;
        self.image_of(&target, &manifest, &names)
    }

    /// The image with this manifest (or of this index, this machine's), as index.json or a container refers to it.
    ///
    /// # Errors
    /// The manifest or the configuration is missing or damaged.
    pub fn image(&self, target: &Digest) -> Result<Image> {
        let names = self.names()?;
        let manifest = self.choose(target, None)?;
        self.image_of(target, &manifest, &names)
    }

    /// The manifests of images behind a name's target that are here, with their platforms where an index gives them:
    /// the target itself, if it is a manifest.
    ///
    /// # Errors
    /// The target is missing or damaged.
    pub fn members(&self, target: &Digest) -> Result<Vec<(Digest, Option<Platform>)>> {
        let bytes = self.read_blob(target)?;
        let Target::Index(entries) = Target::parse(&bytes, &target.to_string())? else {
            return Ok(vec![(*target, None)]);
        };
        let mut members = Vec::new();
        for entry in entries {
            let (manifest, platform) = (entry.digest()?, entry.platform());
            if self.has_blob(&manifest) && platform.as_ref().is_none_or(Platform::is_known) {
                members.push((manifest, platform));
            }
        }
        Ok(members)
    }

    /// Gives the image that `source` names one more name. A name that another image had moves here.
    ///
    /// # Errors
    /// There is no such image, or the name has a digest.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            return Err(Error::invalid(format!("`{name}` has a digest; a new name is NAME[:TAG]")));
        }
        let lock = self.lock_exclusive()?;
        let image = self.resolve(source)?;
        let mut names = self.names()?;
        let entry = names.entries().iter().find(|entry| entry.target == image.target);
        if let Some(entry) = entry.map(|entry| entry.renamed(Some(name.clone()))) {
            names.set(entry);
        }
        self.write_names(&names, &lock)
    }

    /// Which of the manifests behind a target is meant.
    pub(crate) fn choose(&self, target: &Digest, platform: Option<&Platform>) -> Result<Digest> {
        let members = self.members(target)?;
        let mine = Platform::of_this_machine();
        let wanted = platform.unwrap_or(&mine);
        if let Some((manifest, _)) = members.iter().find(|(_, of)| of.as_ref() == Some(wanted)) {
            return Ok(*manifest);
        }
        match (platform, &members[..]) {
            (None, [(first, _), ..]) => Ok(*first),
            (Some(wanted), [(manifest, None)]) if self.platform_of(manifest)? == *wanted => Ok(*manifest),
            (Some(wanted), [_, ..]) => {
                let reason = "the image is here, but not for that platform";
                Err(Error::not_found(format!("no image for `{wanted}`: {reason}; pull it with `--platform {wanted}`")))
            }
            (_, []) => {
                let way = "its index is here, but none of its images; pull it again";
                Err(Error::not_found(format!("`{target}` is no image: {way}")))
            }
        }
    }

    fn platform_of(&self, manifest: &Digest) -> Result<Platform> {
        let config = Manifest::read_by(|digest| self.read_blob(digest), manifest)?.configuration;
        let variant = config.variant().as_deref();
        Ok(Platform::new(&config.os().to_string(), &config.architecture().to_string(), variant))
    }

    pub(crate) fn image_of(&self, target: &Digest, manifest: &Digest, names: &Names) -> Result<Image> {
        let read = Manifest::read_by(|digest| self.read_blob(digest), manifest)?;
        Ok(Image {
            id: ImageId(read.config),
            manifest: *manifest,
            target: *target,
            config: read.configuration,
            layers: read.chain,
            blobs: read.layers,
            names: names.of(target),
            pushed: names.pushed(target),
        })
    }

    /// The target and manifest of the only image whose id begins with `text`.
    fn find_id(&self, names: &Names, text: &str) -> Result<(Digest, Digest)> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_id = (SHORTEST_ID..=64).contains(&digits.len())
            && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let mut found: BTreeMap<ImageId, (Digest, Digest)> = BTreeMap::new();
        for entry in names.entries().iter().filter(|_| is_id) {
            // What is damaged has no id; its name is still good for removing it.
            for (manifest, _) in self.members(&entry.target).unwrap_or_default() {
                if let Ok(id) = self.id_of(&manifest)
                    && id.0.hex().starts_with(digits)
                {
                    found.insert(id, (entry.target, manifest));
                }
            }
        }
        if found.len() > 1 {
            return Err(Error::new(
                Kind::Conflict,
                format!("`{text}` begins more than one image's id; write more of it"),
            ));
        }
        found.pop_first().map(|(_, found)| found).ok_or_else(|| no_such_image(text))
    }

    /// An image's id from its manifest alone.
    fn id_of(&self, manifest: &Digest) -> Result<ImageId> {
        let head = ManifestHead::parse(&self.read_blob(manifest)?, &manifest.to_string())?;
        head.config().map(|(digest, _)| ImageId(digest))
    }
}

/// What a name refers to; with a digest, which must be that of the target or the one it was pushed with, the tag does
/// not matter.
fn find_name(names: &Names, text: &str) -> Result<Option<Digest>> {
    let Ok(reference) = Reference::parse(text) else {
        let looks_like_id = text.bytes().all(|byte| byte.is_ascii_hexdigit()) || text.starts_with("sha256:");
        return if looks_like_id { Ok(None) } else { Reference::parse(text).map(|_| None) };
    };
    let Some(digest) = reference.digest() else {
        return Ok(names.find(&reference).map(|name| name.target));
    };
    let same_repository = |name: &Reference| (name.host(), name.path()) == (reference.host(), reference.path());
    let means = |entry: &&Name| entry.target == *digest || entry.pushed().as_ref() == Some(digest);
    let mut entries = names.entries().iter().filter(means);
    Ok(entries.find(|entry| entry.reference.as_ref().is_some_and(same_repository)).map(|entry| entry.target))
}

fn no_such_image(text: &str) -> Error {
    let shown = text.escape_debug();
    Error::not_found(format!(
        "no such image `{shown}`; see `skep images`, or bring it in with `skep pull` or `skep load`"
    ))
}
