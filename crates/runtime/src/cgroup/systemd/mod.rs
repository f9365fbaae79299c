//! The systemd driver: a group is a transient scope, which systemd makes and which is delegated to us.
//!
//! ```text
//!   holder         a process that does nothing, forked                         holder.rs
//!   StartTransientUnit   the scope, with the holder and the limits             service.rs, properties.rs, over bus/
//!   files          every limit, as without systemd; hierarchies that systemd does not use
//!   clone          the container's process, born in the group or joining it
//!   settle         it is in: the holder may go
//!   ...
//!   SetUnitProperties, files     update
//!   StopUnit, ResetFailed        remove
//! ```

mod bus;
mod holder;
mod properties;
mod service;
mod unit;

use failure::Result;
use oci_spec::runtime::LinuxResources;

use super::{device, host};
use service::Manager;

pub(super) use holder::Holder;
pub(super) use unit::{Unit, is_root};

impl Unit {
    /// Where the unit's group is, or will be.
    pub(super) fn control_group(&self) -> Result<String> {
        let below = self.path_below_manager();
        if !self.is_of_user() {
            return Ok(below);
        }
        let manager = Manager::connect(true)?.control_group()?;
        Ok(format!("{}{below}", manager.trim_end_matches('/')))
    }

    /// Starts the scope with its limits; it lives as long as a process is in it, at first the holder.
    pub(super) fn start(&self, resources: &LinuxResources, with_devices: bool) -> Result<Holder> {
        let unified = host::version()? == host::Version::V2;
        let mut manager = Manager::connect(self.is_of_user())?;
        let version = manager.version()?;
        let rules = with_devices.then(|| device::specified(resources));
        let limits = properties::of_limits(resources, rules.as_deref(), unified, version)?;
        let holder = Holder::start()?;
        let mut all = properties::of_scope(self, holder.pid(), unified);
        all.extend(limits);
        manager.start(self.name(), &all)?;
        Ok(holder)
    }

    /// Tells systemd new limits.
    pub(super) fn update(&self, resources: &LinuxResources) -> Result<()> {
        let unified = host::version()? == host::Version::V2;
        let mut manager = Manager::connect(self.is_of_user())?;
        let version = manager.version()?;
        let rules = resources.devices().as_ref().is_some_and(|rules| !rules.is_empty());
        let rules = rules.then(|| device::specified(resources));
        match properties::of_limits(resources, rules.as_deref(), unified, version)? {
            none if none.is_empty() => Ok(()),
            limits => manager.set(self.name(), &limits),
        }
    }

    /// Stops the scope; one that is gone is a success.
    pub(super) fn stop(&self) -> Result<()> {
        Manager::connect(self.is_of_user())?.stop(self.name())
    }
}
