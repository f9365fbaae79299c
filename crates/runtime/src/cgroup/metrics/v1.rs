//! v1's counters: a file for each number, in the hierarchy of its controller.
//!
//! Block devices are counted by whichever scheduler is there: BFQ, the old CFQ, or none, where the throttling layer
//! counts at least bytes and operations.

use std::collections::BTreeMap;

use super::{
    Amount, Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, HugePages, Memory, Metrics, Pids, Throttling, page_sizes, table,
};
use crate::cgroup::cpuset::List;
use crate::cgroup::{Controller, file};

/// Reads everything; `directory` says where a controller's part of the group is.
pub(in super::super) fn metrics<'a>(directory: impl Fn(Controller) -> Option<&'a str>) -> Metrics {
    Metrics {
        cpu: cpu(directory(Controller::Cpu), directory(Controller::Cpuacct)),
        cpuset: directory(Controller::Cpuset).map(cpuset).unwrap_or_default(),
        memory: directory(Controller::Memory).map(memory).unwrap_or_default(),
        pids: directory(Controller::Pids).map(pids).unwrap_or_default(),
        blkio: directory(Controller::Blkio).map(blkio).unwrap_or_default(),
        hugetlb: directory(Controller::Hugetlb).map(hugetlb).unwrap_or_default(),
    }
}

fn number(directory: &str, name: &str) -> u64 {
    file::read_number(&format!("{directory}/{name}")).unwrap_or(0)
}

fn text(directory: &str, name: &str) -> String {
    file::read(&format!("{directory}/{name}")).unwrap_or_default()
}

fn cpu(cpu: Option<&str>, accounts: Option<&str>) -> Cpu {
    let throttling = cpu.map(|directory| {
        let stat = table(&text(directory, "cpu.stat"));
        let of = |key: &str| stat.get(key).copied().unwrap_or(0);
        Throttling {
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled_time: of("throttled_time"),
        }
    });
    let usage = accounts.map(|directory| {
        let numbers = |text: &str| text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // `cpu user system`, under a line of these words.
        let all = text(directory, "cpuacct.usage_all");
        let column = |index: usize| {
            all.lines().skip(1).filter_map(|line| line.split(' ').nth(index)?.parse().ok()).collect::<Vec<u64>>()
        };
        CpuUsage {
            total: number(directory, "cpuacct.usage"),
            percpu: numbers(&text(directory, "cpuacct.usage_percpu")),
            percpu_kernel: column(2),
            percpu_user: column(1),
            kernel: number(directory, "cpuacct.usage_sys"),
            user: number(directory, "cpuacct.usage_user"),
        }
    });
    Cpu { usage: usage.unwrap_or_default(), throttling: throttling.unwrap_or_default(), psi: None }
}

fn cpuset(directory: &str) -> Cpuset {
    let list = |name: &str| List::parse(&text(directory, name)).map(|list| list.numbers()).unwrap_or_default();
    let flag = |name: &str| number(directory, &format!("cpuset.{name}"));
    Cpuset {
        cpus: list("cpuset.cpus"),
        cpu_exclusive: flag("cpu_exclusive"),
        mems: list("cpuset.mems"),
        mem_hardwall: flag("mem_hardwall"),
        mem_exclusive: flag("mem_exclusive"),
        memory_migrate: flag("memory_migrate"),
        memory_spread_page: flag("memory_spread_page"),
        memory_spread_slab: flag("memory_spread_slab"),
        memory_pressure: flag("memory_pressure"),
        sched_load_balance: flag("sched_load_balance"),
        sched_relax_domain_level: text(directory, "cpuset.sched_relax_domain_level").trim().parse().unwrap_or(0),
    }
}

fn memory(directory: &str) -> Memory {
    let amount = |part: &str| Amount {
        limit: number(directory, &format!("memory.{part}limit_in_bytes")),
        usage: number(directory, &format!("memory.{part}usage_in_bytes")),
        max: number(directory, &format!("memory.{part}max_usage_in_bytes")),
        failcnt: number(directory, &format!("memory.{part}failcnt")),
    };
    let raw = table(&text(directory, "memory.stat"));
    Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: amount(""),
        swap: amount("memsw."),
        kernel: amount("kmem."),
        kernel_tcp: amount("kmem.tcp."),
        raw,
        psi: None,
    }
}

fn pids(directory: &str) -> Pids {
    Pids { current: number(directory, "pids.current"), limit: number(directory, "pids.max") }
}

fn blkio(directory: &str) -> Blkio {
    let first = |names: &[&str]| {
        names
            .iter()
            .map(|name| entries(&text(directory, &format!("blkio.{name}_recursive"))))
            .find(|found| !found.is_empty())
    };
    let of = |name: &str| first(&[&format!("bfq.{name}"), name]).unwrap_or_default();
    let or_throttled =
        |name: &str| first(&[&format!("bfq.{name}"), name, &format!("throttle.{name}")]).unwrap_or_default();
    Blkio {
        io_service_bytes_recursive: or_throttled("io_service_bytes"),
        io_serviced_recursive: or_throttled("io_serviced"),
        io_queued_recursive: of("io_queued"),
        io_service_time_recursive: of("io_service_time"),
        io_wait_time_recursive: of("io_wait_time"),
        io_merged_recursive: of("io_merged"),
        io_time_recursive: of("time"),
        sectors_recursive: of("sectors"),
        psi: None,
    }
}

/// `8:0 Read 4096`, or `8:0 4096` where there is one operation; the sum over all devices has no number and is left out.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let read = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.trim().parse().ok()?,
        })
    };
    text.lines().filter_map(read).collect()
}

fn hugetlb(directory: &str) -> BTreeMap<String, HugePages> {
    let pages = |size: String| {
        // What is reserved counts, where the kernel tells it apart.
        let reserved = format!("hugetlb.{size}.rsvd");
        let part = if file::read(&format!("{directory}/{reserved}.usage_in_bytes")).is_ok() {
            reserved
        } else {
            format!("hugetlb.{size}")
        };
        let of = |name: &str| number(directory, &format!("{part}.{name}"));
        (size, HugePages { usage: of("usage_in_bytes"), max: of("max_usage_in_bytes"), failcnt: of("failcnt") })
    };
    page_sizes(directory, ".limit_in_bytes").into_iter().map(pages).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_devices() {
        let found = entries("8:0 Read 100\n8:0 Total 107\n8:16 9\nTotal 116\n");
        let text: Vec<String> = found.iter().map(|e| format!("{}:{} {} {}", e.major, e.minor, e.op, e.value)).collect();
        assert_eq!(text, ["8:0 Read 100", "8:0 Total 107", "8:16  9"]);
    }
}
