//! Runs one command so that its N-th effect fails or is its last.
//!
//! ```text
//! test thread            worker thread                      supervisor thread
//! watch() -------------> loads the filter, hands over
//!                        the listener ------------------->  for each call: whose is it, is it an effect, the N-th?
//!                        spawns `skep ...` (inherits the       goes on | fails with its errno | its process is killed |
//!                        filter), waits for its end            every process of the command is killed
//! <--------------------- exit status                        until nobody is left whom the filter watches
//! ```
//! A filter belongs to a thread and to what that thread starts: the command, the monitor it forks, the container's
//! child, threads. Effects are counted for as long as a process runs skep's own binary; a container's program, and
//! this test before it executes skep, go on untouched.

use crate::calls::{self, Call, WRITES, When};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use sys::seccomp::notify::{self, Answer, Notification};

/// No command takes this long, even with a fault: one that does hangs.
const PATIENCE: Duration = Duration::from_secs(40);
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): only a deadly signal interrupts a call that is being
/// decided on, so that none is made and counted twice.
const WAIT_KILLABLE: u32 = 1 << 5;

/// What happens at the chosen effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with its errno.
    Fail,
    /// The process that is about to make it is killed.
    Kill,
    /// The command, its monitor and its children are killed; only the container's program stays.
    KillAll,
}

/// Where it happens. Beyond the last effect: nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Injection {
    pub(crate) fault: Fault,
    pub(crate) at: Place,
}

/// An effect, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among all of the command and its children. They work at the same time, so that numbers shift a little.
    Number(usize),
    /// Among those with this name: hardly ever shifts.
    Named(String, usize),
    /// Nowhere.
    None,
}

/// What is known of a watched command.
#[derive(Default)]
struct Known {
    /// `mkdirat /…/containers/.tmp-…`
    effects: Vec<String>,
    /// The effect that something was done to: its index.
    injected: Option<usize>,
    /// The command is over: what its container does later is another command's.
    over: bool,
    processes: BTreeSet<i32>,
    ids: BTreeSet<String>,
}

impl Known {
    /// Whether the effect that was added last is the one.
    fn is_at(&self, place: &Place) -> bool {
        match place {
            Place::Number(number) => self.effects.len() == *number,
            Place::Named(name, number) => {
                self.effects.last().is_some_and(|last| name_of(last) == name)
                    && self.effects.iter().filter(|effect| name_of(effect) == name).count() == *number
            }
            Place::None => false,
        }
    }
}

/// The name of an effect's call.
pub(crate) fn name_of(effect: &str) -> &str {
    effect.split(' ').next().unwrap_or(effect)
}

/// A command that was watched to its end.
pub(crate) struct Watched {
    /// None: it did not end, and was killed.
    pub(crate) status: Option<ExitStatus>,
    known: Arc<Mutex<Known>>,
    supervisor: Option<JoinHandle<()>>,
}

impl Watched {
    /// All effects so far, in the order they were asked for.
    pub(crate) fn effects(&self) -> Vec<String> {
        lock(&self.known).effects.clone()
    }

    /// The index of the effect that something was done to, if there was such an effect.
    pub(crate) fn injected(&self) -> Option<usize> {
        lock(&self.known).injected
    }

    /// Ids of containers that any effect named.
    pub(crate) fn ids(&self) -> Vec<String> {
        lock(&self.known).ids.iter().cloned().collect()
    }

    /// From now on nothing is done to any effect.
    pub(crate) fn is_over(&self) {
        lock(&self.known).over = true;
    }

    /// Waits for the monitor and the container, too.
    pub(crate) fn wait_for_all(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.join().unwrap();
        }
    }
}

/// Runs a command to its end, with a fault. What it leaves running stays watched until it ends.
pub(crate) fn watch(mut command: Command, binary: PathBuf, injection: Injection) -> Watched {
    let known = Arc::new(Mutex::new(Known::default()));
    let (to_test, from_worker) = mpsc::channel();
    let (to_waiter, ended) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        to_test.send(notify::load(&calls::filter(), WAIT_KILLABLE).unwrap()).unwrap();
        drop(to_test);
        let status = command.spawn().unwrap().wait().unwrap();
        to_waiter.send(status).ok();
    });
    let listener = from_worker.recv().unwrap();
    let supervisor = {
        let (known, program) = (Arc::clone(&known), identity(&binary).unwrap());
        std::thread::spawn(move || Supervisor { listener, program, injection, known }.serve())
    };
    let status = ended.recv_timeout(PATIENCE).ok();
    if status.is_none() {
        kill_all(&lock(&known).processes);
    }
    worker.join().unwrap();
    Watched { status, known, supervisor: Some(supervisor) }
}

struct Supervisor {
    listener: OwnedFd,
    /// Device and inode of skep.
    program: (u64, u64),
    injection: Injection,
    known: Arc<Mutex<Known>>,
}

impl Supervisor {
    /// Until the last watched process is gone.
    fn serve(&self) {
        loop {
            let mut polled = [PollFd::new(&self.listener, PollFlags::IN)];
            match poll(&mut polled, None::<&Timespec>) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => panic!("poll the listener: {errno}"),
            }
            let ready = polled[0].revents();
            if !ready.contains(PollFlags::IN) {
                return;
            }
            match notify::receive(&self.listener) {
                Ok(notification) => self.decide(&notification),
                // The caller was killed meanwhile.
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(errno) => panic!("hear of a call: {errno}"),
            }
        }
    }

    fn decide(&self, notification: &Notification) {
        let answer = match self.effect(notification) {
            Some((call, text)) => self.at_effect(notification.thread, call, text),
            None => Some(Answer::Continue),
        };
        if let Some(answer) = answer {
            // One that was killed needs no answer.
            notify::answer(&self.listener, notification.id, answer).ok();
        }
    }

    /// What is answered; none: the caller is dead.
    fn at_effect(&self, thread: i32, call: &Call, text: String) -> Option<Answer> {
        let mut known = lock(&self.known);
        known.processes.insert(process_of(thread));
        known.ids.extend(ids_in(&text));
        known.effects.push(text);
        if known.over || !known.is_at(&self.injection.at) {
            return Some(Answer::Continue);
        }
        let answer = match (self.injection.fault, call.errno) {
            (Fault::Fail, None) => return Some(Answer::Continue),
            (Fault::Fail, Some(errno)) => Some(Answer::Fail(errno)),
            (Fault::Kill, _) => {
                kill(thread);
                None
            }
            (Fault::KillAll, _) => {
                kill_all(&known.processes);
                None
            }
        };
        known.injected = Some(known.effects.len() - 1);
        answer
    }

    /// The call, if it is an effect of skep's own, with its path.
    fn effect(&self, notification: &Notification) -> Option<(&'static Call, String)> {
        let call = calls::find(notification.number)?;
        let thread = notification.thread;
        if !runs(thread, self.program) {
            return None;
        }
        let arguments = &notification.arguments;
        let is_effect = match call.when {
            When::Always => true,
            When::FlagsSay(index) => arguments[index] & WRITES != 0,
            When::HowSays => read_number(thread, arguments[2]).is_none_or(|flags| flags & WRITES != 0),
            When::IntoFile => file_behind(thread, arguments[0]).is_some(),
            When::Given(index) => arguments[index] != 0,
            When::Requests(requests) => requests.contains(&arguments[1]),
        };
        if !is_effect {
            return None;
        }
        let path = match (call.path, call.when) {
            (Some(index), _) => read_text(thread, arguments[index]),
            (None, When::IntoFile) => file_behind(thread, arguments[0]),
            _ => None,
        };
        Some((call, format!("{} {}", call.name, path.unwrap_or_default()).trim_end().to_owned()))
    }
}

/// What a file is, whatever it is called.
fn identity(path: &std::path::Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether a thread runs this program, or the copy that skep makes of itself in memory.
fn runs(thread: i32, program: (u64, u64)) -> bool {
    let path = PathBuf::from(format!("/proc/{thread}/exe"));
    identity(&path) == Some(program)
        || fs::read_link(&path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:skep"))
}

/// The path of an open file, unless it is a pipe, a socket or a device.
fn file_behind(thread: i32, descriptor: u64) -> Option<String> {
    let path = fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).ok()?.to_string_lossy().into_owned();
    (path.starts_with('/') && !path.starts_with("/dev/")).then_some(path)
}

fn read_number(thread: i32, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let memory = fs::File::open(format!("/proc/{thread}/mem")).ok()?;
    memory.read_exact_at(&mut bytes, address).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

/// Zero-terminated text of another process, as much as is on the same page.
fn read_text(thread: i32, address: u64) -> Option<String> {
    const PAGE: u64 = 4096;
    if address == 0 {
        return None;
    }
    let mut bytes = vec![0; (PAGE - address % PAGE).min(512) as usize];
    let memory = fs::File::open(format!("/proc/{thread}/mem")).ok()?;
    let length = memory.read_at(&mut bytes, address).ok()?;
    let end = bytes[..length].iter().position(|byte| *byte == 0).unwrap_or(length);
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// Container ids in a text.
fn ids_in(text: &str) -> Vec<String> {
    let words = text.split(|character: char| !character.is_ascii_hexdigit());
    words.filter(|word| word.len() == 64).map(str::to_owned).collect()
}

/// The process of a thread.
fn process_of(thread: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.and_then(|text| text.trim().parse().ok()).unwrap_or(thread)
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

/// Kills these processes as long as they run skep; who became a container's program stays.
fn kill_all(processes: &BTreeSet<i32>) {
    let Some(program) = identity(&crate::scene::binary()) else { return };
    for pid in processes.iter().filter(|pid| runs(**pid, program)) {
        kill(*pid);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
