//! From the limits of an OCI spec to writes of control files.
//!
//! ```text
//!   LinuxResources --check.rs--> v1.rs, v2.rs: [Setting] --lacking--> nothing was made yet --apply--> control files
//! ```
//! A setting knows the option that a user gave, so that a refusal names it. Some pairs can only be written in one order,
//! which depends on the values before (memory and memory+swap, quota and period): settings that the kernel
//! refuses are tried again after the others, as long as that helps.

use std::borrow::Cow;
use std::fmt;

use failure::{Error, Kind, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice};
use rustix::io::Errno;

use super::path::Rules;
use super::{Controller, file};

/// What to do when the kernel does not have a limit at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// A limit that a container's neighbours rely on: refuse.
    Refuse,
    /// Go on without it, with a warning.
    Warn,
    /// The value says "unlimited": nothing is lost.
    Ignore,
}

/// One control file and what to write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    pub(super) file: Cow<'static, str>,
    pub(super) value: String,
    /// The file and value of kernels that lack the first.
    pub(super) otherwise: Option<(&'static str, String)>,
    /// The user's option and value, for messages.
    pub(super) option: &'static str,
    pub(super) asked: String,
    pub(super) absent: Absent,
}

impl Setting {
    pub(super) fn new(
        controller: Controller,
        file: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        option: &'static str,
        asked: impl fmt::Display,
    ) -> Self {
        let absent = Absent::Refuse;
        let (value, asked) = (value.to_string(), asked.to_string());
        Self { controller, file: file.into(), value, otherwise: None, option, asked, absent }
    }

    pub(super) fn when_absent(mut self, absent: Absent) -> Self {
        self.absent = absent;
        self
    }

    pub(super) fn or(mut self, file: &'static str, value: impl fmt::Display) -> Self {
        self.otherwise = Some((file, value.to_string()));
        self
    }
}

/// Writes all settings; `directory` says where each controller is, `None` if the kernel does not have it. Returns a
/// line for each limit that was left out.
pub(super) fn apply<'a>(
    settings: Vec<Setting>,
    directory: impl Fn(Controller) -> Option<&'a str>,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut pending = settings;
    loop {
        let tried = pending.len();
        let mut refused = Vec::new();
        for setting in pending {
            match write(&setting, directory(setting.controller)) {
                Ok(()) => {}
                Err(Errno::NOENT) => warnings.extend(missing(&setting)?),
                Err(errno) => refused.push((setting, errno)),
            }
        }
        let Some((setting, errno)) = refused.first() else { return Ok(warnings) };
        if refused.len() == tried {
            return Err(refusal(setting, *errno, directory(setting.controller)));
        }
        pending = refused.into_iter().map(|(setting, _)| setting).collect();
    }
}

/// What a request must not lose: under the specification's rules nothing is left out.
pub(super) fn under(rules: Rules, mut settings: Vec<Setting>) -> Vec<Setting> {
    if rules == Rules::Runtime {
        for setting in settings.iter_mut().filter(|setting| setting.absent == Absent::Warn) {
            setting.absent = Absent::Refuse;
        }
    }
    settings
}

/// Refuses limits that this machine is known not to have, before anything is made. `lacks` says so of a file.
pub(super) fn refuse_lacking(settings: &[Setting], lacks: impl Fn(Controller, &str) -> bool) -> Result<()> {
    let lacking = settings.iter().filter(|setting| setting.absent == Absent::Refuse).find(|setting| {
        let other = setting.otherwise.as_ref();
        lacks(setting.controller, &setting.file) && other.is_none_or(|(other, _)| lacks(setting.controller, other))
    });
    lacking.map_or(Ok(()), |setting| missing(setting).map(drop))
}

/// With `checkBeforeUpdate`: refuses a limit that is used up already, since v2 would kill to enforce it.
pub(super) fn check_usage(resources: &LinuxResources, usage_file: &str) -> Result<()> {
    let Some(memory) = resources.memory().as_ref().filter(|memory| memory.check_before_update() == Some(true)) else {
        return Ok(());
    };
    let Ok(used) = file::read_number(usage_file) else { return Ok(()) };
    for (option, limit) in [("memory-swap limit", memory.swap()), ("memory limit", memory.limit())] {
        if let Some(limit) = limit.filter(|limit| *limit > 0 && limit.cast_unsigned() <= used) {
            let (asked, used) = (Bytes(limit), Bytes(used.cast_signed()));
            let reason = format!("the container uses {used} already, and checkBeforeUpdate is set");
            return Err(Error::new(Kind::Busy, format!("{option} `{asked}` cannot be set: {reason}")));
        }
    }
    Ok(())
}

/// A limit that is given: zero means that it is not.
pub(super) fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// The throttles of a spec: the rate of a device, by direction and unit.
pub(super) fn throttles(
    resources: &LinuxResources,
) -> impl Iterator<Item = (&'static str, &LinuxThrottleDevice, Throttle)> {
    let io = resources.block_io().as_ref();
    let pick = move |option, kind, get: fn(&LinuxBlockIo) -> &Option<Vec<LinuxThrottleDevice>>| {
        io.and_then(|io| get(io).as_deref()).unwrap_or_default().iter().map(move |device| (option, device, kind))
    };
    pick("device-read-bps", Throttle::ReadBytes, LinuxBlockIo::throttle_read_bps_device)
        .chain(pick("device-write-bps", Throttle::WriteBytes, LinuxBlockIo::throttle_write_bps_device))
        .chain(pick("device-read-iops", Throttle::ReadOperations, LinuxBlockIo::throttle_read_iops_device))
        .chain(pick("device-write-iops", Throttle::WriteOperations, LinuxBlockIo::throttle_write_iops_device))
}

/// What a throttle counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Throttle {
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
}

fn write(setting: &Setting, directory: Option<&str>) -> rustix::io::Result<()> {
    let directory = directory.ok_or(Errno::NOENT)?;
    match (file::write(&format!("{directory}/{}", setting.file), &setting.value), &setting.otherwise) {
        (Err(Errno::NOENT), Some((other, value))) => file::write(&format!("{directory}/{other}"), value),
        (result, _) => result,
    }
}

/// The kernel has no such limit: an error, a warning, or nothing.
fn missing(setting: &Setting) -> Result<Option<String>> {
    let Setting { option, asked, file, .. } = setting;
    match setting.absent {
        Absent::Refuse => {
            let reason = format!("{option} `{asked}` cannot be set: this kernel has no `{file}`; leave the option out");
            Err(Error::unsupported(reason))
        }
        Absent::Warn => Ok(Some(format!("{option} `{asked}` is left out: this kernel has no `{file}`"))),
        Absent::Ignore => Ok(None),
    }
}

/// The kernel has the limit and does not take the value.
fn refusal(setting: &Setting, errno: Errno, directory: Option<&str>) -> Error {
    let Setting { option, asked, file, .. } = setting;
    let in_use =
        || directory.and_then(|directory| file::read_number(&format!("{directory}/{}", usage_file(file)?)).ok());
    let (kind, reason) = match (setting.controller, errno) {
        (Controller::Memory, Errno::BUSY) => {
            let used = in_use().map_or_else(String::new, |used| format!(" (it uses {})", Bytes(used.cast_signed())));
            (Kind::Busy, format!("the container uses more than that{used} and cannot give it back"))
        }
        (Controller::Memory, Errno::INVAL) if file.starts_with("memory.limit") || file.starts_with("memory.memsw") => {
            (Kind::Invalid, "memory and swap together must be at least the memory; set both".to_owned())
        }
        (Controller::Blkio, Errno::NODEV | Errno::NXIO) => (Kind::Invalid, "there is no such block device".to_owned()),
        (Controller::Rdma, Errno::NODEV) => (Kind::Invalid, "there is no such device".to_owned()),
        (_, Errno::INVAL | Errno::RANGE) => (Kind::Invalid, format!("the kernel does not take it for `{file}`")),
        (_, Errno::OPNOTSUPP) => (Kind::Unsupported, format!("this kernel no longer has `{file}`")),
        _ => {
            return Error::new(Kind::Internal, format!("{option} `{asked}`: write `{file}`"))
                .with_source(std::io::Error::from(errno));
        }
    };
    Error::new(kind, format!("{option} `{asked}` cannot be set: {reason}"))
}

fn usage_file(file: &str) -> Option<&'static str> {
    match file {
        "memory.limit_in_bytes" => Some("memory.usage_in_bytes"),
        "memory.memsw.limit_in_bytes" => Some("memory.memsw.usage_in_bytes"),
        "memory.max" => Some("memory.current"),
        _ => None,
    }
}

/// A number of bytes as a person writes it: whole units of 1024 where it is one.
pub(super) struct Bytes(pub(super) i64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "g"), (20, "m"), (10, "k")];
        match units.iter().find(|(shift, _)| self.0 > 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(formatter, "{}{unit}", self.0 >> shift),
            None => write!(formatter, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_whole_units() {
        assert_eq!(Bytes(64 << 20).to_string(), "64m");
        assert_eq!(Bytes((64 << 20) + 1).to_string(), "67108865");
        assert_eq!(Bytes(-1).to_string(), "-1");
    }
}
