//! v2's counters, brought to v1's form.
//!
//! | v2 | here |
//! |---|---|
//! | `memory.swap.current`, `memory.swap.max` | swap and memory together |
//! | `memory.stat` `file` | cache |
//! | `io.stat` `rbytes=`, `wios=` | tables of `Read` and `Write` |
//! | `usage_usec` | nanoseconds |
//! | `max` | the highest number; zero for processes |

use std::collections::BTreeMap;

use super::{
    Amount, Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, HugePages, Memory, Metrics, Pids, Pressure, Stall, Throttling,
    page_sizes, table,
};
use crate::cgroup::file;

/// Reads everything of the group whose directory this is.
pub(in super::super) fn metrics(directory: &str) -> Metrics {
    let path = |name: &str| format!("{directory}/{name}");
    let text = |name: &str| file::read(&path(name)).unwrap_or_default();
    Metrics {
        cpu: cpu(&text("cpu.stat"), pressure(&text("cpu.pressure"))),
        cpuset: Cpuset::default(),
        memory: memory(text, pressure(&text("memory.pressure"))),
        pids: Pids {
            current: file::read_number(&path("pids.current")).unwrap_or(0),
            limit: file::read_number(&path("pids.max")).unwrap_or(0),
        },
        blkio: blkio(&text("io.stat"), pressure(&text("io.pressure"))),
        hugetlb: hugetlb(directory, text),
    }
}

fn cpu(stat: &str, psi: Option<Pressure>) -> Cpu {
    let stat = table(stat);
    let of = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| of(key).saturating_mul(1000);
    Cpu {
        usage: CpuUsage {
            total: nanoseconds("usage_usec"),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        },
        psi,
    }
}

fn memory(text: impl Fn(&str) -> String, psi: Option<Pressure>) -> Memory {
    let number = |name: &str| text(name).trim().parse().unwrap_or(0);
    let limit = |name: &str| match text(name).trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    };
    let raw = table(&text("memory.stat"));
    let usage = Amount {
        limit: limit("memory.max"),
        usage: number("memory.current"),
        max: number("memory.peak"),
        failcnt: file::keyed(&text("memory.events"), "max").unwrap_or(0),
    };
    let swap = Amount {
        limit: limit("memory.swap.max").saturating_add(usage.limit),
        usage: number("memory.swap.current").saturating_add(usage.usage),
        max: 0,
        failcnt: 0,
    };
    Memory { cache: raw.get("file").copied().unwrap_or(0), usage, swap, raw, psi, ..Memory::default() }
}

fn blkio(stat: &str, psi: Option<Pressure>) -> Blkio {
    let mut found = Blkio { psi, ..Blkio::default() };
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (table, op) = match key {
                "rbytes" => (&mut found.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut found.io_service_bytes_recursive, "Write"),
                "rios" => (&mut found.io_serviced_recursive, "Read"),
                "wios" => (&mut found.io_serviced_recursive, "Write"),
                _ => continue,
            };
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    found
}

fn hugetlb(directory: &str, text: impl Fn(&str) -> String) -> BTreeMap<String, HugePages> {
    let pages = |size: String| {
        let reserved = text(&format!("hugetlb.{size}.rsvd.current"));
        let current = if reserved.is_empty() { text(&format!("hugetlb.{size}.current")) } else { reserved };
        let failcnt = file::keyed(&text(&format!("hugetlb.{size}.events")), "max").unwrap_or(0);
        (size, HugePages { usage: current.trim().parse().unwrap_or(0), max: 0, failcnt })
    };
    page_sizes(directory, ".max").into_iter().map(pages).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn pressure(text: &str) -> Option<Pressure> {
    let stall = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let of = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let average = |key: &str| of(key).and_then(|value| value.parse().ok()).unwrap_or(0.0);
        Some(Stall {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: of("total").and_then(|value| value.parse().ok()).unwrap_or(0),
        })
    };
    Some(Pressure { some: stall("some ")?, full: stall("full ").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_by_its_keys() {
        let text =
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.10 total=6\n";
        let found = pressure(text).unwrap();
        assert_eq!((found.some.avg10, found.some.total, found.full.avg300), (1.5, 12345, 0.1));
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn memory_is_as_v1_has_it() {
        let files = |name: &str| {
            match name {
                "memory.max" => "100",
                "memory.current" => "40",
                "memory.peak" => "60",
                "memory.swap.max" => "max",
                "memory.swap.current" => "5",
                "memory.stat" => "anon 30\nfile 10\n",
                "memory.events" => "low 0\nmax 3\noom_kill 1\n",
                _ => "",
            }
            .to_owned()
        };
        let memory = memory(files, None);
        assert_eq!(memory.usage, Amount { limit: 100, usage: 40, max: 60, failcnt: 3 });
        assert_eq!((memory.swap.limit, memory.swap.usage), (u64::MAX, 45));
        assert_eq!((memory.cache, memory.raw["anon"]), (10, 30));
    }

    #[test]
    fn block_devices_are_tables() {
        let found =
            blkio("8:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021\n8:16 \n", None);
        let text = |table: &[BlkioEntry]| {
            table.iter().map(|entry| format!("{} {}", entry.op, entry.value)).collect::<Vec<_>>()
        };
        assert_eq!(text(&found.io_service_bytes_recursive), ["Read 90430464", "Write 299008000"]);
        assert_eq!(text(&found.io_serviced_recursive), ["Read 8950", "Write 1252"]);
    }

    #[test]
    fn time_is_in_nanoseconds() {
        let cpu =
            cpu("usage_usec 12\nuser_usec 7\nsystem_usec 5\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n", None);
        assert_eq!((cpu.usage.total, cpu.usage.user, cpu.usage.kernel), (12_000, 7_000, 5_000));
        assert_eq!(
            (cpu.throttling.periods, cpu.throttling.throttled_periods, cpu.throttling.throttled_time),
            (4, 3, 2_000)
        );
    }
}
