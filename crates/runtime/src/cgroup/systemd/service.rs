//! systemd's manager: starting, changing and stopping a scope, each until its job is done.
//!
//! ```text
//!   root        /run/systemd/private              systemd itself; no daemon needs to run
//!               /run/dbus/system_bus_socket       where that is refused
//!   a user      /run/user/<uid>/systemd/private   the user's own manager
//!               /run/user/<uid>/bus
//! ```
//! A job's end is a signal: a call that starts one returns before it is done.

use std::path::PathBuf;

use failure::{Error, Kind, Result};

use super::bus::{Answer, Body, Connection, Method, PATIENCE, Refusal, Value};
use crate::cgroup::file;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A connection to the machine's manager, or to a user's.
#[derive(Debug)]
pub(super) struct Manager {
    connection: Connection,
}

impl Manager {
    /// Connects.
    pub(super) fn connect(user: bool) -> Result<Self> {
        let base = if user { format!("/run/user/{}", owner()) } else { "/run".to_owned() };
        let bus = if user { format!("{base}/bus") } else { "/run/dbus/system_bus_socket".to_owned() };
        let peer = PathBuf::from(format!("{base}/systemd/private"));
        let bus = PathBuf::from(bus);
        let connection = match Connection::open(&peer, None) {
            Ok(connection) => connection,
            Err(first) => Connection::open(&bus, Some(NAME)).map_err(|_| {
                let whose = if user { "the user's systemd" } else { "systemd" };
                let reason = format!("{whose} cannot be reached; leave out `--systemd-cgroup`");
                Error::unsupported(reason).with_source(first)
            })?,
        };
        let mut manager = Self { connection };
        manager.connection.listen_to(
            "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
        )?;
        // Only a daemon's subscribers get signals; a peer's are sent in any case.
        let _ = manager.call("Subscribe", "", Body::default(), |_| Some(()))?;
        Ok(manager)
    }

    /// Its version, of which the first number counts: `252.38-1~deb12u1` is 252.
    pub(super) fn version(&mut self) -> Result<u32> {
        let text = self.property("Version")?;
        let digits = text.trim_start_matches(['"', 'v']);
        let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().map_err(|_| Error::internal(format!("systemd has the version `{text}`")))
    }

    /// The group that it keeps its units below.
    pub(super) fn control_group(&mut self) -> Result<String> {
        self.property("ControlGroup")
    }

    /// Starts a transient unit. A failed one of this name is a leftover: it is forgotten, once.
    pub(super) fn start(&mut self, unit: &str, properties: &[(String, Value)]) -> Result<()> {
        for attempt in 0..2 {
            let body = || Body::default().text(unit).text("fail").properties(properties).nothing();
            let job =
                self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body(), |reader| reader.text().map(str::to_owned))?;
            match job {
                Ok(job) => {
                    return match &*self.await_job(&job)? {
                        "done" => Ok(()),
                        result => {
                            self.forget(unit)?;
                            Err(Error::internal(format!(
                                "systemd could not start `{unit}`: the job ended as `{result}`"
                            )))
                        }
                    };
                }
                Err(refusal) if refusal.name.ends_with(".UnitExists") && attempt == 0 => self.forget(unit)?,
                Err(refusal) if refusal.name.ends_with(".UnitExists") => {
                    let reason = "is the container running?";
                    return Err(Error::conflict(format!("the systemd unit `{unit}` exists already; {reason}")));
                }
                Err(refusal) => return Err(refused("start", unit, &refusal)),
            }
        }
        Err(Error::internal(format!("the systemd unit `{unit}` cannot be started")))
    }

    /// Changes properties until the next start of the machine.
    pub(super) fn set(&mut self, unit: &str, properties: &[(String, Value)]) -> Result<()> {
        let body = Body::default().text(unit).flag(true).properties(properties);
        let changed = self.call("SetUnitProperties", "sba(sv)", body, |_| Some(()))?;
        changed.map_err(|refusal| refused("change", unit, &refusal))
    }

    /// Stops a unit and forgets it; one that is gone is a success.
    pub(super) fn stop(&mut self, unit: &str) -> Result<()> {
        let body = Body::default().text(unit).text("replace");
        match self.call("StopUnit", "ss", body, |reader| reader.text().map(str::to_owned))? {
            Ok(job) => drop(self.await_job(&job)?),
            Err(refusal) if refusal.name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(refusal) => return Err(refused("stop", unit, &refusal)),
        }
        self.forget(unit)
    }

    /// Lets a failed unit go.
    fn forget(&mut self, unit: &str) -> Result<()> {
        // Where there is nothing to forget, that is as good.
        let _ = self.call("ResetFailedUnit", "s", Body::default().text(unit), |_| Some(()))?;
        Ok(())
    }

    /// How a job ended: `done`, `failed`, `canceled` ...
    fn await_job(&mut self, job: &str) -> Result<String> {
        self.connection
            .await_signal("JobRemoved", |reader| {
                reader.number()?;
                (reader.text()? == job).then_some(())?;
                reader.text()?;
                reader.text().map(str::to_owned)
            })
            .map_err(|error| match error.kind() {
                Kind::Busy => {
                    let seconds = PATIENCE.as_secs();
                    Error::new(Kind::Busy, format!("systemd does not finish its job within {seconds} seconds"))
                }
                _ => error,
            })
    }

    fn property(&mut self, name: &str) -> Result<String> {
        let method = Method { path: PATH, interface: PROPERTIES, member: "Get", signature: "ss" };
        let body = Body::default().text(MANAGER).text(name);
        let value = self.connection.call(method, body, |reader| reader.text_in_variant().map(str::to_owned))?;
        value.map_err(|refusal| refused("ask for", name, &refusal))
    }

    fn call<T>(
        &mut self,
        member: &str,
        signature: &str,
        body: Body,
        read: impl FnOnce(&mut super::bus::Reader<'_>) -> Option<T>,
    ) -> Answer<T> {
        self.connection.call(Method { path: PATH, interface: MANAGER, member, signature }, body, read)
    }
}

fn refused(verb: &str, what: &str, refusal: &Refusal) -> Error {
    Error::internal(format!("systemd refuses to {verb} `{what}`: {} ({})", refusal.message, refusal.name))
}

/// Who this process is outside of its user namespace: its directory below `/run/user` is named so.
fn owner() -> u32 {
    let user = rustix::process::geteuid().as_raw();
    let map = file::read("/proc/self/uid_map").unwrap_or_default();
    outside(&map, user).unwrap_or(user)
}

/// `inside outside count` lines.
fn outside(map: &str, user: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        (user >= inside && user - inside < count).then(|| outside + (user - inside))
    })
}

#[cfg(test)]
mod tests {
    use super::outside;

    #[test]
    fn a_user_is_found_outside_of_the_namespace() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!((outside(map, 0), outside(map, 5), outside(map, 70_000)), (Some(1000), Some(100_004), None));
    }
}
