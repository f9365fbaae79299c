//! System call filters: every action, operator, flag and architecture, and the supervisor that a filter may ask.

use std::fs;
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};

use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

use crate::harness::{Bundle, field};

const KILLED: i32 = 128 + 31;

fn filtered(script: &str, default: &str, rules: &Value) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.spec["linux"]["seccomp"] = json!({"defaultAction": default, "syscalls": rules});
    bundle
}

fn on_mkdir(action: &str) -> Value {
    json!([{"names": ["mkdir", "no_such_call"], "action": format!("SCMP_ACT_{action}")}])
}

#[test]
fn every_action_of_a_filter() {
    let _field = field(&["linux.seccomp.syscalls"]);
    let script = "mkdir /tmp/made; echo $?";
    for action in ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"] {
        let ended = filtered(script, "SCMP_ACT_ALLOW", &on_mkdir(action)).run();
        assert!(ended.stdout.ends_with(&format!("{KILLED}\n")), "{action}: {ended:?}");
    }
    for action in ["ALLOW", "LOG"] {
        assert_eq!(filtered(script, "SCMP_ACT_ALLOW", &on_mkdir(action)).output(), "0\n", "{action}");
    }
    for (action, words) in [("ERRNO", "not permitted"), ("TRACE", "not implemented")] {
        let ended = filtered(script, "SCMP_ACT_ALLOW", &on_mkdir(action)).run();
        assert!(ended.stderr.contains(words) && ended.stdout == "1\n", "{action}: {ended:?}");
    }
    let mut bundle = filtered(script, "SCMP_ACT_ALLOW", &on_mkdir("ERRNO"));
    bundle.spec["linux"]["seccomp"]["syscalls"][0]["errnoRet"] = json!(28);
    assert!(bundle.run().stderr.contains("No space left"));
    // An error number that no action returns, and an action that nobody knows.
    for action in ["ALLOW", "KILL", "LOG", "TRAP"] {
        let mut bundle = filtered(script, "SCMP_ACT_ALLOW", &on_mkdir(action));
        bundle.spec["linux"]["seccomp"]["syscalls"][0]["errnoRet"] = json!(28);
        assert!(bundle.refusal().contains("errnoRet"), "{action}");
    }
    filtered(script, "SCMP_ACT_ALLOW", &on_mkdir("MAYBE")).refusal();
}

#[test]
fn names_that_nobody_knows_are_left_out_with_a_warning() {
    let bundle = filtered("echo ran", "SCMP_ACT_ALLOW", &on_mkdir("ERRNO"));
    bundle.write();
    let (log, directory) = (bundle.file("log"), bundle.directory.to_str().unwrap());
    let ran = bundle.ok(&["--log", log.to_str().unwrap(), "run", "--bundle", directory, &bundle.id]);
    assert_eq!(ran, "ran\n");
    // Said at every start, not only when the filter is compiled.
    assert_eq!(bundle.run().stdout, "ran\n");
    bundle.ok(&["--log", log.to_str().unwrap(), "run", "--bundle", directory, &bundle.id]);
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("no_such_call")).count(), 2, "{log}");
}

#[test]
fn every_operator_on_arguments() {
    let _field = field(&["linux.seccomp.syscalls"]);
    // Signals that do nothing to who ignores them; the ones that may be sent are printed.
    let script = "for s in 0 17 18 23 28; do kill -$s $$ 2>/dev/null && echo -n \"$s \"; done; echo";
    for (operator, value, second, expected) in [
        ("NE", 18, 0, "18"),
        ("EQ", 18, 0, "0 17 23 28"),
        ("LT", 18, 0, "18 23 28"),
        ("LE", 18, 0, "23 28"),
        ("GE", 18, 0, "0 17"),
        ("GT", 18, 0, "0 17 18"),
        ("MASKED_EQ", 0x14, 0x14, "0 17 18"),
    ] {
        let condition = json!({"index": 1, "value": value, "valueTwo": second, "op": format!("SCMP_CMP_{operator}")});
        let rules = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [condition]}]);
        let output = filtered(script, "SCMP_ACT_ALLOW", &rules).output();
        assert_eq!(output.trim(), expected, "{operator}");
    }
    let condition = json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"});
    let rules = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [condition]}]);
    assert!(filtered(script, "SCMP_ACT_ALLOW", &rules).refusal().contains("argument 6"));
}

#[test]
fn the_default_action_is_for_all_other_calls() {
    let _field = field(&["linux.seccomp.defaultAction", "linux.seccomp.defaultErrnoRet"]);
    let program = [
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "getrandom",
        "mprotect",
        "prctl",
        "exit_group",
        "exit",
        "write",
        "getuid",
        "mkdirat",
        "stat",
        "newfstatat",
        "umask",
    ];
    let allowed = json!([{"names": program, "action": "SCMP_ACT_ALLOW"}]);
    let start = |default: &str, errno: Option<u32>| {
        let mut bundle = filtered("", default, &allowed);
        bundle.spec["process"]["args"] = json!(["busybox", "mkdir", "/tmp/made"]);
        if let Some(errno) = errno {
            bundle.spec["linux"]["seccomp"]["defaultErrnoRet"] = json!(errno);
        }
        bundle
    };
    assert!(start("SCMP_ACT_ERRNO", None).run().stderr.contains("not permitted"));
    assert!(start("SCMP_ACT_ERRNO", Some(28)).run().stderr.contains("No space left"));
    assert_eq!(start("SCMP_ACT_KILL_PROCESS", None).run().code, KILLED);
    assert!(start("SCMP_ACT_KILL_PROCESS", Some(1)).refusal().contains("defaultErrnoRet"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn architectures_are_covered_or_refused() {
    let _field = field(&["linux.seccomp.architectures"]);
    let covering = |names: Value| {
        let mut bundle = filtered("mkdir /tmp/made; echo $?", "SCMP_ACT_ALLOW", &on_mkdir("ERRNO"));
        bundle.spec["linux"]["seccomp"]["architectures"] = names;
        bundle
    };
    for names in
        [json!([]), json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]), json!(["SCMP_ARCH_AARCH64"])]
    {
        assert_eq!(covering(names.clone()).run().stdout, "1\n", "{names}");
    }
    // Another byte order, and one that does not exist.
    assert!(covering(json!(["SCMP_ARCH_PPC"])).refusal().contains("SCMP_ARCH_PPC"));
    covering(json!(["SCMP_ARCH_Z80"])).refusal();
}

#[test]
fn flags_are_taken_and_unknown_ones_refused() {
    let _field = field(&["linux.seccomp.flags"]);
    let with = |flags: Value| {
        let mut bundle = filtered("mkdir /tmp/made; echo $?", "SCMP_ACT_ALLOW", &on_mkdir("ERRNO"));
        bundle.spec["linux"]["seccomp"]["flags"] = flags;
        bundle
    };
    let all = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|name| format!("SECCOMP_FILTER_FLAG_{name}"));
    for flags in [json!(all), json!([all[0]]), json!([all[1]]), json!([all[2]]), json!([all[3]]), json!([])] {
        assert_eq!(with(flags.clone()).run().stdout, "1\n", "{flags}");
    }
    with(json!(["SECCOMP_FILTER_FLAG_NEVER"])).refusal();
}

/// Takes what it is told, and goes away: calls that wait for it then fail with ENOSYS.
fn agent(listener: UnixListener) -> Receiver<(Value, usize)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if sender.send(told(stream.unwrap())).is_err() {
                break;
            }
        }
    });
    receiver
}

fn told(mut stream: UnixStream) -> (Value, usize) {
    let mut bytes = vec![0; 1 << 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let length = rustix::net::recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    bytes.truncate(length);
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            descriptors.extend(found);
        }
    }
    stream.read_to_end(&mut bytes).unwrap();
    (serde_json::from_slice(&bytes).unwrap(), descriptors.len())
}

#[test]
fn a_supervisor_gets_the_listener_and_the_state() {
    let _field = field(&["linux.seccomp.listenerPath", "linux.seccomp.listenerMetadata"]);
    let mut bundle = filtered("mkdir /tmp/made; echo $?; sleep 100", "SCMP_ACT_ALLOW", &on_mkdir("NOTIFY"));
    let socket = bundle.file("agent");
    bundle.spec["linux"]["seccomp"]["listenerPath"] = json!(socket);
    bundle.spec["linux"]["seccomp"]["listenerMetadata"] = json!("for the agent");
    bundle.spec["annotations"] = json!({"a": "b"});
    let ended = bundle.run();
    assert!(ended.code != 0 && ended.stderr.contains("agent"), "nobody listens: {ended:?}");
    assert!(!bundle.file("state").join(&bundle.id).exists(), "something was made");
    let messages = agent(UnixListener::bind(&socket).unwrap());
    let pid = bundle.start();
    let (state, descriptors) = messages.recv().unwrap();
    assert_eq!((&state["fds"], descriptors), (&json!(["seccompFd"]), 1));
    assert_eq!((&state["pid"], &state["state"]["pid"]), (&json!(pid), &json!(pid)));
    assert_eq!((&state["metadata"], &state["state"]["status"]), (&json!("for the agent"), &json!("creating")));
    assert_eq!((&state["state"]["id"], &state["state"]["annotations"]["a"]), (&json!(bundle.id), &json!("b")));
    assert_eq!(state["state"]["bundle"], json!(bundle.directory));
    let ended = bundle.exec("mkdir /tmp/more");
    assert!(ended.stderr.contains("not implemented"), "{ended:?}");
    let (state, descriptors) = messages.recv().unwrap();
    assert_eq!((&state["state"]["status"], descriptors), (&json!("running"), 1));
    assert_eq!(state["state"]["pid"], json!(pid));
    assert_ne!(state["pid"], json!(pid));
    fs::remove_file(&socket).unwrap();
    assert!(bundle.exec("true").stderr.contains("agent"));
    bundle.ok(&["delete", "--force", &bundle.id]);
    bundle.spec["linux"]["seccomp"]["listenerPath"] = json!(null);
    assert!(bundle.run().stderr.contains("listener"));
}
