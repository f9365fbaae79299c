//! `top`: the processes of a container, read from the host's /proc. Nothing of the container is run for it.
//!
//! Which processes: those of its cgroup, so that what `exec` started is there too. Pids are the host's, as Docker
//! shows them; users are the container's own ids, because the host has no names for its range.
//!
//! Columns are a table: the word for `ps -o`, the head, and what it shows. All of it is in three files of /proc(5):
//! `stat`, `status` and `cmdline`, which name the process and must be treated as its own words.

use std::fs;

use failure::{Error, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use runtime::ContainerId;
use runtime::cgroup::{self, Cgroup};

use crate::Home;
use crate::config::ContainerConfig;
use crate::ids;

/// A table as ps would print it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The heads of the columns.
    pub titles: Vec<String>,
    /// A row each process.
    pub rows: Vec<Vec<String>>,
}

/// The processes of a running container. `columns` as for `ps -o`; empty: those of `ps -ef`.
///
/// # Errors
/// A container that does not run; an unknown column.
pub fn top(home: &Home, id: &ContainerId, columns: &[String]) -> Result<Table> {
    let columns = choose(columns)?;
    crate::state::running(home, id)?;
    let first_id = ContainerConfig::read(home, id)?.range.map(ids::first_id);
    let machine = Machine::observe();
    let mut pids = Cgroup::open(&cgroup::Path::of_container(id.as_ref())?)?.processes()?;
    pids.sort_unstable();
    let rows = pids
        .into_iter()
        .filter_map(|pid| Process::read(pid, first_id))
        .map(|process| columns.iter().map(|column| (column.show)(&process, &machine)).collect())
        .collect();
    Ok(Table { titles: columns.iter().map(|column| column.title.to_owned()).collect(), rows })
}

/// A column that `ps` knows.
struct Column {
    names: &'static [&'static str],
    title: &'static str,
    show: fn(&Process, &Machine) -> String,
}

/// The columns, those of `ps -ef` first.
const COLUMNS: &[Column] = &[
    Column { names: &["user", "uid", "euser", "uname"], title: "UID", show: |process, _| process.uid.to_string() },
    Column { names: &["pid"], title: "PID", show: |process, _| process.pid.to_string() },
    Column { names: &["ppid"], title: "PPID", show: |process, _| process.parent.to_string() },
    Column { names: &["c"], title: "C", show: |process, machine| format!("{:.0}", machine.cpu_percent(process)) },
    Column {
        names: &["stime", "start", "start_time"],
        title: "STIME",
        show: |process, machine| machine.clock(process),
    },
    Column { names: &["tty", "tt", "tname"], title: "TTY", show: |process, _| terminal(process.terminal) },
    Column { names: &["time", "cputime"], title: "TIME", show: |process, machine| hours(process.ticks / machine.tick) },
    Column { names: &["cmd", "args", "command"], title: "CMD", show: |process, _| process.command.clone() },
    Column { names: &["comm", "ucmd", "ucomm"], title: "COMMAND", show: |process, _| process.name.clone() },
    Column { names: &["stat", "s", "state"], title: "STAT", show: |process, _| process.state.to_string() },
    Column {
        names: &["rss", "rssize", "rsz"],
        title: "RSS",
        show: |process, _| (process.resident_pages * rustix::param::page_size() as u64 / 1024).to_string(),
    },
    Column { names: &["vsz", "vsize"], title: "VSZ", show: |process, _| (process.virtual_bytes / 1024).to_string() },
    Column { names: &["nlwp", "thcount"], title: "NLWP", show: |process, _| process.threads.to_string() },
    Column { names: &["pgid", "pgrp"], title: "PGID", show: |process, _| process.group.to_string() },
    Column { names: &["sid", "sess"], title: "SID", show: |process, _| process.session.to_string() },
    Column { names: &["ni", "nice"], title: "NI", show: |process, _| process.nice.to_string() },
    Column { names: &["gid", "group", "egid"], title: "GID", show: |process, _| process.gid.to_string() },
    Column {
        names: &["pcpu", "%cpu"],
        title: "%CPU",
        show: |process, machine| format!("{:.1}", machine.cpu_percent(process)),
    },
    Column {
        names: &["pmem", "%mem"],
        title: "%MEM",
        show: |process, machine| format!("{:.1}", machine.memory_percent(process)),
    },
    Column { names: &["etime", "elapsed"], title: "ELAPSED", show: |process, machine| hours(machine.age(process)) },
];

/// How many columns of the table `ps -ef` has.
const FULL_FORMAT: usize = 8;

fn choose(names: &[String]) -> Result<Vec<&'static Column>> {
    if names.is_empty() {
        return Ok(COLUMNS.iter().take(FULL_FORMAT).collect());
    }
    names.iter().map(|name| choose_one(name)).collect()
}

fn choose_one(name: &str) -> Result<&'static Column> {
    COLUMNS.iter().find(|column| column.names.contains(&name)).ok_or_else(|| {
        let known: Vec<&str> = COLUMNS.iter().filter_map(|column| column.names.first().copied()).collect();
        Error::invalid(format!("no such column `{name}`; choose from {}", known.join(", ")))
    })
}

/// What a process says of itself. Times are in ticks of the clock.
struct Process {
    pid: i32,
    parent: i32,
    uid: u32,
    gid: u32,
    group: i32,
    session: i32,
    terminal: u32,
    state: char,
    nice: i64,
    threads: u64,
    started: u64,
    ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
    name: String,
    command: String,
}

impl Process {
    /// Reads a process; none if it has gone meanwhile.
    fn read(pid: i32, first_id: Option<u32>) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read(format!("/proc/{pid}/status")).ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut process = Self::parse(pid, &String::from_utf8_lossy(&stat))?;
        let status = String::from_utf8_lossy(&status);
        process.uid = own_id(effective_id(&status, "Uid:")?, first_id);
        process.gid = own_id(effective_id(&status, "Gid:")?, first_id);
        process.command = command_line(&arguments, &process.name);
        Some(process)
    }

    /// Parses proc_pid_stat(5). The name is in parentheses and may hold any byte, so the last one ends it.
    fn parse(pid: i32, stat: &str) -> Option<Self> {
        let (head, rest) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The manual numbers fields from 1; the state is its third and our first.
        let number = |field: usize| -> Option<u64> { fields.get(field - 3)?.parse().ok() };
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            uid: 0,
            gid: 0,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            terminal: u32::try_from(number(7)?).ok()?,
            state: fields.first()?.chars().next()?,
            nice: fields.get(19 - 3)?.parse().ok()?,
            threads: number(20)?,
            started: number(22)?,
            ticks: number(14)? + number(15)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
            command: String::new(),
            name,
        })
    }
}

/// The second number of a `Uid:` or `Gid:` line: the effective id.
fn effective_id(status: &str, label: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().nth(1)?.parse().ok()
}

/// The id as the container counts.
fn own_id(id: u32, first_id: Option<u32>) -> u32 {
    match first_id {
        Some(first) if id >= first => id - first,
        _ => id,
    }
}

/// The arguments with spaces between, without control characters that would confuse a terminal.
fn command_line(arguments: &[u8], name: &str) -> String {
    let words: Vec<String> = arguments
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).replace(|character: char| character.is_control(), "?"))
        .collect();
    let line = words.join(" ");
    let line = line.trim_end();
    // A kernel thread or a zombie has no arguments.
    if line.is_empty() { format!("[{name}]") } else { line.to_owned() }
}

/// The machine's clock and memory, read once for a table.
struct Machine {
    /// Ticks in a second.
    tick: u64,
    /// Seconds since boot.
    uptime: f64,
    /// Pages of memory.
    pages: u64,
}

impl Machine {
    fn observe() -> Self {
        let information = rustix::system::sysinfo();
        let bytes = information.totalram * u64::from(information.mem_unit);
        Self {
            tick: rustix::param::clock_ticks_per_second().max(1),
            uptime: information.uptime as f64,
            pages: (bytes / rustix::param::page_size() as u64).max(1),
        }
    }

    /// Seconds that a process has lived.
    fn age(&self, process: &Process) -> u64 {
        (self.uptime as u64).saturating_sub(process.started / self.tick)
    }

    fn cpu_percent(&self, process: &Process) -> f64 {
        let seconds = process.ticks as f64 / self.tick as f64;
        100.0 * seconds / (self.age(process).max(1) as f64)
    }

    fn memory_percent(&self, process: &Process) -> f64 {
        100.0 * process.resident_pages as f64 / self.pages as f64
    }

    /// The time of day at which a process started.
    fn clock(&self, process: &Process) -> String {
        let age = i64::try_from(self.age(process)).unwrap_or(0);
        let start = Timestamp::now() - jiff::SignedDuration::from_secs(age);
        start.to_zoned(TimeZone::system()).strftime("%H:%M").to_string()
    }
}

/// `HH:MM:SS`.
fn hours(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The name of a terminal from its device number: pseudo-terminals have majors 136 to 143.
fn terminal(device: u32) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "17 (a) b ) S 1 17 17 34816 17 4194560 90 0 0 0 250 150 0 0 20 -5 3 0 1000 8192000 200 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0";

    #[test]
    fn a_name_may_hold_parentheses() {
        let process = Process::parse(17, STAT).unwrap();
        assert_eq!(process.name, "a) b ");
        assert_eq!((process.parent, process.state, process.nice, process.threads), (1, 'S', -5, 3));
        assert_eq!((process.ticks, process.started, process.resident_pages), (400, 1000, 200));
        assert_eq!(terminal(process.terminal), "pts/0");
    }

    #[test]
    fn ids_are_the_containers_own() {
        assert_eq!(effective_id("Name:\tx\nUid:\t5\t268435489\t5\t5\n", "Uid:"), Some(268_435_489));
        assert_eq!(own_id(268_435_489, Some(268_435_456)), 33);
        assert_eq!(own_id(33, None), 33);
    }

    #[test]
    fn a_command_line_is_one_line() {
        assert_eq!(command_line(b"sh\0-c\0a\nb\0", "sh"), "sh -c a?b");
        assert_eq!(command_line(b"", "kworker"), "[kworker]");
    }

    #[test]
    fn an_unknown_column_is_named() {
        let error = choose(&["pid".into(), "nonsense".into()]).err().unwrap();
        assert!(error.to_string().starts_with("no such column `nonsense`; choose from user, pid"));
        assert_eq!(choose(&[]).unwrap().len(), FULL_FORMAT);
    }
}
