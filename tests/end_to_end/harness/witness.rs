//! Looks at the kernel, not at skep: which mounts, cgroups and processes of a test are still there.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Asks again until it answers, for at most ten seconds: the kernel and the monitors finish in their own time.
#[track_caller]
pub(crate) fn retry<T, E: std::fmt::Display>(mut question: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match question() {
            Ok(answer) => return answer,
            Err(reason) if start.elapsed() > Duration::from_secs(10) => panic!("{reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// What is left of a test whose directory and container ids these are, after a while of patience.
pub(super) fn leftovers(directory: &Path, ids: &[String]) -> Vec<String> {
    let start = Instant::now();
    loop {
        let left = leftovers_now(directory, ids);
        if left.is_empty() || start.elapsed() > Duration::from_secs(10) {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends the processes that still belong to a failed test and removes their cgroups.
pub(super) fn end_everything(directory: &Path) {
    for pid in processes_of(directory) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

fn leftovers_now(directory: &Path, ids: &[String]) -> Vec<String> {
    let directory_text = format!("{}/", directory.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts.lines().filter(|line| line.contains(&directory_text)).map(|line| format!("mount: {line}"));
    let groups = cgroups().into_iter().filter(|path| ids.iter().any(|id| path.contains(id.as_str())));
    let processes = processes_of(directory).into_iter().map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
        format!("process {pid}: {name}")
    });
    mounts.chain(groups.map(|path| format!("cgroup: {path}"))).chain(processes).collect()
}

/// The containers' cgroups of the whole machine: `/sys/fs/cgroup/<controller>/skep/<id>` or `/sys/fs/cgroup/skep/<id>`.
fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    let top = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(top).unwrap().flatten().map(|entry| entry.path());
    for parent in controllers.chain([top.to_owned()]) {
        let Ok(groups) = fs::read_dir(parent.join("skep")) else { continue };
        found.extend(groups.flatten().map(|entry| entry.path().display().to_string()));
    }
    found
}

/// Processes of skep itself (monitors, commands) that run for this test: their environment names its directory.
fn processes_of(directory: &Path) -> Vec<i32> {
    let needle = format!("SKEP_ROOT={}", directory.join("data").display());
    let mine = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes())
    };
    machine_processes().into_iter().filter(|pid| *pid != std::process::id() as i32).filter(mine).collect()
}

/// The ids of all processes.
pub(crate) fn machine_processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// One field of `/proc/<pid>/status`.
pub(crate) fn process_status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}
