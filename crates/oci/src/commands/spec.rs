//! `spec`: a specification to begin with, as runc's `spec` writes it.
//!
//! A shell in its own namespaces, with runc's default capabilities, mounts and masked paths; with `--rootless` one for a
//! user who is not root: a user namespace that maps the caller, no group of limits, the host's network and `/sys`.

use std::io::Write as _;

use failure::{Context as _, Error, Kind, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::command::Command;
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::{SPECIFICATION, output};

pub(crate) static COMMAND: Command = Command {
    name: "spec",
    about: "create a new specification file",
    usage: "",
    description: "Writes a config.json that starts a shell, to be changed into what is wanted.",
    flags: &[
        Flag::value(&["bundle", "b"], "path to the root of the bundle directory"),
        Flag::plain(&["rootless"], "generate a configuration for a rootless container"),
    ],
    order: Order::Mixed,
    words: (0, 0),
    run,
};

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn run(_: &Global, words: &Words) -> Result<u8> {
    let directory = words.value("bundle").filter(|path| !path.is_empty()).unwrap_or(".");
    let mut spec = default();
    if words.has("rootless") {
        make_rootless(&mut spec);
    }
    let path = std::path::Path::new(directory).join("config.json");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o666)).map_err(|errno| match errno {
        Errno::EXIST => Error::new(Kind::Conflict, "file config.json exists. Remove it first"),
        errno => Error::internal(format!("cannot make `{}`", path.display())).with_source(std::io::Error::from(errno)),
    })?;
    let text = serde_json::to_string_pretty(&spec).map_err(|wrong| Error::internal(wrong.to_string()))?;
    std::fs::File::from(file)
        .write_all(output::tabs(&text).as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(0)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

fn default() -> Value {
    json!({
        "ociVersion": SPECIFICATION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "skep",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces":
                [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

/// What a user without privileges may not have goes; a mapping of the user comes.
fn make_rootless(spec: &mut Value) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let linux = &mut spec["linux"];
    linux["resources"] = Value::Null;
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
        linux.insert("uidMappings".to_owned(), json!([{"containerID": 0, "hostID": uid, "size": 1}]));
        linux.insert("gidMappings".to_owned(), json!([{"containerID": 0, "hostID": gid, "size": 1}]));
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    let Some(mounts) = spec["mounts"].as_array_mut() else { return };
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    for mount in mounts {
        if mount["destination"] == "/sys" {
            // A sysfs belongs to a network namespace, and that is the host's.
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            });
        } else if let Some(options) = mount["options"].as_array_mut() {
            // Groups other than the mapped one do not exist there.
            options.retain(|option| !option.as_str().is_some_and(|option| option.starts_with("gid=")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let text = default().to_string();
        let spec = crate::bundle::parse(text.as_bytes()).unwrap();
        assert_eq!(spec.mounts().as_ref().unwrap().len(), 7);
    }

    #[test]
    fn a_rootless_one_maps_its_user_and_has_no_group() {
        let mut spec = default();
        make_rootless(&mut spec);
        let text = spec.to_string();
        let read = crate::bundle::parse(text.as_bytes()).unwrap();
        let linux = read.linux().as_ref().unwrap();
        assert!(linux.resources().is_none());
        assert_eq!(linux.uid_mappings().as_ref().unwrap()[0].host_id(), rustix::process::geteuid().as_raw());
        assert!(!text.contains("gid=5") && !text.contains("network") && !text.contains("/sys/fs/cgroup"));
        assert!(text.contains("rbind"));
    }
}
