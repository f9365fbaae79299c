//! The host's side of every hostile test: a canary that nobody may touch, and a thread that swaps names meanwhile.
//!
//! ```text
//!   Canary   a directory of the host at which all links of a hostile tree aim
//!            inotify on each of its directories and files: opened, read, written, changed, made, removed -> an event
//!            a digest of contents and metadata (ctime too), and of the machine's own settings and files
//!   Swapper  renameat2(RENAME_EXCHANGE) of pairs of names, as fast as it goes, until it is dropped
//! ```
//! inotify does not say who it was, so it lies in /run, where people search less than in /tmp.
//!
//! Also used by the races of the crates `store` and `runtime`, which reach the same code without a process per round.

use std::fmt::Write as _;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

/// What the canary's files hold: found anywhere inside a container, it was read.
pub(crate) const SECRET: &str = "the-host-keeps-this-to-itself";

/// Settings of the machine that a redirected write would reach.
const SETTINGS: [&str; 8] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/panic",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/ipv4/ip_forward",
    "/sys/kernel/uevent_helper",
];

/// Files and directories of the machine whose metadata must stay; tests that run beside this one do not touch them.
const PLACES: [&str; 7] =
    ["/etc", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/pts"];

/// A directory of the host that must stay as it is, and unread.
pub(crate) struct Canary {
    directory: PathBuf,
    events: OwnedFd,
    before: String,
}

impl Canary {
    /// Makes a directory with whatever an engine might look for in it; it goes with the value.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new("/run").join(format!("canary-{}-{number}", std::process::id()));
        for name in ["pts", "shm", "fd", "sub", "kernel", "1000"] {
            fs::create_dir_all(directory.join(name)).unwrap();
            fs::write(directory.join(name).join("file"), SECRET).unwrap();
        }
        let files = [
            "passwd",
            "group",
            "hosts",
            "hostname",
            "resolv.conf",
            "null",
            "zero",
            "console",
            "tty",
            "ptmx",
            "file",
            "kcore",
            "sysrq-trigger",
            "core_pattern",
            "mtab",
            "f",
            "r",
        ];
        for name in files {
            fs::write(directory.join(name), format!("root:x:0:0:{SECRET}:/root:/bin/sh\n")).unwrap();
        }
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        // All but closing: what another thread forks at this moment closes the files that were just made when it executes.
        let watched = (WatchFlags::ALL_EVENTS | WatchFlags::DONT_FOLLOW)
            .difference(WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE);
        walk(&directory, &mut |path, _| {
            inotify::add_watch(&events, path, watched).unwrap();
        });
        let canary = Self { before: state(&directory), directory, events };
        canary.take_events();
        canary
    }

    pub(crate) fn path(&self) -> &str {
        self.directory.to_str().unwrap()
    }

    /// Nobody opened, read, wrote, changed or mounted anything.
    #[track_caller]
    pub(crate) fn assert_untouched(&self, what: &str) {
        let events = self.take_events();
        assert!(events.is_empty(), "{what}: the host's files were touched: {events:#?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path()), "{what}: something is mounted on the host's files");
        assert_eq!(state(&self.directory), self.before, "{what}");
        // What looking at it did.
        self.take_events();
    }

    fn take_events(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 16384];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => seen.push(format!("{:?} {:?}", event.file_name(), event.events())),
                Err(Errno::AGAIN) => return seen,
                Err(errno) => panic!("inotify: {errno}"),
            }
        }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Everything that can be told of a tree and of the machine, without access times.
fn state(directory: &Path) -> String {
    let mut text = String::new();
    walk(directory, &mut |path, status| {
        let (mode, owner, size) = (status.mode(), (status.uid(), status.gid()), status.size());
        let changed = (status.ino(), status.nlink(), status.mtime(), status.mtime_nsec(), status.ctime_nsec());
        writeln!(text, "{} {mode:o} {owner:?} {size} {changed:?}", path.display()).unwrap();
        if status.is_file() {
            writeln!(text, "  {:?}", fs::read_to_string(path)).unwrap();
        }
    });
    for setting in SETTINGS {
        writeln!(text, "{setting} {:?}", fs::read_to_string(setting).ok()).unwrap();
    }
    for place in PLACES {
        let told = fs::metadata(place).map(|status| (status.mode(), status.uid(), status.ino(), status.size()));
        writeln!(text, "{place} {:?}", told.ok()).unwrap();
    }
    text
}

fn walk(path: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata)) {
    let status = fs::symlink_metadata(path).unwrap();
    visit(path, &status);
    if status.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| walk(entry, visit));
    }
}

/// Exchanges names in a directory for as long as it lives.
pub(crate) struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    /// `pairs` are paths relative to `directory`, which exchange their places in turn.
    pub(crate) fn start(directory: OwnedFd, pairs: &[(&str, &str)]) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let pairs: Vec<_> = pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect();
        let (stopped, counted) = (stop.clone(), swaps.clone());
        let work = move || {
            // What is mounted or just a link may refuse; the next one will not.
            let flip = |(one, other): &(String, String)| {
                let _ = exchange(&directory, Path::new(one), Path::new(other));
                counted.fetch_add(1, Ordering::Relaxed);
            };
            while !stopped.load(Ordering::Relaxed) {
                // As fast as it goes; then so that the link is there for a moment only, which lets more look-ups get far.
                // Each is undone in reverse, so that in the end all names are where they were.
                (0..32).for_each(|_| pairs.iter().for_each(flip));
                (0..32).for_each(|_| pairs.iter().rev().for_each(flip));
                for _ in 0..64 {
                    pairs.iter().chain(pairs.iter().rev()).for_each(flip);
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_micros(50) {
                        std::hint::spin_loop();
                    }
                }
            }
        };
        Self { stop, swaps, thread: Some(std::thread::spawn(work)) }
    }

    /// Waits until names were exchanged once more: a round without that is no race.
    pub(crate) fn wait_for_next(&self) {
        let before = self.swaps();
        while self.swaps() == before {
            std::thread::yield_now();
        }
    }

    /// How often names were exchanged until now.
    pub(crate) fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Without following the very links that it puts there.
fn exchange(directory: &OwnedFd, one: &Path, other: &Path) -> rustix::io::Result<()> {
    let open = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(directory, parent, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let names = (one.file_name().unwrap_or_default(), other.file_name().unwrap_or_default());
    rustix::fs::renameat_with(open(one)?, names.0, open(other)?, names.1, RenameFlags::EXCHANGE)
}

/// How many rounds a race has: few, or that many times what `SKEP_ROUNDS` says.
pub(crate) fn rounds(few: u64) -> u64 {
    std::env::var("SKEP_ROUNDS").map_or(few, |times| few * times.parse::<u64>().unwrap())
}
