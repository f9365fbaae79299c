//! The limits of a specification as properties of a systemd unit, so that systemd does not undo what is written to the
//! files, and `systemctl show` tells the truth.
//!
//! | limit | v1 | v2 |
//! |---|---|---|
//! | memory | `MemoryLimit` | `MemoryMax`, `MemoryLow`, `MemorySwapMax` |
//! | cpu shares | `CPUShares` | `CPUWeight`; 0 is `cpu.idle` |
//! | cpu quota | `CPUQuotaPerSecUSec`, `CPUQuotaPeriodUSec` | the same |
//! | cpuset | `AllowedCPUs`, `AllowedMemoryNodes` as bits | the same |
//! | pids | `TasksMax` | the same |
//! | blkio weight | `BlockIOWeight` | - |
//! | devices | `DevicePolicy`, `DeviceAllow` | the same |
//! | unified | - | those of the above that have a file of their own |
//!
//! What has no property, or needs a newer systemd, is in the files alone; all of it is written there in any case. That is
//! allowed: the unit is delegated.

use failure::{Error, Result};
use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxResources};

use super::bus::Value;
use super::unit::Unit;
use crate::cgroup::cpuset::List;
use crate::cgroup::device;
use crate::cgroup::limits::given;
use crate::cgroup::v2::{self, Current};

/// A unit's property.
pub(super) type Property = (String, Value);

/// The versions of systemd that first have `CPUQuotaPeriodUSec`, `AllowedCPUs`, and a `CPUWeight` of 0.
const QUOTA_PERIOD: u32 = 242;
const ALLOWED_CPUS: u32 = 244;
const IDLE: u32 = 252;
/// systemd's "infinity".
const INFINITY: u64 = u64::MAX;

/// What every scope has.
pub(super) fn of_scope(unit: &Unit, process: u32, unified: bool) -> Vec<Property> {
    let io = if unified { "IOAccounting" } else { "BlockIOAccounting" };
    let mut properties = vec![
        property("Description", Value::Text(format!("container {}", unit.name()))),
        property("Slice", Value::Text(unit.slice().to_owned())),
        property("Delegate", Value::Flag(true)),
        property("PIDs", Value::Numbers(vec![process])),
        property("DefaultDependencies", Value::Flag(false)),
    ];
    let accounts = ["MemoryAccounting", "CPUAccounting", "TasksAccounting", io];
    properties.extend(accounts.map(|name| property(name, Value::Flag(true))));
    properties
}

/// The properties of the limits that are given. `rules` are the device rules in force, `None` to leave them.
pub(super) fn of_limits(
    resources: &LinuxResources,
    rules: Option<&[LinuxDeviceCgroup]>,
    unified: bool,
    version: u32,
) -> Result<Vec<Property>> {
    let mut properties = rules.map(devices).unwrap_or_default();
    let mut push = |name: &str, value: Option<u64>| {
        properties.extend(value.map(|value| property(name, Value::Number(value))));
    };
    if let Some(memory) = resources.memory() {
        let limit = given(memory.limit());
        push(if unified { "MemoryMax" } else { "MemoryLimit" }, limit.map(infinite_below_zero));
        if unified {
            push("MemoryLow", given(memory.reservation()).map(infinite_below_zero));
            let swap = v2::swap(memory, &Current::default()).ok().flatten();
            push("MemorySwapMax", swap.map(infinite_below_zero));
        }
    }
    let pids = given(resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit));
    push("TasksMax", pids.map(infinite_below_zero));
    if let Some(weight) = resources.block_io().as_ref().and_then(oci_spec::runtime::LinuxBlockIo::weight)
        && !unified
    {
        push("BlockIOWeight", Some(u64::from(weight)).filter(|weight| *weight != 0));
    }
    if let Some(cpu) = resources.cpu() {
        of_cpu(cpu, unified, version, &mut properties);
    }
    if unified {
        of_unified(resources, version, &mut properties)?;
    }
    Ok(properties)
}

fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

fn infinite_below_zero(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(INFINITY)
}

fn of_cpu(cpu: &LinuxCpu, unified: bool, version: u32, properties: &mut Vec<Property>) {
    let shares = cpu.shares().filter(|shares| *shares != 0);
    let idle = unified && cpu.idle() == Some(1) && version >= IDLE;
    let weight = match (idle, shares) {
        (true, _) => Some(("CPUWeight", 0)),
        (false, Some(shares)) if unified => Some(("CPUWeight", v2::weight_of_shares(shares))),
        (false, shares) => shares.map(|shares| ("CPUShares", shares)),
    };
    properties.extend(weight.map(|(name, weight)| property(name, Value::Number(weight))));
    quota(given(cpu.quota()), cpu.period().filter(|period| *period != 0), version, properties);
    for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
        let list = list.as_deref().filter(|list| !list.is_empty() && version >= ALLOWED_CPUS);
        let bits = list.and_then(List::parse).and_then(|list| list.bits());
        properties.extend(bits.map(|bits| property(name, Value::Bytes(bits))));
    }
}

/// systemd keeps a share of a second, in whole percents of a CPU: rounded up, so that the file's own value fits in.
fn quota(quota: Option<i64>, period: Option<u64>, version: u32, properties: &mut Vec<Property>) {
    const DEFAULT_PERIOD: u64 = 100_000;
    const PERCENT: u64 = 10_000;
    if let Some(period) = period.filter(|_| version >= QUOTA_PERIOD) {
        properties.push(property("CPUQuotaPeriodUSec", Value::Number(period)));
    }
    if quota.is_none() && period.is_none() {
        return;
    }
    let share = quota.and_then(|quota| u64::try_from(quota).ok()).map(|quota| {
        let share = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(DEFAULT_PERIOD));
        u64::try_from(share).unwrap_or(INFINITY - PERCENT).next_multiple_of(PERCENT)
    });
    properties.push(property("CPUQuotaPerSecUSec", Value::Number(share.unwrap_or(INFINITY))));
}

/// The files of v2 that have a property.
fn of_unified(resources: &LinuxResources, version: u32, properties: &mut Vec<Property>) -> Result<()> {
    let mut files: Vec<(&String, &String)> = resources.unified().iter().flatten().collect();
    files.sort();
    for (name, value) in files {
        let value = value.trim();
        let refused =
            || Error::invalid(format!("unified limit `{name}={value}` cannot be set: it is no value for that file"));
        let amount = || match value {
            "max" => Ok(INFINITY),
            number => number.parse().map_err(|_| refused()),
        };
        let simple = match &**name {
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.max" => "MemoryMax",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            _ => "",
        };
        if !simple.is_empty() {
            properties.push(property(simple, Value::Number(amount()?)));
            continue;
        }
        match &**name {
            "cpu.max" => {
                let mut words = value.split_whitespace();
                let share = words.next().ok_or_else(refused)?;
                let share = if share == "max" { -1 } else { share.parse().map_err(|_| refused())? };
                let period = words.next().map(str::parse).transpose().map_err(|_| refused())?;
                quota(Some(share), period.filter(|period| *period != 0), version, properties);
            }
            "cpuset.cpus" | "cpuset.mems" if version >= ALLOWED_CPUS => {
                let bits = List::parse(value).and_then(|list| list.bits()).ok_or_else(refused)?;
                let name = if name == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                properties.push(property(name, Value::Bytes(bits)));
            }
            "memory.oom.group" if matches!(value, "0" | "1") => {
                let policy = if value == "1" { "kill" } else { "continue" };
                properties.push(property("OOMPolicy", Value::Text(policy.to_owned())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// systemd has lists of what is allowed and nothing else. Rules that are no such list are left to our own program.
fn devices(rules: &[LinuxDeviceCgroup]) -> Vec<Property> {
    let strict = |allowed: Vec<(String, String)>, policy: &str| {
        vec![
            property("DevicePolicy", Value::Text(policy.to_owned())),
            // An empty list empties what was there.
            property("DeviceAllow", Value::Pairs(Vec::new())),
            property("DeviceAllow", Value::Pairs(allowed)),
        ]
    };
    match device::allowed(rules) {
        Some(allowed) => strict(allowed.into_iter().filter_map(entry).collect(), "strict"),
        None => strict(Vec::new(), "auto"),
    }
}

/// `/dev/char/1:3`, `char-136`, `char-*`; a number of any major has no name there.
fn entry((letter, major, minor, access): device::Allowed) -> Option<(String, String)> {
    let kind = if letter == 'b' { "block" } else { "char" };
    let path = match (major, minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    };
    Some((path, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, unified: bool, version: u32) -> Vec<String> {
        let properties = of_limits(&serde_json::from_str(json).unwrap(), None, unified, version).unwrap();
        properties.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    #[test]
    fn limits_become_properties() {
        let json = r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":4096},"pids":{"limit":-1},
            "cpu":{"shares":1024,"quota":25001,"period":50000,"cpus":"0-1,8","mems":"0"},"blockIO":{"weight":300}}"#;
        assert_eq!(
            of(json, true, 252),
            [
                "MemoryMax=Number(1048576)",
                "MemoryLow=Number(4096)",
                "MemorySwapMax=Number(1048576)",
                "TasksMax=Number(18446744073709551615)",
                "CPUWeight=Number(100)",
                "CPUQuotaPeriodUSec=Number(50000)",
                "CPUQuotaPerSecUSec=Number(510000)",
                "AllowedCPUs=Bytes([3, 1])",
                "AllowedMemoryNodes=Bytes([1])",
            ]
        );
        assert_eq!(
            of(json, false, 241),
            [
                "MemoryLimit=Number(1048576)",
                "TasksMax=Number(18446744073709551615)",
                "BlockIOWeight=Number(300)",
                "CPUShares=Number(1024)",
                "CPUQuotaPerSecUSec=Number(510000)",
            ]
        );
        assert_eq!(of(r#"{"cpu":{"idle":1,"shares":500}}"#, true, 252), ["CPUWeight=Number(0)"]);
        assert_eq!(of(r#"{"cpu":{"quota":-1}}"#, true, 252), ["CPUQuotaPerSecUSec=Number(18446744073709551615)"]);
        assert!(of("{}", true, 252).is_empty());
    }

    #[test]
    fn unified_files_become_properties() {
        let json = r#"{"unified":{"memory.max":"max","cpu.max":"10000 50000","pids.max":"5","hugetlb.2MB.max":"0",
            "memory.oom.group":"1","cpuset.cpus":"1"}}"#;
        assert_eq!(
            of(json, true, 252),
            [
                "CPUQuotaPeriodUSec=Number(50000)",
                "CPUQuotaPerSecUSec=Number(200000)",
                "AllowedCPUs=Bytes([2])",
                "MemoryMax=Number(18446744073709551615)",
                "OOMPolicy=Text(\"kill\")",
                "TasksMax=Number(5)",
            ]
        );
        for bad in [
            r#"{"unified":{"memory.max":"x"}}"#,
            r#"{"unified":{"cpu.max":"1 x"}}"#,
            r#"{"unified":{"cpuset.cpus":"0-99999"}}"#,
        ] {
            assert!(of_limits(&serde_json::from_str(bad).unwrap(), None, true, 252).is_err(), "{bad}");
        }
    }

    #[test]
    fn device_rules_become_a_list() {
        let rules = |json: &str| serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap();
        let shown = |rules: &[LinuxDeviceCgroup]| {
            devices(rules).into_iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>()
        };
        let listed = rules(
            r#"[{"allow":false},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
            {"allow":true,"type":"b","major":8,"access":"r"},{"allow":true,"type":"c","access":"m"}]"#,
        );
        assert_eq!(
            shown(&listed),
            [
                "DevicePolicy=Text(\"strict\")",
                "DeviceAllow=Pairs([])",
                "DeviceAllow=Pairs([(\"block-8\", \"r\"), (\"char-*\", \"m\"), (\"/dev/char/1:3\", \"rwm\")])",
            ]
        );
        for open in [r#"[{"allow":true}]"#, r#"[{"allow":true},{"allow":false,"type":"b","access":"w"}]"#] {
            assert_eq!(shown(&rules(open))[0], "DevicePolicy=Text(\"auto\")");
        }
    }
}
