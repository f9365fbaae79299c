//! What a monitor costs at rest: forked off a command line with a bigger heap, which has gone, it holds less than 300
//! kB of private memory. No test harness: the command line is this program again, with one thread and memory of its
//! own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::zombie_processes, reason = "the monitor reaps")]

use std::process::{Command, Stdio};
use std::time::Duration;

use monitor::{Monitor, Setup, Streams};
use runtime::ProcessIdentity;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sys::process::{Fork, fork};

/// The goal for a monitor in the release binary, which is static; dynamic linking costs pages of its own.
const MOST: u64 = if cfg!(target_feature = "crt-static") { 300 } else { 500 };
const NAME: &str = "skep-monitor-memory-";

fn main() {
    if let Some(scratch) = std::env::args_os().nth(1).filter(|argument| argument.to_string_lossy().contains(NAME)) {
        return command_line(scratch.as_ref());
    }
    let scratch = std::env::temp_dir().join(format!("{NAME}{}", std::process::id()));
    std::fs::create_dir(&scratch).unwrap();
    let (theirs, ours) = std::io::pipe().unwrap();
    let program = std::env::current_exe().unwrap();
    let status = Command::new(program).arg(&scratch).stdin(theirs).status().unwrap();
    assert!(status.success());
    std::thread::sleep(Duration::from_millis(2500));
    let monitor = holder(&scratch);
    let private = monitor.map(private_memory);
    // The monitored process ends, so does its monitor.
    drop(ours);
    std::thread::sleep(Duration::from_millis(300));
    std::fs::remove_dir_all(&scratch).unwrap();
    let private = private.unwrap();
    assert!(private < MOST, "{private} kB");
}

/// What `skep run -d` does: memory is used and freed, the monitor forked, and the command line goes.
fn command_line(scratch: &std::path::Path) {
    let garbage: Vec<Vec<u8>> = (0..20_000).map(|number| vec![1; number % 200]).collect();
    drop(garbage);
    if let Fork::Parent(_) = fork().unwrap() {
        return;
    }
    let mut child = Command::new("cat").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id() as i32;
    std::fs::write(scratch.join("pid"), std::process::id().to_string()).unwrap();
    let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap().into(), child.stderr.take().unwrap().into());
    {
        use std::os::fd::AsFd as _;
        let (stdout, stderr): (&std::os::fd::OwnedFd, &std::os::fd::OwnedFd) = (&stdout, &stderr);
        monitor::process::setup_process(&[pidfd.as_fd(), stdout.as_fd(), stderr.as_fd()]).unwrap();
    }
    let setup = Setup {
        run: scratch.to_owned(),
        log: monitor::log::Settings::default(),
        log_directory: scratch.join("log"),
        identity: ProcessIdentity { pid, start_time: 0 },
        pidfd,
        streams: Streams::Pipes { stdin: None, stdout, stderr },
        keep_stdin: false,
        stdin_once: false,
        first_client: None,
    };
    let mut monitor = Monitor::new(setup).unwrap();
    let exit = monitor.run().unwrap();
    monitor.finish(&exit, false, "");
    sys::process::exit(0);
}

/// The monitor's number, as it noted it.
fn holder(scratch: &std::path::Path) -> Option<String> {
    std::fs::read_to_string(scratch.join("pid")).ok()
}

/// Private kilobytes of a process.
#[allow(clippy::print_stdout, reason = "the figure is what this test is for")]
fn private_memory(pid: String) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    if std::env::var_os("SMAPS").is_some() {
        println!("{}", std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap());
    }
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let private = field("Private_Clean:") + field("Private_Dirty:");
    println!(
        "an idle monitor: {private} kB private ({} dirty), {} kB resident",
        field("Private_Dirty:"),
        field("Rss:")
    );
    private
}
