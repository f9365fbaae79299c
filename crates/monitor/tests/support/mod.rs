//! A monitor beside a plain child of the test, in a directory of its own.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::zombie_processes, reason = "the monitor reaps")]

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use monitor::client::{Attachment, Exited, Outcome, Wants};
use monitor::log::{Query, Reader, Settings, Stream};
use monitor::stdio::Local;
use monitor::{Exit, FirstClient, Monitor, Setup, Streams};
use runtime::ProcessIdentity;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A directory that goes with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skep-monitor-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a monitor is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub terminal: bool,
    pub keep_stdin: bool,
    pub stdin_once: bool,
    pub settings: Settings,
    pub first: Option<Wants>,
}

/// A monitor in a thread, beside `sh -c script`.
pub struct Watched {
    pub scratch: Scratch,
    pub pid: i32,
    thread: Option<JoinHandle<Exit>>,
    pub first: Option<UnixStream>,
}

impl Watched {
    pub fn start(script: &str, options: Options) -> Self {
        let scratch = Scratch::new();
        let mut command = Command::new(if options.terminal { "setsid" } else { "sh" });
        if options.terminal {
            command.args(["-c", "sh"]);
        }
        command.args(["-c", script]);
        let (streams, pid) =
            if options.terminal { with_terminal(command) } else { with_pipes(command, options.keep_stdin) };
        let (first, theirs) = UnixStream::pair().unwrap();
        let first_client = options.first.map(|wants| FirstClient { stream: theirs, wants });
        let setup = Setup {
            run: scratch.0.clone(),
            log: options.settings,
            log_directory: scratch.log(),
            identity: ProcessIdentity { pid, start_time: 7 },
            pidfd: pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap(),
            streams,
            keep_stdin: options.keep_stdin,
            stdin_once: options.stdin_once,
            first_client,
        };
        let mut monitor = Monitor::new(setup).unwrap();
        let thread = std::thread::spawn(move || {
            let exit = monitor.run().unwrap();
            monitor.finish(&exit, false, "");
            exit
        });
        Self { scratch, pid, thread: Some(thread), first: options.first.map(|_| first) }
    }

    /// The first client's end.
    pub fn first(&mut self) -> Attachment {
        Attachment::from_stream(self.first.take().unwrap())
    }

    pub fn attach(&self, wants: Wants) -> Attachment {
        Attachment::connect(&self.scratch.0, wants).unwrap()
    }

    pub fn exit(&mut self) -> Exit {
        self.thread.take().unwrap().join().unwrap()
    }

    /// All that a stream said, from the log.
    pub fn logged(&self, stream: Stream) -> Vec<u8> {
        logged(&self.scratch.log(), stream)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = rustix::process::kill_process(Pid::from_raw(self.pid).unwrap(), rustix::process::Signal::KILL);
            let _ = thread.join();
        }
    }
}

pub fn all() -> Wants {
    Wants::STDIN.and(Wants::STDOUT).and(Wants::STDERR).and(Wants::EXIT)
}

/// All of a log's bytes of one stream.
pub fn logged(log: &Path, stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let each = |record: monitor::log::Record<'_>| {
        if record.stream == stream {
            bytes.extend_from_slice(record.bytes);
        }
        std::ops::ControlFlow::Continue(())
    };
    Reader::open(log).unwrap().read(Query::default(), each).unwrap();
    bytes
}

/// A relay in a thread, with pipes for its three streams.
pub struct Relayed {
    pub stdin: Option<std::io::PipeWriter>,
    pub stdout: std::io::PipeReader,
    pub stderr: std::io::PipeReader,
    thread: JoinHandle<Outcome>,
}

impl Relayed {
    pub fn start(attachment: Attachment, keys: Option<&str>) -> Self {
        let (theirs_in, stdin) = std::io::pipe().unwrap();
        let (stdout, theirs_out) = std::io::pipe().unwrap();
        let (stderr, theirs_err) = std::io::pipe().unwrap();
        let keys = keys.map(|keys| monitor::keys::DetachKeys::parse(keys).unwrap());
        let thread = std::thread::spawn(move || {
            let local = Local {
                stdin: Some(theirs_in.as_fd()),
                stdout: Some(theirs_out.as_fd()),
                stderr: Some(theirs_err.as_fd()),
                detach_keys: keys,
                ..Local::default()
            };
            attachment.relay(local).unwrap()
        });
        Self { stdin: Some(stdin), stdout, stderr, thread }
    }

    pub fn type_in(&mut self, text: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(text).unwrap();
    }

    /// Reads stdout until it holds this text.
    pub fn expect(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut chunk = [0; 4096];
            let count = self.stdout.read(&mut chunk).unwrap();
            assert!(count > 0, "`{text}` is not in `{}`", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// The outcome, and the rest of stdout and stderr.
    pub fn end(mut self) -> (Outcome, Vec<u8>, Vec<u8>) {
        drop(self.stdin.take());
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            self.stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut stdout = Vec::new();
        self.stdout.read_to_end(&mut stdout).unwrap();
        (self.thread.join().unwrap(), stdout, stderr.join().unwrap())
    }
}

pub fn exited(outcome: Outcome) -> Exited {
    match outcome {
        Outcome::Exited(exited) => exited,
        other => panic!("{other:?}"),
    }
}

/// Waits until something is true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn with_pipes(mut command: Command, keep_stdin: bool) -> (Streams, i32) {
    command.stdin(if keep_stdin { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let streams = Streams::Pipes {
        stdin: child.stdin.take().map(OwnedFd::from),
        stdout: child.stdout.take().unwrap().into(),
        stderr: child.stderr.take().unwrap().into(),
    };
    (streams, child.id() as i32)
}

fn with_terminal(mut command: Command) -> (Streams, i32) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let slave = || Stdio::from(slave.try_clone().unwrap());
    let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
    (Streams::Terminal(master), child.id() as i32)
}
