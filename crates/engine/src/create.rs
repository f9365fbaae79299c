//! `create`: a request becomes a container on disk. See [`crate::recover`] for the order of writes.

use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use monitor::state::State;
use runtime::ContainerId;
use rustix::fs::{self as rfs, Mode};
use store::overlay::Overlay;

use crate::config::{self, ConfigBase, ContainerConfig};
use crate::request::{NamespaceMode, NetworkMode, UserNamespaceMode};
use crate::source::{self, Source};
use crate::state::Lock;
use crate::{Home, Request, etc_files, files, find, ids, names, recover, specification, start, volumes};

/// A new container, not started.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What could not be granted, a line each.
    pub warnings: Vec<String>,
}

/// Makes a container.
///
/// # Errors
/// Anything about the request that can be known before it runs; nothing is left behind.
pub fn create(home: &Home, request: Request) -> Result<Created> {
    let new = create_locked(home, request)?;
    Ok(Created { id: new.config.id, warnings: new.warnings })
}

/// What `run` would do, as numbered readable steps; nothing is kept.
///
/// # Errors
/// As [`create`].
pub fn dry_run(home: &Home, request: Request) -> Result<String> {
    let mut making = Making::of(home, request)?;
    let described = making.fill(None).and_then(|()| {
        let overlay = overlay(home, &making.config, &making.directory)?;
        start::describe(home, &making.config, &overlay)
    });
    making.undo();
    described
}

/// A container that was just made, its lock held.
pub(crate) struct New {
    pub(crate) config: ContainerConfig,
    pub(crate) lock: Lock,
    pub(crate) warnings: Vec<String>,
}

/// [`create`], for who goes on with the container.
pub(crate) fn create_locked(home: &Home, request: Request) -> Result<New> {
    let wanted_name = request.name.clone();
    if let Some(name) = &wanted_name {
        names::validate(name)?;
    }
    let mut making = Making::of(home, request)?;
    match making.fill(wanted_name.as_deref()) {
        Ok(()) => Ok(New { config: making.config, lock: making.lock, warnings: making.warnings }),
        Err(error) => {
            making.undo();
            Err(error)
        }
    }
}

/// Everything about a new container that needs no claim and no file.
fn decide(home: &Home, mut request: Request, source: Source) -> Result<ContainerConfig> {
    let user = specification::decide_user_namespace(&request);
    resolve_joined(home, &mut request)?;
    let mut config = config::merge(request, ContainerId::random(), source.image, source.configuration.as_ref())?;
    config.namespaces.user = user;
    specification::validate(&config)?;
    Ok(config)
}

/// Replaces names of other containers by their ids.
fn resolve_joined(home: &Home, request: &mut Request) -> Result<()> {
    if let NetworkMode::Container(text) = &mut request.network {
        let id = find(home, text)?;
        *text = id.to_string();
        share_host_name(home, &id, request)?;
    }
    for mode in [&mut request.pid, &mut request.ipc, &mut request.uts, &mut request.cgroup_namespace] {
        if let NamespaceMode::Container(text) = mode {
            *text = find(home, text)?.to_string();
        }
    }
    Ok(())
}

/// Who shares a network is known by one name in it.
fn share_host_name(home: &Home, other: &ContainerId, request: &mut Request) -> Result<()> {
    if request.hostname.is_some() || request.domainname.is_some() {
        return Err(Error::invalid(
            "`--hostname` and `--domainname` belong to the container whose network is used; give them there",
        ));
    }
    if request.uts == NamespaceMode::Private {
        let host = ContainerConfig::read(home, other)?.host;
        request.hostname = Some(host.hostname);
        request.domainname = Some(host.domainname).filter(|name| !name.is_empty());
    }
    Ok(())
}

/// A container in the making: what [`Making::undo`] must undo.
struct Making<'a> {
    home: &'a Home,
    config: ContainerConfig,
    directory: PathBuf,
    lock: Lock,
    volumes: volumes::Made,
    /// Keeps the image's layers from being deleted until the container refers to them.
    _image: Option<store::Lock>,
    warnings: Vec<String>,
}

impl<'a> Making<'a> {
    /// Everything decided, and step 1: the directory, locked.
    fn of(home: &'a Home, request: Request) -> Result<Self> {
        let mut source = source::resolve(home, &request)?;
        let image = source.lock.take();
        let config = decide(home, request, source)?;
        let directory = home.unfinished(config.id.as_ref());
        rfs::mkdir(&directory, Mode::from_raw_mode(0o700)).context("make the container's directory")?;
        let lock = store::writable::create(&directory.join("layer")).and_then(|()| Lock::of_new(&directory));
        match lock {
            Ok(lock) => Ok(Self {
                home,
                config,
                directory,
                lock,
                volumes: volumes::Made::default(),
                _image: image,
                warnings: Vec::new(),
            }),
            Err(error) => {
                recover::discard(home, &directory);
                Err(error)
            }
        }
    }

    /// Steps 2 to 4: files, claims, publication.
    fn fill(&mut self, wanted_name: Option<&str>) -> Result<()> {
        let home = self.home;
        if !self.config.mounts.is_empty() {
            let overlay = overlay(home, &self.config, &self.directory)?;
            volumes::prepare(home, &mut self.config, &self.directory, &overlay, &mut self.volumes)?;
        }
        etc_files::write(&self.directory, &self.config, &mut self.warnings)?;
        if self.config.namespaces.user == UserNamespaceMode::Private {
            self.config.range = Some(ids::claim(home, &self.config.id)?);
        }
        self.config.name = names::claim(home, &self.config.id, wanted_name)?;
        self.config.write(&self.directory, true)?;
        let state = serde_json::to_vec(&State::created())
            .map_err(|error| Error::internal("write the container's state").with_source(error))?;
        files::write_new(&self.directory.join("state.json"), &state)?;
        let place = home.container(&self.config.id);
        rfs::rename(&self.directory, &place).context("publish the container")?;
        self.directory = place;
        Ok(())
    }

    /// Takes back, in reverse, whatever was made.
    fn undo(self) {
        let config = &self.config;
        if !config.name.is_empty() {
            let _ = names::release(self.home, &config.id, &config.name);
        }
        if let Some(range) = config.range {
            let _ = ids::release(self.home, &config.id, range);
        }
        self.volumes.undo(self.home);
        recover::discard(self.home, &self.directory);
        recover::empty_trash(self.home);
    }
}

/// The root filesystem of a container whose directory this is.
pub(crate) fn overlay(home: &Home, config: &ContainerConfig, directory: &Path) -> Result<Overlay> {
    Overlay::new(home.store()?, &base(config)?, &directory.join("layer"))
}

/// What lies below the container's own layer.
pub(crate) fn base(config: &ContainerConfig) -> Result<store::overlay::Base> {
    Ok(match &config.image.base {
        ConfigBase::Layers(layers) => store::overlay::Base::Layers(config::chain_ids(layers)?),
        ConfigBase::Directory(path) => store::overlay::Base::Directory(path.clone()),
        ConfigBase::Host => store::overlay::Base::Host,
    })
}
