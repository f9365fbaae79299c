//! When the container gets the processor and the disk: scheduling policy, priority of input and output, processors of
//! exec.
//!
//! Policy and priorities are set by the parent, just before the start: inside a user namespace nobody may raise them, and a
//! low one must not slow down what comes before. Real-time policies and negative niceness need CAP_SYS_NICE over the host.

use std::fmt;

use failure::{Context as _, Error, Kind, Result};
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
};
use rustix::process::Pid;
use rustix::thread::CapabilitySet;
use sys::schedule::Attributes;

use crate::cgroup::cpuset::List;

/// As many processors as Linux knows of.
const MOST_PROCESSORS: u32 = 8192;
/// All of them.
pub(crate) const EVERY_PROCESSOR: [u64; 128] = [u64::MAX; MOST_PROCESSORS as usize / u64::BITS as usize];
/// The shortest runtime of a deadline, in nanoseconds: the kernel counts no finer.
const SHORTEST_RUNTIME: u64 = 1024;

/// What the parent sets.
#[derive(Debug, Default)]
pub(crate) struct Scheduling {
    scheduler: Option<(LinuxSchedulerPolicy, Attributes)>,
    io: Option<LinuxIOPriority>,
}

impl Scheduling {
    pub(crate) fn read(process: &Process) -> Result<Self> {
        let scheduler = process.scheduler().as_ref().map(|wanted| Ok((*wanted.policy(), attributes(wanted)?)));
        let io = *process.io_priority();
        if let Some(io) = io.filter(|io| !(0..=7).contains(&io.priority())) {
            return Err(Error::invalid(format!("the I/O priority {} is not within 0 and 7", io.priority())));
        }
        Ok(Self { scheduler: scheduler.transpose()?, io })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.scheduler.is_none() && self.io.is_none()
    }

    pub(crate) fn give_to(&self, process: Pid) -> Result<()> {
        if let Some(io) = &self.io {
            sys::schedule::set_io_priority(process, io_priority(io)).context("cannot set the I/O priority")?;
        }
        if let Some((policy, attributes)) = self.scheduler {
            sys::schedule::set_attributes(process, attributes)
                .with_context(|| format!("cannot schedule the process with {policy}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Scheduling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        if let Some((policy, attributes)) = &self.scheduler {
            write!(formatter, "schedule it with {policy}, nice {}", attributes.nice)?;
            write!(formatter, ", priority {}", attributes.priority)?;
            between = "; ";
        }
        match &self.io {
            Some(io) => write!(formatter, "{between}give it the I/O priority {} {}", io.class(), io.priority()),
            None => Ok(()),
        }
    }
}

fn attributes(wanted: &Scheduler) -> Result<Attributes> {
    let policy = *wanted.policy();
    let refuse = |reason: &str| Err(Error::invalid(format!("the scheduling policy {policy} {reason}")));
    let (nice, priority) = (wanted.nice().unwrap_or(0), wanted.priority().unwrap_or(0));
    let time = |time: &Option<u64>| time.unwrap_or(0);
    let (runtime, deadline, period) = (time(wanted.runtime()), time(wanted.deadline()), time(wanted.period()));
    let real_time = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    let by_deadline = policy == LinuxSchedulerPolicy::SchedDeadline;
    if policy == LinuxSchedulerPolicy::SchedIso {
        return Err(Error::unsupported("no kernel has the scheduling policy SCHED_ISO; use another one"));
    }
    if !(-20..=19).contains(&nice) {
        return refuse("has a nice value that is not within -20 and 19");
    }
    if real_time && !(1..=99).contains(&priority) {
        return refuse("needs a priority within 1 and 99");
    }
    if !real_time && priority != 0 {
        return refuse("has no priority; use `nice`, or SCHED_FIFO or SCHED_RR");
    }
    if !by_deadline && (runtime, deadline, period) != (0, 0, 0) {
        return refuse("has no runtime, deadline and period; use SCHED_DEADLINE");
    }
    let longest = if period == 0 { deadline } else { period };
    if by_deadline && !(SHORTEST_RUNTIME <= runtime && runtime <= deadline && deadline <= longest) {
        return refuse("needs a runtime of 1024 ns or more, a deadline not below it, and a period not below that");
    }
    if (real_time || by_deadline || nice < 0) && !may_raise() {
        let line = format!("the scheduling policy {policy} with nice {nice} needs CAP_SYS_NICE, which is not there");
        return Err(Error::new(Kind::Denied, line));
    }
    let flags = wanted.flags().iter().flatten().fold(0, |flags, flag| flags | flag_bit(*flag));
    let (policy, priority) = (policy_number(policy), priority.unsigned_abs());
    Ok(Attributes { policy, flags, nice, priority, runtime, deadline, period })
}

fn may_raise() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE))
}

fn policy_number(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// The class above the level, as ioprio_set takes them; the level was checked.
fn io_priority(wanted: &LinuxIOPriority) -> u16 {
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    class << 13 | (wanted.priority() & 7) as u16
}

/// The processors of an exec, as bits.
#[derive(Debug, Default)]
pub(crate) struct Processors {
    /// Before it is in the container's group.
    pub(crate) initial: Option<Vec<u64>>,
    /// From then on.
    pub(crate) last: Option<Vec<u64>>,
}

impl Processors {
    /// Without a last list, an initial one ends with the move to the group: kernels from 6.2 on would remember it.
    pub(crate) fn read(process: &Process) -> Result<Self> {
        let Some(wanted) = process.exec_cpu_affinity() else { return Ok(Self::default()) };
        let initial = processors(wanted.initial())?;
        let last = processors(wanted.cpu_affinity_final())?;
        let last = last.or_else(|| initial.is_some().then(|| EVERY_PROCESSOR.to_vec()));
        Ok(Self { initial, last })
    }
}

fn processors(list: &Option<String>) -> Result<Option<Vec<u64>>> {
    match list.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => bits(text, MOST_PROCESSORS)
            .map(Some)
            .ok_or_else(|| Error::invalid(format!("`{text}` is no list of processors; give one as in `0-2,4`"))),
    }
}

/// A list of numbers as bits; none if it is no list, or if a number is too large.
pub(super) fn bits(text: &str, limit: u32) -> Option<Vec<u64>> {
    let mut words = vec![0_u64; limit as usize / u64::BITS as usize];
    for (first, last) in List::parse(text)?.ranges() {
        for number in *first..=*last {
            *words.get_mut((number / u64::BITS) as usize)? |= 1 << (number % u64::BITS);
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<Attributes> {
        attributes(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for wrong in [
            json!({"policy": "SCHED_ISO"}),
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            json!({"policy": "SCHED_FIFO"}),
            json!({"policy": "SCHED_RR", "priority": 100}),
            json!({"policy": "SCHED_BATCH", "runtime": 5}),
            json!({"policy": "SCHED_DEADLINE", "runtime": 20_000, "deadline": 10_000}),
            json!({"policy": "SCHED_DEADLINE", "runtime": 20_000, "deadline": 30_000, "period": 25_000}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        assert_eq!(read(json!({"policy": "SCHED_BATCH", "nice": 5})).unwrap().policy, 3);
        assert!(serde_json::from_value::<Scheduler>(json!({"policy": "SCHED_NEW"})).is_err());
    }

    #[test]
    fn lists_become_bits() {
        let word = |text| bits(text, 128).map(|words| (words[0], words[1]));
        assert_eq!(word("0-2,64"), Some((7, 1)));
        assert_eq!(word("128"), None);
        assert_eq!(word("x"), None);
        assert_eq!(bits("0-4000000000", 64), None);
    }
}
