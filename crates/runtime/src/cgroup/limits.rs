//! From the limits of an OCI spec to writes of control files.
//!
//! ```text
//!   LinuxResources --check--> [Setting] --apply--> control files
//!                    |            \ v1.rs, v2.rs say which file and which value
//!                    \ values that no kernel takes are refused here, with the bound
//! ```
//! A setting knows the option that a user gave, so that a refusal names it. Some pairs can only be written in one order,
//! which depends on the values before (memory and memory+swap, quota and period): settings that the kernel
//! refuses are tried again after the others, as long as that helps.

use std::borrow::Cow;
use std::fmt;

use failure::{Error, Kind, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use rustix::io::Errno;

use super::{Controller, file};

/// Docker's lower bound: below it a process is killed before its program starts.
pub const MINIMUM_MEMORY: i64 = 6 << 20;
/// The kernel's bounds for the period and the quota of CPU time, in microseconds.
const CPU_PERIOD: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const MINIMUM_QUOTA: i64 = 1_000;
/// The kernel's own limit of process ids.
const MAXIMUM_PIDS: i64 = 4_194_304;
const BLKIO_WEIGHT: std::ops::RangeInclusive<u16> = 10..=1_000;

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

/// Refuses values that no kernel takes, and combinations that make no sense, before anything is made.
pub(super) fn check(resources: &LinuxResources) -> Result<()> {
    if let Some(memory) = resources.memory() {
        check_memory(memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        check_cpu(cpu)?;
    }
    if let Some(pids) = resources.pids()
        && pids.limit() > MAXIMUM_PIDS
    {
        return Err(out_of_range("pids limit", pids.limit(), &format!("at most {MAXIMUM_PIDS}")));
    }
    match resources.block_io().as_ref().and_then(LinuxBlockIo::weight) {
        Some(weight) if weight != 0 && !BLKIO_WEIGHT.contains(&weight) => {
            Err(out_of_range("blkio weight", weight, "from 10 to 1000"))
        }
        _ => Ok(()),
    }
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

fn check_memory(memory: &LinuxMemory) -> Result<()> {
    let limit = given(memory.limit()).filter(|limit| *limit > 0);
    let swap = given(memory.swap()).filter(|swap| *swap > 0);
    if let Some(limit) = limit.filter(|limit| *limit < MINIMUM_MEMORY) {
        return Err(out_of_range("memory limit", Bytes(limit), "at least 6 MiB"));
    }
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap < limit
    {
        let reason = format!("at least the memory limit `{}`, since it is memory and swap together", Bytes(limit));
        return Err(out_of_range("memory-swap limit", Bytes(swap), &reason));
    }
    if let (Some(limit), Some(reservation)) = (limit, given(memory.reservation()))
        && reservation > limit
    {
        let reason = format!("at most the memory limit `{}`", Bytes(limit));
        return Err(out_of_range("memory reservation", Bytes(reservation), &reason));
    }
    match memory.swappiness() {
        Some(swappiness) if swappiness > 100 => Err(out_of_range("memory swappiness", swappiness, "from 0 to 100")),
        _ => Ok(()),
    }
}

fn check_cpu(cpu: &LinuxCpu) -> Result<()> {
    if let Some(period) = cpu.period().filter(|period| *period != 0 && !CPU_PERIOD.contains(period)) {
        return Err(out_of_range("cpu period", period, "from 1000 to 1000000 microseconds"));
    }
    match given(cpu.quota()) {
        Some(quota) if quota > 0 && quota < MINIMUM_QUOTA => {
            Err(out_of_range("cpu quota", quota, "at least 1000 microseconds, which is `--cpus 0.01`"))
        }
        _ => Ok(()),
    }
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

fn out_of_range(option: &str, value: impl fmt::Display, bound: &str) -> Error {
    Error::invalid(format!("{option} `{value}` is out of range: it must be {bound}"))
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

    fn refused(json: &str) -> String {
        check(&serde_json::from_str(json).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_no_kernel_takes_is_refused_with_the_bound() {
        assert_eq!(
            refused(r#"{"memory":{"limit":4194304}}"#),
            "memory limit `4m` is out of range: it must be at least 6 MiB"
        );
        assert!(refused(r#"{"memory":{"limit":67108864,"swap":33554432}}"#).starts_with("memory-swap limit `32m`"));
        assert!(refused(r#"{"memory":{"limit":67108864,"reservation":134217728}}"#).contains("`64m`"));
        assert!(refused(r#"{"cpu":{"quota":999}}"#).contains("at least 1000"));
        assert!(refused(r#"{"cpu":{"period":999}}"#).contains("from 1000 to 1000000"));
        assert!(refused(r#"{"cpu":{"period":1000001}}"#).contains("cpu period `1000001`"));
        assert!(refused(r#"{"pids":{"limit":4194305}}"#).contains("4194304"));
        assert!(refused(r#"{"blockIO":{"weight":5}}"#).contains("from 10 to 1000"));
        assert!(refused(r#"{"memory":{"swappiness":101}}"#).contains("from 0 to 100"));
    }

    #[test]
    fn zero_and_minus_one_are_never_out_of_range() {
        let json = r#"{"memory":{"limit":-1,"swap":-1,"reservation":0},"cpu":{"quota":-1,"period":0,"shares":0},"pids":{"limit":-1}}"#;
        assert!(check(&serde_json::from_str(json).unwrap()).is_ok());
    }

    #[test]
    fn bytes_are_shown_in_whole_units() {
        assert_eq!(Bytes(64 << 20).to_string(), "64m");
        assert_eq!(Bytes((64 << 20) + 1).to_string(), "67108865");
        assert_eq!(Bytes(-1).to_string(), "-1");
    }
}
