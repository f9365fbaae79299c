//! Filters that ask a supervisor, for real: a thread of the test is the supervisor, gets the listener over its socket and
//! answers. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test stops where it fails")]

mod harness;

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use failure::Kind;
use harness::{Container, Ended, finish, is_gone, piped};
use runtime::{Exec, Running, exec, hooks};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};
use sys::seccomp::notify::{self, Answer, Notification};

const MKDIR: i32 = 83;
const EXECVE: i32 = 59;

/// A directory with the supervisor's socket.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skep-test-notify-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Serves one process after the other: all of the state is read first, then every call is answered until nobody is left.
/// What it was told, and which calls it was asked about, come by the channel.
fn supervise(
    listener: UnixListener,
    answer: impl Fn(&Notification) -> Answer + Send + 'static,
) -> Receiver<(Value, Vec<i32>)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (state, descriptor) = receive(stream.unwrap());
            let calls = serve(&descriptor, &answer);
            if sender.send((state, calls)).is_err() {
                break;
            }
        }
    });
    receiver
}

fn receive(mut stream: UnixStream) -> (Value, OwnedFd) {
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
    // To the end of file: who waits for that must not wait for the program.
    stream.read_to_end(&mut bytes).unwrap();
    let state: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((descriptors.len(), &state["fds"]), (1, &json!(["seccompFd"])));
    (state, descriptors.remove(0))
}

fn serve(descriptor: &OwnedFd, answer: impl Fn(&Notification) -> Answer) -> Vec<i32> {
    let mut calls = Vec::new();
    loop {
        let mut wanted = [PollFd::new(descriptor, PollFlags::IN)];
        poll(&mut wanted, None).unwrap();
        if !wanted[0].revents().contains(PollFlags::IN) {
            return calls;
        }
        match notify::receive(descriptor) {
            Ok(asked) => {
                calls.push(asked.number);
                // Killed meanwhile.
                let _ = notify::answer(descriptor, asked.id, answer(&asked));
            }
            Err(Errno::NOENT | Errno::INTR) => {}
            Err(errno) => panic!("{errno}"),
        }
    }
}

fn filtered(container: &mut Container, socket: &Path, default: &str, rules: Value) {
    container.spec["linux"]["seccomp"] = json!({"defaultAction": format!("SCMP_ACT_{default}"),
        "listenerPath": socket, "listenerMetadata": "for the agent", "syscalls": rules});
}

fn asks(names: &[&str]) -> Value {
    json!([{"names": names, "action": "SCMP_ACT_NOTIFY"}])
}

fn run(container: &Container) -> Ended {
    container.run().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_supervisor_is_told_and_decides() {
    let place = Place::new("decides");
    let told = supervise(UnixListener::bind(place.socket()).unwrap(), |asked| match asked.number {
        MKDIR => Answer::Fail(Errno::XDEV),
        _ => Answer::Continue,
    });
    let script =
        "busybox mkdir /tmp/a; ls /tmp; grep Seccomp: /proc/self/status; ls /proc/self/fd; ls /proc/1/task | wc -l";
    for change in [
        |_: &mut Container| {},
        |container: &mut Container| {
            container.spec["process"]["noNewPrivileges"] = json!(true);
            container.spec["process"]["user"] = json!({"uid": 33, "gid": 33});
            container.spec["linux"]["seccomp"]["flags"] = json!([
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_LOG"
            ]);
        },
    ] {
        let mut container = Container::new(script);
        container.spec["annotations"] = json!({"a": "b"});
        filtered(&mut container, &place.socket(), "ALLOW", asks(&["mkdir", "execve"]));
        change(&mut container);
        let ended = run(&container);
        let lines: Vec<&str> = ended.output.lines().collect();
        assert!(lines[0].contains("nvalid cross-device link"), "{}", ended.output);
        assert_eq!(lines[1..], ["Seccomp:\t2", "0", "1", "2", "3", "1"], "{}", ended.output);
        let (state, calls) = told.recv().unwrap();
        assert_eq!((&state["metadata"], &state["ociVersion"]), (&json!("for the agent"), &json!("1.2.0")));
        let inner = &state["state"];
        assert_eq!((&inner["status"], &inner["annotations"]), (&json!("creating"), &json!({"a": "b"})));
        assert_eq!((&inner["id"], &inner["pid"]), (&json!(container.id.to_string()), &state["pid"]));
        assert!(state["pid"].as_i64().unwrap() > 1);
        assert_eq!(calls[0], EXECVE, "the program itself: {calls:?}");
        assert!(calls.contains(&MKDIR));
    }
}

#[test]
fn a_filter_that_asks_about_everything_holds_nothing_up() {
    let place = Place::new("everything");
    let told = supervise(UnixListener::bind(place.socket()).unwrap(), |_| Answer::Continue);
    for init in [false, true] {
        let mut container = Container::new("echo $$; sleep 0.1; ls /proc/1/task");
        container.init = init;
        filtered(&mut container, &place.socket(), "NOTIFY", json!([]));
        let ended = run(&container);
        // The thread beside it has had the number 2, and is gone.
        assert_eq!((ended.code, ended.output.as_str()), (0, if init { "3\n1\n" } else { "1\n1\n" }));
        assert!(told.recv().unwrap().1.contains(&EXECVE));
    }
}

#[test]
fn what_fails_is_said_although_the_filter_forbids_to_say_it() {
    let place = Place::new("fails");
    let told = supervise(UnixListener::bind(place.socket()).unwrap(), |_| Answer::Continue);
    let mut container = Container::new("");
    container.spec["process"]["args"] = json!(["no-such"]);
    filtered(&mut container, &place.socket(), "KILL_PROCESS", asks(&["execve"]));
    let error = container.run().err().unwrap();
    assert_eq!(error.kind(), Kind::CommandNotFound, "{error}");
    assert!(is_gone(&container.cgroup));
    assert_eq!(told.recv().unwrap().1.len(), 2, "both directories of the path");
}

#[test]
fn a_filter_without_a_supervisor_hides_no_failure_either() {
    let allowed = json!([{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]);
    for default in ["ERRNO", "KILL_PROCESS", "TRAP"] {
        let mut container = Container::new("");
        container.spec["process"]["args"] = json!(["no-such"]);
        container.spec["linux"]["seccomp"] = json!({"defaultAction": format!("SCMP_ACT_{default}"),
            "flags": ["SECCOMP_FILTER_FLAG_TSYNC"], "syscalls": allowed});
        let error = container.run().err().unwrap();
        assert_eq!(error.kind(), Kind::CommandNotFound, "{default}: {error}");
        // Where there is one process and no more, it starts or fails all the same.
        container.spec["linux"]["resources"]["pids"] = json!({"limit": 1});
        let _ = container.run();
        assert!(is_gone(&container.cgroup));
    }
}

#[test]
fn without_a_supervisor_nothing_is_made() {
    let place = Place::new("nobody");
    let mut container = Container::new("true");
    filtered(&mut container, &place.socket(), "ALLOW", asks(&["mkdir"]));
    let error = container.run().err().unwrap();
    assert!(error.to_string().contains("agent.sock"), "{error}");
    assert!(is_gone(&container.cgroup));
    // Nobody listens any more.
    drop(UnixListener::bind(place.socket()).unwrap());
    assert!(container.run().err().unwrap().to_string().contains("agent.sock"));
    // A supervisor that no call needs is not looked for.
    filtered(&mut container, &place.socket(), "ALLOW", json!([]));
    assert_eq!(run(&container).code, 0);
    container.spec["linux"]["seccomp"]["listenerPath"] = json!("relative");
    container.spec["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    assert!(container.run().err().unwrap().to_string().contains("not absolute"));
    container.spec["linux"]["seccomp"]["listenerPath"] = json!(null);
    assert!(container.run().err().unwrap().to_string().contains("listenerMetadata"));
}

#[test]
fn a_supervisor_that_goes_away_is_an_error() {
    let place = Place::new("away");
    let listener = UnixListener::bind(place.socket()).unwrap();
    let closer = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let mut container = Container::new("true");
    // Some annotations more than one buffer takes.
    container.spec["annotations"] = json!({"long": "x".repeat(1 << 20)});
    filtered(&mut container, &place.socket(), "ALLOW", asks(&["mkdir"]));
    let error = container.run().err().unwrap();
    assert!(error.to_string().contains("filter"), "{error}");
    assert!(is_gone(&container.cgroup));
    closer.join().unwrap();
}

#[test]
fn long_paths_and_long_states_arrive() {
    let place = Place::new("long");
    let deep = place.0.join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    // Bound under a short name, and then moved to the long one.
    let listener = UnixListener::bind(place.socket()).unwrap();
    fs::rename(place.socket(), deep.join("agent.sock")).unwrap();
    let told = supervise(listener, |_| Answer::Continue);
    let mut container = Container::new("true");
    container.spec["annotations"] = json!({"long": "x".repeat(60_000)});
    filtered(&mut container, &deep.join("agent.sock"), "ALLOW", asks(&["execve"]));
    assert_eq!(run(&container).code, 0);
    let (state, calls) = told.recv().unwrap();
    assert_eq!(state["state"]["annotations"]["long"].as_str().unwrap().len(), 60_000);
    assert_eq!(calls, [EXECVE; 2], "each directory of the path");
}

fn execute(container: &Container, running: &Running, script: &str) -> failure::Result<Ended> {
    let mut process = container.spec["process"].clone();
    process["args"] = json!(["sh", "-c", script]);
    let process = serde_json::from_value(process).unwrap();
    let spec = container.spec();
    let (stdio, output) = piped();
    let state = hooks::State {
        oci_version: "1.3.0".to_owned(),
        id: container.id.to_string(),
        status: "running",
        pid: running.identity.pid,
        bundle: "/bundle".into(),
        annotations: HashMap::new(),
    };
    let request = Exec {
        target: &running.identity,
        cgroup: &container.cgroup,
        process: &process,
        linux: spec.linux().as_ref().unwrap(),
        filter: None,
        seccomp_cache: None,
        preserved: 0,
        container: Some(&state),
    };
    Ok(finish(&exec(&request, stdio)?, output))
}

#[test]
fn further_processes_have_listeners_of_their_own() {
    let place = Place::new("exec");
    let mut container = Container::new("sleep 60");
    let (running, _output) = container.start().unwrap();
    filtered(&mut container, &place.socket(), "ALLOW", asks(&["mkdir"]));
    assert!(execute(&container, &running, "true").err().unwrap().to_string().contains("agent.sock"));
    let told = supervise(UnixListener::bind(place.socket()).unwrap(), |_| Answer::Return(0));
    let ended = execute(&container, &running, "busybox mkdir /tmp/b && ls /tmp && echo $$").unwrap();
    assert_eq!(ended.code, 0, "{}", ended.output);
    assert!(!ended.output.contains('b'), "it was not made: {}", ended.output);
    let (state, calls) = told.recv().unwrap();
    assert_eq!(calls, [MKDIR]);
    assert_eq!((&state["state"]["status"], &state["state"]["bundle"]), (&json!("running"), &json!("/bundle")));
    assert_eq!(state["state"]["pid"], json!(running.identity.pid));
    assert_ne!(state["pid"], state["state"]["pid"]);
    container.kill(&running);
}
