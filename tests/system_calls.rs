//! What the new process does between clone and exec, call by call: a list that only changes on purpose.
//!
//! A container with everything that engines ask for is run under strace. The calls of its process, up to the program, are
//! held against system_calls.txt: each line a call, with the path or the number that says what it is for. What depends on
//! the machine is left out: descriptors and addresses, how often a call is repeated (a capability each, a signal each),
//! groups that are joined by a write with cgroup v1 and at birth with v2, and what debug builds do before they close.
//!
//! After a change that is meant: `SKEP_BLESS=1 cargo test --test system_calls`, and look at the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const LIST: &str = "tests/system_calls.txt";
/// Host ids that no other test uses.
const BASE: u32 = 0x1000_0000 + 20_002 * 65_536;

struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let place = Self(Path::new("/tmp").join(format!("skt-calls-{}", std::process::id())));
        for name in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(place.0.join("rootfs").join(name)).unwrap();
        }
        let program = place.0.join("rootfs/bin/true");
        assert!(Command::new("cp").arg("/bin/busybox").arg(program).status().unwrap().success());
        let owner = format!("{BASE}:{BASE}");
        assert!(Command::new("chown").args(["-hR", &owner]).arg(place.0.join("rootfs")).status().unwrap().success());
        fs::write(place.0.join("config.json"), specification(&place.id()).to_string()).unwrap();
        place
    }

    fn id(&self) -> String {
        self.0.file_name().unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Namespaces of all old kinds, Docker's mounts but the cgroups', a filter, a read-only root.
fn specification(id: &str) -> Value {
    let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "cell",
        "process": {
            "user": {"uid": 33, "gid": 33, "additionalGids": [5]},
            "args": ["/bin/true"],
            "env": ["PATH=/bin"],
            "cwd": "/tmp",
            "noNewPrivileges": true,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "cgroupsPath": format!("/skep/{id}"),
            "uidMappings": map,
            "gidMappings": map,
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "user"}, {"type": "cgroup"},
            ],
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "1000"},
            "maskedPaths": ["/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys"],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]},
        },
    })
}

fn trace(place: &Place) -> String {
    let binary = std::env::var_os("SKEP_BIN").map_or_else(|| env!("CARGO_BIN_EXE_skep").into(), PathBuf::from);
    let log = place.0.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "64", "-o"]).arg(&log).arg(binary);
    strace.args(["runtime", "--root"]).arg(place.0.join("state")).args(["run", "--bundle"]).arg(&place.0);
    let output = strace.arg(place.id()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()
}

/// The calls of the process that becomes the program, each once in a row.
fn calls(log: &str) -> Vec<String> {
    let lines: Vec<(&str, &str)> = log.lines().filter_map(|line| line.split_once(' ')).collect();
    let program = lines.iter().rfind(|(_, call)| call.trim_start().starts_with("execve(\"/bin/true\""));
    let (process, _) = program.expect("the program is not executed");
    let mut calls: Vec<String> = Vec::new();
    for (_, call) in lines.iter().filter(|(other, _)| other == process) {
        let Some(call) = normalized(call.trim_start()) else { continue };
        let last = call.starts_with("execve");
        if calls.last() != Some(&call) {
            calls.push(call);
        }
        if last {
            break;
        }
    }
    calls
}

/// Without what differs from machine to machine; none: left out.
fn normalized(call: &str) -> Option<String> {
    let (name, rest) = call.split_once('(')?;
    if call.starts_with("<...") || call.starts_with("---") || rest.contains("F_GETFD") {
        return None;
    }
    // Numbers of messages come in the machine's byte order, and "0" is written to join a group of v1.
    let silent =
        matches!(name, "sendmsg" | "recvmsg" | "close" | "prctl" | "rt_sigaction" | "close_range" | "dup2" | "dup3");
    if name == "write" && rest.contains("\"0\", 1") {
        return None;
    }
    let what = match name {
        "prctl" => rest.split([',', ')']).next().unwrap_or_default().to_owned(),
        _ if silent => String::new(),
        _ => quoted(rest),
    };
    let name = if name == "dup3" { "dup2" } else { name };
    Some(format!("{name} {what}").trim_end().to_owned())
}

/// The strings among the arguments, in their order.
fn quoted(arguments: &str) -> String {
    let strings = arguments.split('"').skip(1).step_by(2).filter(|text| !text.is_empty());
    strings.take(2).collect::<Vec<_>>().join(" ")
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_new_process_makes_these_calls() {
    assert!(rustix::process::geteuid().is_root(), "this test starts a container: run it as root");
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: no strace on this machine");
        return;
    }
    let found = calls(&trace(&Place::new()));
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
    if std::env::var_os("SKEP_BLESS").is_some() {
        fs::write(&list, found.join("\n") + "\n").unwrap();
        return;
    }
    let text = fs::read_to_string(&list).unwrap_or_default();
    let expected: Vec<&str> = text.lines().collect();
    assert!(
        found == expected,
        "{LIST} says otherwise (SKEP_BLESS=1 writes it anew):\n{}",
        difference(&expected, &found)
    );
}

/// What is there and what is missing, around the first and the last place where they differ.
fn difference(expected: &[&str], found: &[String]) -> String {
    let same = expected.iter().zip(found).take_while(|(one, other)| *one == other).count();
    let tails = expected[same..].iter().rev().zip(found[same..].iter().rev());
    let behind = tails.take_while(|(one, other)| *one == other).count();
    let gone = expected[same..expected.len() - behind].iter().map(|line| format!("- {line}\n"));
    let came = found[same..found.len() - behind].iter().map(|line| format!("+ {line}\n"));
    let place = format!("after line {same} ({})\n", expected.get(same.wrapping_sub(1)).unwrap_or(&"the start"));
    place + &gone.chain(came).collect::<String>()
}
