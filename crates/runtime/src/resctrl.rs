//! Shares of caches and memory bandwidth (Intel RDT and its kin): groups of the resctrl file system.
//!
//! ```text
//!   <resctrl>/                          a class of service, `/`
//!     schemata, tasks                   its shares; who has them
//!     mon_groups/<container>/tasks      counted apart, if the container asks for it
//!     <closID or container>/            a class of its own, built alike
//! ```
//! A class that is named by `closID` belongs to whoever manages the machine: what is in it must be what is asked for, and it
//! stays. A class named after the container ends with it, as does its monitoring group.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{Linux, LinuxIntelRdt};

use crate::ContainerId;

/// What resctrl itself has at the place of a class.
const RESERVED: [&str; 6] = ["", ".", "..", "info", "mon_data", "mon_groups"];

/// Where a container's processes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The directory of the class.
    class: PathBuf,
    /// It is named after the container.
    own: bool,
    /// Lines for its schemata.
    schemata: Vec<String>,
    /// The directory of the monitoring group.
    monitoring: Option<PathBuf>,
}

/// Where a specification puts its container, if it says so.
///
/// # Errors
/// The machine has no resctrl, or the wish is no wish that it takes.
pub(crate) fn read(linux: &Linux, id: &ContainerId) -> Result<Option<Assignment>> {
    let Some(wanted) = linux.intel_rdt() else { return Ok(None) };
    let root = mounted(&fs::read_to_string("/proc/self/mountinfo").context("cannot read this machine's mounts")?)
        .ok_or_else(|| {
            Error::unsupported("`linux.intelRdt` needs a mounted resctrl file system, which this machine lacks")
        })?;
    assignment(wanted, id.as_ref(), &root).map(Some)
}

/// Removes what was made for a container that has ended. What is not there was not made.
///
/// # Errors
/// The kernel keeps a group.
pub fn remove(linux: &Linux, id: &ContainerId) -> Result<()> {
    match read(linux, id) {
        Ok(Some(assignment)) => assignment.remove(),
        // Without resctrl nothing was made.
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Lets a process that joins a container share its groups.
pub(crate) fn follow(target: i32, process: i32) -> Result<()> {
    let path = format!("/proc/{target}/cpu_resctrl_groups");
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let root = mounted(&fs::read_to_string("/proc/self/mountinfo").context("cannot read this machine's mounts")?);
    let (Some(root), Some(groups)) = (root, groups_of(&text)) else { return Ok(()) };
    groups.iter().try_for_each(|group| put(&root.join(group), process))
}

impl fmt::Display for Assignment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "put it into the resctrl group `{}`", self.class.display())
    }
}

impl Assignment {
    /// Makes what is missing, and puts the process there; what it forks follows.
    pub(crate) fn give_to(&self, process: i32) -> Result<()> {
        let failed = || format!("cannot use the resctrl group `{}`", self.class.display());
        match fs::create_dir(&self.class) {
            Ok(()) => self.write_schemata().inspect_err(|_| drop(fs::remove_dir(&self.class)))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.compare_schemata()?,
            Err(error) => return Err(error).with_context(failed),
        }
        put(&self.class, process)?;
        if let Some(monitoring) = &self.monitoring {
            match fs::create_dir(monitoring) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    let line = || format!("cannot make the monitoring group `{}`", monitoring.display());
                    return Err(error).with_context(line);
                }
                _ => put(monitoring, process)?,
            }
        }
        Ok(())
    }

    fn write_schemata(&self) -> Result<()> {
        if self.schemata.is_empty() {
            return Ok(());
        }
        let mut text = self.schemata.join("\n");
        text.push('\n');
        let written = fs::write(self.class.join("schemata"), text);
        // The kernel says here what it did not like.
        let reason = || {
            let root = self.class.parent().unwrap_or(&self.class);
            let reason = fs::read_to_string(root.join("info/last_cmd_status")).unwrap_or_default();
            format!("cannot set the schemata `{}` ({})", self.schemata.join(" "), reason.trim())
        };
        written.with_context(reason)
    }

    fn compare_schemata(&self) -> Result<()> {
        if self.schemata.is_empty() {
            return Ok(());
        }
        let place = self.class.join("schemata");
        let text = fs::read_to_string(&place).with_context(|| format!("cannot read `{}`", place.display()))?;
        match self.schemata.iter().find(|line| !is_within(line, &text)) {
            None => Ok(()),
            Some(line) => Err(Error::conflict(format!(
                "the resctrl group `{}` exists, and its schemata are not `{}`; change one of them",
                self.class.display(),
                line.trim()
            ))),
        }
    }

    pub(crate) fn remove(&self) -> Result<()> {
        let own = self.own.then_some(&self.class);
        for group in self.monitoring.iter().chain(own) {
            match fs::remove_dir(group) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove the resctrl group `{}`", group.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn put(group: &Path, process: i32) -> Result<()> {
    fs::write(group.join("tasks"), format!("{process}\n"))
        .with_context(|| format!("cannot put the process into the resctrl group `{}`", group.display()))
}

fn assignment(wanted: &LinuxIntelRdt, id: &str, root: &Path) -> Result<Assignment> {
    let given = wanted.clos_id().as_deref().filter(|class| !class.is_empty());
    let class = match given {
        Some("/") => root.to_owned(),
        Some(name) if RESERVED.contains(&name) || name.contains('/') => {
            return Err(Error::invalid(format!("`{name}` is no `closID`: it is one name, and none of resctrl's own")));
        }
        Some(name) => root.join(name),
        None => root.join(id),
    };
    let schemata = schemata(wanted)?;
    if given.is_some() && schemata.is_empty() && !class.is_dir() {
        return Err(Error::not_found(format!(
            "there is no resctrl group `{}`; make it, or give schemata for it",
            class.display()
        )));
    }
    let monitored = wanted.enable_monitoring().unwrap_or(false);
    let monitoring = monitored.then(|| class.join("mon_groups").join(id));
    Ok(Assignment { own: given.is_none(), class, schemata, monitoring })
}

/// All lines; what comes later speaks of the same resource last.
fn schemata(wanted: &LinuxIntelRdt) -> Result<Vec<String>> {
    let refuse = |line: &str, reason| Err(Error::invalid(format!("the schema `{}` {reason}", line.escape_debug())));
    let full = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut lines: Vec<String> = Vec::new();
    let memory = full(wanted.mem_bw_schema());
    if let Some(cache) = full(wanted.l3_cache_schema()) {
        // A line of memory bandwidth here gives way to the schema that is for it.
        let full = cache.lines().filter(|line| !line.trim().is_empty());
        let kept = full.filter(|line| memory.is_none() || !line.trim_start().starts_with("MB:"));
        lines.extend(kept.map(str::to_owned));
    }
    if let Some(memory) = memory {
        if !memory.starts_with("MB:") || memory.contains('\n') {
            return refuse(&memory, "is not of memory bandwidth: it is one line and begins with `MB:`");
        }
        lines.push(memory);
    }
    for line in wanted.schemata().iter().flatten() {
        if line.contains('\n') {
            return refuse(line, "holds more than one line");
        }
        lines.retain(|earlier| resource(earlier) != resource(line));
        lines.push(line.clone());
    }
    match lines.iter().find(|line| domains(line).is_none()) {
        Some(line) => refuse(line, "is not of the form `L3:0=ff;1=f0`"),
        None => Ok(lines),
    }
}

fn resource(line: &str) -> &str {
    line.split(':').next().unwrap_or(line).trim()
}

/// The pairs of a line: a cache and its share. Bit masks are hexadecimal, bandwidths decimal.
fn domains(line: &str) -> Option<Vec<(u32, u64)>> {
    let (resource, rest) = line.split_once(':')?;
    let radix = if resource.trim().starts_with('L') { 16 } else { 10 };
    let pair = |part: &str| {
        let (domain, share) = part.split_once('=')?;
        Some((domain.trim().parse().ok()?, u64::from_str_radix(share.trim(), radix).ok()?))
    };
    rest.trim().split(';').map(pair).collect()
}

/// Whether a line says nothing else than a schemata file.
fn is_within(line: &str, text: &str) -> bool {
    let there = text.lines().find(|there| resource(there) == resource(line)).and_then(domains).unwrap_or_default();
    domains(line).is_some_and(|wanted| wanted.iter().all(|pair| there.contains(pair)))
}

/// Where resctrl is mounted, from the text of mountinfo.
fn mounted(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let path = place.split(' ').nth(4)?;
        kind.starts_with("resctrl ").then(|| PathBuf::from(path))
    })
}

/// The groups of a process from `cpu_resctrl_groups`: `res:/class`, `mon:group`.
fn groups_of(text: &str) -> Option<Vec<PathBuf>> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let class = PathBuf::from(field("res:")?.trim_start_matches('/'));
    let monitoring = field("mon:").filter(|name| !name.is_empty());
    let monitoring = monitoring.map(|name| class.join("mon_groups").join(name));
    Some(std::iter::once(class).chain(monitoring).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory that looks like resctrl: its groups have their files from the start there, and here after a look.
    struct Fake(PathBuf);

    impl Fake {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("skep-resctrl-{}-{number}", std::process::id()));
            fs::create_dir_all(root.join("mon_groups")).unwrap();
            fs::write(root.join("schemata"), "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n").unwrap();
            fs::write(root.join("tasks"), "").unwrap();
            Self(root)
        }

        fn group(&self, name: &str) {
            fs::create_dir_all(self.0.join(name).join("mon_groups")).unwrap();
            fs::write(self.0.join(name).join("schemata"), "    MB:0=100;1=050\n    L3:0=000ff;1=fffff\n").unwrap();
        }

        fn assign(&self, wanted: Value) -> Result<Assignment> {
            assignment(&serde_json::from_value(wanted).unwrap(), "cell", &self.0)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_container_has_a_class_of_its_own() {
        let fake = Fake::new();
        let wanted = fake.assign(json!({"l3CacheSchema": "L3:0=ff\nMB:0=10", "memBwSchema": "MB:0=20"})).unwrap();
        wanted.give_to(42).unwrap();
        assert_eq!((fake.text("cell/schemata"), fake.text("cell/tasks")), ("L3:0=ff\nMB:0=20\n".into(), "42\n".into()));
        // The kernel's own directories can be removed with their files in them.
        for name in ["schemata", "tasks"] {
            fs::remove_file(fake.0.join("cell").join(name)).unwrap();
        }
        wanted.remove().unwrap();
        assert!(!fake.0.join("cell").exists());
        wanted.remove().unwrap();
    }

    #[test]
    fn a_class_that_is_there_must_be_as_it_is_wanted() {
        let fake = Fake::new();
        fake.group("gold");
        fake.assign(json!({"closID": "gold"})).unwrap().give_to(7).unwrap();
        assert_eq!(fake.text("gold/tasks"), "7\n");
        fake.assign(json!({"closID": "gold", "l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:1=50"}))
            .unwrap()
            .give_to(8)
            .unwrap();
        for other in [json!("L3:0=fe"), json!("L3:7=ff"), json!("L2:0=ff")] {
            let wanted = fake.assign(json!({"closID": "gold", "schemata": [other]})).unwrap();
            assert_eq!(wanted.give_to(9).unwrap_err().kind(), failure::Kind::Conflict);
        }
        let kept = fake.assign(json!({"closID": "gold"})).unwrap();
        kept.remove().unwrap();
        assert!(fake.0.join("gold").is_dir());
        assert_eq!(fake.assign(json!({"closID": "none"})).unwrap_err().kind(), failure::Kind::NotFound);
        fake.assign(json!({"closID": "new", "schemata": ["L3:0=f"]})).unwrap().give_to(9).unwrap();
        assert_eq!(fake.text("new/schemata"), "L3:0=f\n");
        fake.assign(json!({"closID": "/"})).unwrap().give_to(10).unwrap();
        assert_eq!(fake.text("tasks"), "10\n");
    }

    #[test]
    fn monitoring_is_a_group_of_its_own() {
        let fake = Fake::new();
        fake.group("gold");
        let wanted = fake.assign(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        wanted.give_to(7).unwrap();
        assert_eq!(fake.text("gold/mon_groups/cell/tasks"), "7\n");
        fs::remove_file(fake.0.join("gold/mon_groups/cell/tasks")).unwrap();
        wanted.remove().unwrap();
        assert!(!fake.0.join("gold/mon_groups/cell").exists() && fake.0.join("gold").exists());
    }

    #[test]
    fn wrong_wishes_are_refused() {
        let fake = Fake::new();
        for wrong in [
            json!({"closID": "info"}),
            json!({"closID": "../x"}),
            json!({"closID": ".."}),
            json!({"memBwSchema": "L3:0=f"}),
            json!({"memBwSchema": "MB:0=1\nMB:1=2"}),
            json!({"schemata": ["L3"]}),
            json!({"schemata": ["L3:0=xyz"]}),
            json!({"l3CacheSchema": "L3:0=f;"}),
        ] {
            assert!(fake.assign(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        let mounts =
            "24 30 0:22 / /sys rw - sysfs sysfs rw\n40 24 0:35 / /sys/fs/resctrl rw shared:9 - resctrl resctrl rw\n";
        assert_eq!(mounted(mounts), Some(PathBuf::from("/sys/fs/resctrl")));
        assert_eq!(mounted("24 30 0:22 / /sys rw - sysfs resctrl rw\n"), None);
        let groups = |text| groups_of(text).unwrap();
        assert_eq!(groups("res:/\nmon:\n"), [PathBuf::from("")]);
        assert_eq!(groups("res:/gold\nmon:cell\n"), [PathBuf::from("gold"), PathBuf::from("gold/mon_groups/cell")]);
        assert_eq!(groups_of("res:\nmon:"), Some(vec![PathBuf::from("")]));
    }
}
