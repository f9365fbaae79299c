//! Signals as data, behind a stopped reader. No test harness: its threads would not have them blocked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::zombie_processes, reason = "the pidfd reaps")]

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use monitor::Exit;
use monitor::stdio::{Local, Pumped, Remote, Signals, pump};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open};

fn main() {
    let mut child = Command::new("yes").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let remote = Remote::Pipes { stdin: None, stdout: child.stdout.take().map(OwnedFd::from), stderr: None };
    // A pipe that nobody reads: our stdout is full at once.
    let (nobody_reads, stdout) = std::io::pipe().unwrap();
    let signals = Signals::block(true).unwrap();
    let mut arrived = Vec::new();
    let mut callback = |signal: i32| {
        arrived.push(signal);
        if signal == 15 {
            kill_process(pid, Signal::KILL).unwrap();
        }
    };
    let sender = std::thread::spawn(move || {
        for signal in [Signal::HUP, Signal::WINCH, Signal::USR1, Signal::TERM] {
            std::thread::sleep(Duration::from_millis(50));
            kill_process(getpid(), signal).unwrap();
        }
        std::thread::sleep(Duration::from_millis(200));
        drop(nobody_reads);
    });
    let local = Local { stdout: Some(stdout.as_fd()), signals: Some((&signals, &mut callback)), ..Local::default() };
    assert_eq!(pump(pidfd.as_fd(), remote, local).unwrap(), Pumped::OutputClosed);
    sender.join().unwrap();
    assert_eq!(arrived, [1, 10, 15]);
    assert_eq!(Exit::reap(pidfd.as_fd()).unwrap().code, 137);
    // Without proxy only the window's size is blocked; then the old mask is back.
    drop(signals);
    drop(Signals::block(false).unwrap());
    let blocked = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(blocked.contains("SigBlk:\t0000000000000000"), "{blocked}");
}
