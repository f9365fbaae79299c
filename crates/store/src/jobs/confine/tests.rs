//! Workers that try what they must not: behind all walls they are killed, and without the filter the other walls hold.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use failure::Error;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::super::process::{Child, Heard, spawn};
use super::*;
use crate::unpack::Devices;

/// A layer's tree beside a file that is nobody's business.
struct Ground(PathBuf);

impl Ground {
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skep-confine-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("tree/inside")).unwrap();
        fs::write(path.join("secret"), "s").unwrap();
        Some(Self(path))
    }

    fn tree(&self) -> OwnedFd {
        directory(&self.0.join("tree"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn directory(path: &Path) -> OwnedFd {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// What a worker says at last, or how it ended.
fn outcome(mut child: Child) -> std::result::Result<Vec<u8>, String> {
    loop {
        match child.hear().unwrap() {
            Heard::Nothing | Heard::Progress(_) | Heard::Said(_) => {}
            Heard::Done(payload) => return Ok(payload),
            Heard::Failed(error) | Heard::Abandoned(error) => return Err(error.to_string()),
        }
    }
}

/// A worker in a tree, all walls but the filter; `job` returns what it could do that it should not.
fn in_tree_without_filter(ground: &Ground, job: impl FnOnce() -> Vec<&'static str>) {
    let tree = ground.tree();
    let child = spawn(&[tree.as_raw_fd()], move |_| {
        let _tree = wall_in_tree(tree).map_err(|error| Error::internal(format!("no walls: {error}")))?;
        Ok(job().join(", ").into_bytes())
    });
    assert_eq!(outcome(child.unwrap()).map(|done| String::from_utf8(done).unwrap()), Ok(String::new()));
}

#[test]
fn without_the_filter_no_name_leads_out() {
    let Some(ground) = Ground::new() else { return };
    let secret = ground.0.join("secret");
    in_tree_without_filter(&ground, move || {
        let mut done = Vec::new();
        let mut tried = |what, worked| {
            if worked {
                done.push(what)
            }
        };
        tried("read a file by its path", fs::read(&secret).is_ok());
        tried(
            "read upwards",
            ["../secret", "../../etc/passwd", "/../etc/passwd"].iter().any(|path| fs::read(path).is_ok()),
        );
        tried("see the processes", fs::read_dir("/proc/self").is_ok());
        tried("read the tree's own files", {
            fs::write("/inside/file", "x").is_err() || fs::read("/inside/file").is_ok()
        });
        tried("follow a link", {
            rustix::fs::symlinkat("inside", CWD, "/link").is_err() || fs::read_dir("/link").is_ok()
        });
        tried("leave the root", rustix::fs::mkdirat(CWD, "/deep", Mode::RWXU).is_ok() && chroot("/deep").is_ok());
        done
    });
    assert_eq!(fs::read(ground.0.join("secret")).unwrap(), b"s");
}

#[test]
fn without_the_filter_no_device_is_made_or_opened() {
    let Some(ground) = Ground::new() else { return };
    let null = makedev(1, 3);
    mknodat(ground.tree(), "null", FileType::CharacterDevice, Mode::from_raw_mode(0o666), null).unwrap();
    in_tree_without_filter(&ground, move || {
        let mut done = Vec::new();
        let mut tried = |what, worked| {
            if worked {
                done.push(what)
            }
        };
        tried("write to a device", fs::write("/null", "x").is_ok());
        for kind in [FileType::CharacterDevice, FileType::BlockDevice] {
            tried("make a device", mknodat(CWD, "/disk", kind, Mode::RWXU, makedev(8, 0)).is_ok());
        }
        // Overlayfs's mark of a deleted name is the one that needs no right.
        tried("no whiteout", mknodat(CWD, "/gone", FileType::CharacterDevice, Mode::empty(), 0).is_err());
        done
    });
}

#[test]
fn without_the_filter_nobody_is_reached() {
    let Some(ground) = Ground::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let name = format!("skep-confine-{}", std::process::id());
    let socket = SocketAddr::from_abstract_name(name).unwrap();
    let _abstract_listener = UnixListener::bind_addr(&socket).unwrap();
    let mut witness = Command::new("sleep").arg("100").spawn().unwrap();
    let target = Pid::from_raw(witness.id().cast_signed()).unwrap();
    in_tree_without_filter(&ground, move || {
        let mut done = Vec::new();
        let mut tried = |what, worked| {
            if worked {
                done.push(what)
            }
        };
        tried("connect to the host", TcpStream::connect(address).is_ok());
        tried("listen", TcpListener::bind("127.0.0.1:0").is_ok());
        tried("reach an abstract socket", UnixStream::connect_addr(&socket).is_ok());
        tried("signal another process", rustix::process::kill_process(target, Signal::TERM).is_ok());
        tried("signal its parent", {
            let parent = rustix::process::getppid();
            parent.is_some_and(|parent| rustix::process::test_kill_process(parent).is_ok())
        });
        done
    });
    assert!(witness.try_wait().unwrap().is_none());
    witness.kill().unwrap();
    witness.wait().unwrap();
}

#[test]
fn without_the_filter_no_right_is_gained() {
    let Some(ground) = Ground::new() else { return };
    let tree = ground.tree();
    fs::copy("/bin/true", ground.0.join("tree/program")).unwrap();
    let walls: fn(OwnedFd) -> Result<()> = |tree| wall_in_tree(tree).map(drop);
    for (kind, wall) in [("stream", (|_| wall_in_stream()) as fn(OwnedFd) -> _), ("tree", walls)] {
        let tree = tree.try_clone().unwrap();
        let child = spawn(&[tree.as_raw_fd()], move |_| {
            wall(tree).map_err(|error| Error::internal(format!("no walls: {error}")))?;
            let mut done = Vec::new();
            let mut tried = |what, worked| {
                if worked {
                    done.push(what)
                }
            };
            let sets = rustix::thread::capabilities(None).unwrap();
            let forbidden = CapabilitySet::SYS_ADMIN | CapabilitySet::MKNOD | CapabilitySet::SYS_CHROOT;
            tried("keep a capability", sets.permitted.intersects(forbidden) || !sets.inheritable.is_empty());
            tried("take it back", {
                let all = CapabilitySets { effective: forbidden, permitted: forbidden, inheritable: forbidden };
                set_capabilities(None, all).is_ok()
            });
            tried("run a program", Command::new("/program").status().is_ok());
            tried("mount", rustix::mount::mount_bind("/", "/").is_ok());
            tried("outlive its parent", rustix::process::parent_process_death_signal() != Ok(Some(Signal::KILL)));
            tried("leave a core dump", rustix::process::getrlimit(Resource::Core).maximum != Some(0));
            Ok(done.join(", ").into_bytes())
        });
        assert_eq!(outcome(child.unwrap()), Ok(Vec::new()), "{kind}");
    }
}

/// Whatever came of it.
fn attempt<T>(_result: T) {}

/// Something that a worker is killed for, with its name.
type Deed = (&'static str, fn());

const DEEDS: &[Deed] = &[
    ("socket", || attempt(TcpListener::bind("127.0.0.1:0"))),
    ("fork", || attempt(sys::process::fork())),
    ("exec", || attempt(sys::process::execute(c"/program", no_strings(), no_strings()))),
    ("mount", || attempt(rustix::mount::mount_bind("/", "/"))),
    ("unshare", || attempt(sys::namespace::unshare_mounts())),
    ("chroot", || attempt(chroot("/"))),
    ("signal", || attempt(rustix::process::kill_process(rustix::process::getpid(), Signal::TERM))),
    ("capset", || attempt(set_capabilities(None, NO_CAPABILITIES))),
    ("rename", || attempt(rustix::fs::renameat(CWD, "/a", CWD, "/b"))),
    ("setuid", || attempt(rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(1)))),
    ("ioctl", || attempt(rustix::termios::tcgetattr(rustix::stdio::stdin()))),
    ("landlock", || attempt(landlock::version())),
    ("pidfd", || attempt(rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()))),
];

const NO_CAPABILITIES: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

fn no_strings() -> sys::process::StringList<'static> {
    sys::process::StringList::new(&[sys::process::StringPointer::END]).unwrap()
}

#[test]
fn the_filter_kills_at_every_other_call() {
    let Some(ground) = Ground::new() else { return };
    for (name, deed) in DEEDS {
        let tree = ground.tree();
        let in_tree = spawn(&[tree.as_raw_fd()], move |_| {
            let _tree = super::tree(tree).map_err(|error| Error::internal(error.to_string()))?;
            deed();
            Ok(Vec::new())
        });
        let in_stream = spawn(&[], move |_| {
            stream().map_err(|error| Error::internal(error.to_string()))?;
            deed();
            Ok(Vec::new())
        });
        let tree = ground.tree();
        let looking = spawn(&[tree.as_raw_fd()], move |_| {
            look(tree.as_fd()).map_err(|error| Error::internal(error.to_string()))?;
            deed();
            Ok(Vec::new())
        });
        for (kind, child) in [("tree", in_tree), ("stream", in_stream), ("tree to read", looking)] {
            let error = outcome(child.unwrap()).expect_err(&format!("`{name}` in a {kind}"));
            // SIGSYS.
            assert!(error.contains("signal 31"), "`{name}` in a {kind}: {error}");
        }
    }
}

#[test]
fn a_stream_opens_no_file() {
    let Some(_ground) = Ground::new() else { return };
    let filtered = spawn(&[], |_| {
        stream().map_err(|error| Error::internal(error.to_string()))?;
        attempt(File::open("/etc/passwd"));
        Ok(Vec::new())
    });
    assert!(outcome(filtered.unwrap()).unwrap_err().contains("signal 31"));
    let unfiltered = spawn(&[], |_| {
        wall_in_stream().map_err(|error| Error::internal(error.to_string()))?;
        let kinds = ["/etc/passwd", "/", "/proc/self/status", "."].map(|path| File::open(path).map_err(|e| e.kind()));
        let refused = |kind| matches!(kind, Err(ErrorKind::NotFound | ErrorKind::PermissionDenied));
        Ok(vec![u8::from(kinds.into_iter().all(refused))])
    });
    assert_eq!(outcome(unfiltered.unwrap()), Ok(vec![1]));
}

#[test]
fn who_compares_a_tree_reads_it_and_nothing_else() {
    let Some(ground) = Ground::new() else { return };
    fs::write(ground.0.join("tree/inside/file"), "x").unwrap();
    let (tree, secret) = (ground.tree(), ground.0.join("secret"));
    let child = spawn(&[tree.as_raw_fd()], move |_| {
        wall_in_look(tree.as_fd()).map_err(|error| Error::internal(error.to_string()))?;
        let mut done = Vec::new();
        let mut tried = |what, worked| {
            if worked {
                done.push(what)
            }
        };
        tried("not read the tree", fs::read("/inside/file").is_err() || fs::read_dir("/inside").is_err());
        tried("read a file by its path", fs::read(&secret).is_ok() || fs::read("../secret").is_ok());
        tried("write a file", fs::write("/inside/file", "y").is_ok() || fs::write("/inside/new", "y").is_ok());
        tried("remove a file", fs::remove_file("/inside/file").is_ok());
        Ok(done.join(", ").into_bytes())
    });
    assert_eq!(outcome(child.unwrap()).map(|done| String::from_utf8(done).unwrap()), Ok(String::new()));
}

#[test]
fn devices_are_made_on_request_and_only_below_the_tree() {
    use super::super::devices::{Asking, Making};
    use super::super::follow;
    let Some(ground) = Ground::new() else { return };
    std::os::unix::fs::symlink("..", ground.0.join("tree/up")).unwrap();
    let (tree, asked) = (ground.tree(), ground.tree());
    let (ours, answers) = follow::channel().unwrap();
    let child = spawn(&[tree.as_raw_fd(), answers.as_raw_fd()], move |report| {
        let _tree = super::tree(tree).map_err(|error| Error::internal(error.to_string()))?;
        let asking = Asking { report, answers };
        let make = |path: &[u8]| asking.make(path, FileType::BlockDevice, (7, 200)).map_err(Errno::raw_os_error).err();
        let paths: &[&[u8]] = &[
            b"inside/disk",
            b"top",
            b"../out",
            b"up/out",
            b"inside/../../out",
            b"/etc/out",
            b"inside/disk",
            b"..",
            b"",
        ];
        Ok(paths.iter().flat_map(|path| make(path).unwrap_or(0).to_le_bytes()).collect())
    });
    let child = child.unwrap().with_devices(Making::new(asked, ours));
    let answers = outcome(child).unwrap();
    let numbers: Vec<i32> = answers.chunks(4).map(|chunk| i32::from_le_bytes(chunk.try_into().unwrap())).collect();
    assert_eq!(numbers[..2], [0, 0]);
    assert!(numbers[2..].iter().all(|number| *number != 0), "{numbers:?}");
    assert_eq!(numbers[6], Errno::EXIST.raw_os_error());
    let made = fs::metadata(ground.0.join("tree/inside/disk")).unwrap();
    assert!(made.file_type().is_block_device() && made.rdev() == makedev(7, 200) && made.mode() & 0o7777 == 0);
    assert!(!ground.0.join("out").exists());
}

#[test]
fn a_fetcher_reaches_the_network_and_no_file() {
    let Some(ground) = Ground::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fs::copy("/bin/true", ground.0.join("program")).unwrap();
    let (filtered, open) = (network as fn() -> Result<()>, wall_in_network as fn() -> Result<()>);
    for (kind, walls) in [("with the filter", filtered), ("without the filter", open)] {
        let place = ground.0.clone();
        let child = spawn(&[], move |_| {
            walls().map_err(|error| Error::internal(format!("no walls: {error}")))?;
            let mut done = Vec::new();
            let mut tried = |what, worked| {
                if worked {
                    done.push(what)
                }
            };
            tried("not connect", TcpStream::connect(address).is_err());
            tried("not read where names are found", fs::read("/etc/hosts").is_err());
            tried("read passwords", fs::read("/etc/shadow").is_ok() || fs::read("/etc/passwd").is_ok());
            tried("read a file", fs::read(place.join("secret")).is_ok());
            tried("list a directory", fs::read_dir(&place).is_ok());
            tried("write a file", fs::write(place.join("written"), "x").is_ok());
            tried("write settings", fs::OpenOptions::new().append(true).open("/etc/hosts").is_ok());
            tried("make a directory", fs::create_dir("/tmp/skep-made").is_ok());
            tried("read the memory of others", fs::read("/proc/1/environ").is_ok());
            tried("run a program", Command::new(place.join("program")).status().is_ok());
            tried("run a program of the host", Command::new("/bin/true").status().is_ok());
            tried("signal its parent", {
                let parent = rustix::process::getppid();
                parent.is_some_and(|parent| rustix::process::test_kill_process(parent).is_ok())
            });
            tried("mount", rustix::mount::mount_bind("/", "/").is_ok());
            tried("have a capability", set_capabilities(None, ALL_CAPABILITIES).is_ok());
            Ok(done.join(", ").into_bytes())
        });
        let done = outcome(child.unwrap()).map(|done| String::from_utf8(done).unwrap());
        assert_eq!(done, Ok(String::new()), "{kind}");
    }
}

const ALL_CAPABILITIES: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::SYS_ADMIN,
    permitted: CapabilitySet::SYS_ADMIN,
    inheritable: CapabilitySet::empty(),
};
