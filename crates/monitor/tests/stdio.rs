//! Relays to programs whose descriptors are ours.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::zombie_processes, reason = "the pidfd reaps")]

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use monitor::stdio::{Local, Pumped, Remote, pump};
use monitor::{Exit, keys::DetachKeys};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

struct Program {
    pidfd: OwnedFd,
    remote: Remote,
}

fn program(script: &str, stdin: Stdio) -> Program {
    let mut command = Command::new("sh");
    let mut child =
        command.args(["-c", script]).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    let remote = Remote::Pipes {
        stdin: child.stdin.take().map(OwnedFd::from),
        stdout: child.stdout.take().map(OwnedFd::from),
        stderr: child.stderr.take().map(OwnedFd::from),
    };
    Program { pidfd: pidfd_open(pid, PidfdFlags::empty()).unwrap(), remote }
}

#[test]
fn all_three_streams_pass() {
    let program = program("cat; echo err >&2; exit 3", Stdio::piped());
    let (stdin, mut ours) = std::io::pipe().unwrap();
    let (mut output, stdout) = std::io::pipe().unwrap();
    let (mut errors, stderr) = std::io::pipe().unwrap();
    let data = vec![b'x'; 3_000_000];
    let copy = data.clone();
    let writer = std::thread::spawn(move || ours.write_all(&copy).unwrap());
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let local = Local {
        stdin: Some(stdin.as_fd()),
        stdout: Some(stdout.as_fd()),
        stderr: Some(stderr.as_fd()),
        ..Local::default()
    };
    assert_eq!(pump(program.pidfd.as_fd(), program.remote, local).unwrap(), Pumped::Ended);
    assert_eq!(Exit::reap(program.pidfd.as_fd()).unwrap().code, 3);
    drop((stdout, stderr));
    writer.join().unwrap();
    assert!(reader.join().unwrap() == data);
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert_eq!(said, "err\n");
}

#[test]
fn children_that_stay_are_not_waited_for() {
    let program = program("echo all; sleep 30 &", Stdio::null());
    let (mut output, stdout) = std::io::pipe().unwrap();
    let start = Instant::now();
    let local = Local { stdout: Some(stdout.as_fd()), ..Local::default() };
    assert_eq!(pump(program.pidfd.as_fd(), program.remote, local).unwrap(), Pumped::Ended);
    assert!(start.elapsed() < Duration::from_secs(25));
    drop(stdout);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(said, "all\n");
    Exit::reap(program.pidfd.as_fd()).unwrap();
}

#[test]
fn keys_detach_and_a_broken_pipe_ends() {
    let cat = program("cat >/dev/null", Stdio::piped());
    let (stdin, mut ours) = std::io::pipe().unwrap();
    ours.write_all(b"text~.").unwrap();
    let keys = Some(DetachKeys::parse("~,.").unwrap());
    let local = Local { stdin: Some(stdin.as_fd()), detach_keys: keys, ..Local::default() };
    assert_eq!(pump(cat.pidfd.as_fd(), cat.remote, local).unwrap(), Pumped::Detached);
    Exit::reap(cat.pidfd.as_fd()).unwrap();

    let yes = program("yes", Stdio::null());
    let (output, stdout) = std::io::pipe().unwrap();
    drop(output);
    let local = Local { stdout: Some(stdout.as_fd()), ..Local::default() };
    assert_eq!(pump(yes.pidfd.as_fd(), yes.remote, local).unwrap(), Pumped::OutputClosed);
    assert_eq!(Exit::reap(yes.pidfd.as_fd()).unwrap().code, 128 + 13);
}
