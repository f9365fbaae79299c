//! `info` and `version`: what this machine and this engine are.

use std::fs;

use failure::Result;
use rustix::system::{sysinfo, uname};
use serde_json::{Value, json};

use crate::{Home, ListOptions, Status, list, recover, upkeep};

/// The engine's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Facts of the engine and the machine, with Docker's names.
///
/// # Errors
/// Data that cannot be read.
pub fn info(home: &Home) -> Result<Value> {
    recover::sweep(home);
    let containers = list(home, &ListOptions { all: true, ..ListOptions::default() })?;
    let count = |status| containers.iter().filter(|summary| summary.status == status).count();
    let (running, paused) = (count(Status::Running), count(Status::Paused));
    let kernel = uname();
    let machine = sysinfo();
    Ok(json!({
        "ID": fs::read_to_string("/etc/machine-id").unwrap_or_default().trim(),
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": home.store()?.images()?.len(),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", file_system(home)], ["User Namespaces", "one for each container"]],
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": cgroup_version(),
        "KernelVersion": kernel.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSType": "linux",
        "Architecture": kernel.machine().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": machine.totalram * u64::from(machine.mem_unit),
        "Name": kernel.nodename().to_string_lossy(),
        "DockerRootDir": home.root().display().to_string(),
        "RunRoot": home.run().display().to_string(),
        "ServerVersion": VERSION,
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns", "name=cgroupns"],
        "DefaultRuntime": "skep",
        "ImageCollection": upkeep::describe(home),
        "LiveRestoreEnabled": true,
        "Plugins": {"Volume": ["local"], "Network": ["host", "none"], "Log": ["json-file", "none"]},
        "Warnings": [],
    }))
}

/// Versions of the engine and the kernel, in the shape of `docker version --format json`.
pub fn version() -> Value {
    let kernel = uname();
    let facts = json!({
        "Version": VERSION,
        "Os": "linux",
        "Arch": docker_architecture(),
        "KernelVersion": kernel.release().to_string_lossy(),
    });
    json!({ "Client": facts, "Server": facts })
}

/// The machine's architecture as images call it.
fn docker_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn cgroup_version() -> &'static str {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" }
}

fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn file_system(home: &Home) -> String {
    match rustix::fs::statfs(home.root()).map(|status| status.f_type as u64) {
        Ok(0xef53) => "extfs".to_owned(),
        Ok(0x5846_5342) => "xfs".to_owned(),
        Ok(0x9123_683e) => "btrfs".to_owned(),
        Ok(0x0102_1994) => "tmpfs".to_owned(),
        Ok(other) => format!("{other:#x}"),
        Err(_) => "unknown".to_owned(),
    }
}
