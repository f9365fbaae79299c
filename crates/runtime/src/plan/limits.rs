//! Resource limits and the out-of-memory score: what can be granted, and a word on what cannot.
//!
//! Raising a hard limit, or making oneself a worse victim than one's parent was, takes CAP_SYS_RESOURCE over the host. Without it
//! the nearest thing is done, with a warning.

use failure::{Error, Result};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;

use super::action::Action;

/// A hard limit that the parent must raise for the child.
pub(crate) type Raised = (Resource, Rlimit);

/// The child's limits, and those that the parent raises first.
pub(crate) fn read(process: &Process, warnings: &mut Vec<String>) -> Result<(Vec<Action>, Vec<Raised>)> {
    let (mut actions, mut raised) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let (name, resource) = resource_of(limit.typ());
        if seen.contains(&name) {
            return Err(Error::invalid(format!("the limit `{name}` is given twice")));
        }
        seen.push(name);
        let mut wanted = checked(name, limit)?;
        let current = rustix::process::getrlimit(resource);
        if exceeds(wanted.maximum, current.maximum) {
            if may_raise() {
                raised.push((resource, Rlimit { current: current.current, maximum: wanted.maximum }));
            } else {
                let most = current.maximum.unwrap_or(u64::MAX);
                warnings.push(format!("the engine may not raise the limit `{name}` above {most}, which it has itself"));
                wanted.maximum = current.maximum;
                wanted.current =
                    if exceeds(wanted.current, current.maximum) { current.maximum } else { wanted.current };
            }
        }
        actions.push(Action::SetLimit { name: name.to_owned(), resource, limit: wanted });
    }
    Ok((actions, raised))
}

/// The score adjustment, as low as it may be.
pub(crate) fn oom_score(process: &Process, warnings: &mut Vec<String>) -> Result<Option<i32>> {
    let Some(wanted) = process.oom_score_adj() else { return Ok(None) };
    if !(-1000..=1000).contains(&wanted) {
        return Err(Error::invalid(format!("out-of-memory score adjustment {wanted} is not within -1000 and 1000")));
    }
    if may_raise() {
        return Ok(Some(wanted));
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    match own {
        Some(own) if wanted < own => {
            warnings.push(format!(
                "the engine may not set the out-of-memory score adjustment below {own}, which it has itself"
            ));
            Ok(None)
        }
        _ => Ok(Some(wanted)),
    }
}

fn may_raise() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

fn exceeds(wanted: Option<u64>, limit: Option<u64>) -> bool {
    wanted.unwrap_or(u64::MAX) > limit.unwrap_or(u64::MAX)
}

fn checked(name: &str, limit: &PosixRlimit) -> Result<Rlimit> {
    if limit.soft() > limit.hard() {
        return Err(Error::invalid(format!("the limit `{name}` has a soft value above its hard value")));
    }
    let amount = |value: u64| (value != u64::MAX).then_some(value);
    Ok(Rlimit { current: amount(limit.soft()), maximum: amount(limit.hard()) })
}

fn resource_of(kind: PosixRlimitType) -> (&'static str, Resource) {
    match kind {
        PosixRlimitType::RlimitCpu => ("cpu", Resource::Cpu),
        PosixRlimitType::RlimitFsize => ("fsize", Resource::Fsize),
        PosixRlimitType::RlimitData => ("data", Resource::Data),
        PosixRlimitType::RlimitStack => ("stack", Resource::Stack),
        PosixRlimitType::RlimitCore => ("core", Resource::Core),
        PosixRlimitType::RlimitRss => ("rss", Resource::Rss),
        PosixRlimitType::RlimitNproc => ("nproc", Resource::Nproc),
        PosixRlimitType::RlimitNofile => ("nofile", Resource::Nofile),
        PosixRlimitType::RlimitMemlock => ("memlock", Resource::Memlock),
        PosixRlimitType::RlimitAs => ("as", Resource::As),
        PosixRlimitType::RlimitLocks => ("locks", Resource::Locks),
        PosixRlimitType::RlimitSigpending => ("sigpending", Resource::Sigpending),
        PosixRlimitType::RlimitMsgqueue => ("msgqueue", Resource::Msgqueue),
        PosixRlimitType::RlimitNice => ("nice", Resource::Nice),
        PosixRlimitType::RlimitRtprio => ("rtprio", Resource::Rtprio),
        PosixRlimitType::RlimitRttime => ("rttime", Resource::Rttime),
    }
}
