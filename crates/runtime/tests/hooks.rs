//! Hooks at every moment of launching, a start by somebody else, and the choices of a request. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test ends at the first surprise")]

mod harness;

use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use failure::{Kind, Result};
use harness::{Container, finish, is_gone, piped, wait};
use runtime::{Plan, Request, Running, launch};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};

/// A hook of `sh` with a script; the bundle is where it writes.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

fn with_hooks(script: &str, hooks: Value) -> Container {
    let mut container = Container::new(script);
    container.spec["root"]["path"] = json!(container.root.path);
    container.spec["hooks"] = hooks;
    container.spec["annotations"] = json!({"color": "amber"});
    container
}

fn plan(container: &Container) -> Result<Plan> {
    let spec = container.spec();
    let bundle = Some(container.root.path.as_path());
    Plan::new(&Request { bundle, ..Request::new(&container.id, &spec, &container.cgroup) })
}

fn run(container: &Container) -> Result<harness::Ended> {
    let (stdio, output) = piped();
    let running = launch(plan(container)?, &container.root, stdio)?.start()?;
    let ended = finish(&running, output);
    runtime::cgroup::Cgroup::open(&container.cgroup)?.remove()?;
    Ok(ended)
}

/// A socket beside the root that listens, and a connection to it.
struct Socket {
    listener: OwnedFd,
    address: SocketAddrUnix,
}

impl Socket {
    fn new(directory: &Path) -> Self {
        let address = SocketAddrUnix::new(directory.join("start")).unwrap();
        let listener = unix();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 8).unwrap();
        Self { listener, address }
    }

    fn connect(&self) -> OwnedFd {
        let connection = unix();
        rustix::net::connect(&connection, &self.address).unwrap();
        connection
    }
}

fn unix() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// Creates a container that waits for its start, as a command does that ends then.
fn create(container: &Container, socket: &Socket) -> Result<(Running, runtime::AfterStart, fs::File)> {
    let (stdio, output) = piped();
    let spec = container.spec();
    let bundle = Some(container.root.path.as_path());
    let start = Some(socket.listener.as_fd());
    let plan = Plan::new(&Request { bundle, start, ..Request::new(&container.id, &spec, &container.cgroup) })?;
    let launched = launch(plan, &container.root, stdio)?;
    launched.ready()?;
    let after = launched.after_start();
    Ok((launched.leave()?, after, output))
}

#[test]
fn hooks_run_in_their_order_and_places() {
    let directory = std::env::temp_dir().join(format!("skep-hooks-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let log = directory.join("log");
    fs::write(&log, "").unwrap();
    let note = |name: &str, more: &str| hook(&format!("{{ echo {name}; {more}; }} >> {}", log.display()));
    let mut container = with_hooks("cat /tmp/*", json!({}));
    let root = container.root.path.display().to_string();
    // The container's root writes to the log of createContainer, through the host's tree.
    fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    container.spec["hooks"] = json!({
        "prestart": [note("prestart", "tr -d '\\n' | grep -o '\"status\":\"[a-z]*\"'")],
        // The root is complete at its path in the container's mount namespace, and nowhere else.
        "createRuntime": [note("createRuntime", &format!("read s; pid=${{s#*pid\\\":}}; pid=${{pid%%,*}}; \
            grep -c ' {root}/proc ' /proc/$pid/mountinfo; grep -c {root} /proc/self/mountinfo; true"))],
        "createContainer": [note("createContainer", &format!("test -e {root}/proc/1/stat && echo $$; hostname; \
            echo seen > {root}/tmp/from-hook; tr -d '\\n' | grep -o amber"))],
        "startContainer": [hook("tr , '\\n' | grep status > /tmp/start; pwd >> /tmp/start")],
    });
    let ended = run(&container).unwrap();
    assert_eq!(ended.output, "seen\n\"status\":\"created\"\n/\n");
    assert_eq!(ended.code, 0);
    let log = fs::read_to_string(&log).unwrap();
    let wanted = "prestart\n\"status\":\"creating\"\ncreateRuntime\n1\n0\ncreateContainer\n2\ncell\namber\n";
    assert_eq!(log, wanted);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_hook_that_fails_undoes_the_container() {
    for (moment, line) in [
        ("prestart", "the hook `/bin/sh` failed: exit code 9: broken"),
        ("createRuntime", "the hook `/bin/sh` failed: exit code 9: broken"),
        ("createContainer", "the createContainer hook `/bin/sh` failed: exit code 9"),
        ("startContainer", "the startContainer hook `/bin/sh` failed: exit code 9"),
    ] {
        let container = with_hooks("true", json!({moment: [hook("echo broken; exit 9")]}));
        let error = run(&container).err().expect(moment);
        assert_eq!(error.to_string(), line);
        assert!(is_gone(&container.cgroup), "{moment}");
    }
    let mut slow = hook("sleep 60");
    slow["timeout"] = json!(1);
    let container = with_hooks("true", json!({"createContainer": [slow]}));
    let error = run(&container).err().unwrap();
    assert_eq!(error.to_string(), "the createContainer hook `/bin/sh` failed: it took longer than its timeout");
}

#[test]
fn somebody_else_starts_it() {
    let container = with_hooks("echo started; exit 5", json!({"startContainer": [hook("echo > /tmp/hook")]}));
    let socket = Socket::new(&container.root.path.join("data"));
    let (running, after, output) = create(&container, &socket).unwrap();
    // One that is killed before it says its word starts nothing.
    drop(socket.connect());
    assert!(!container.root.path.join("tmp/hook").exists());
    runtime::start(&socket.connect(), &after).unwrap();
    let ended = finish(&running, output);
    assert_eq!((ended.code, ended.output.as_str()), (5, "started\n"));
    assert!(container.root.path.join("tmp/hook").exists());
    runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
}

#[test]
fn what_fails_at_the_start_is_told_to_the_starter() {
    let mut container = with_hooks("true", json!({"startContainer": [hook("exit 3")]}));
    let socket = Socket::new(&container.root.path.join("data"));
    let (running, after, _output) = create(&container, &socket).unwrap();
    let error = runtime::start(&socket.connect(), &after).unwrap_err();
    assert_eq!(error.to_string(), "the startContainer hook `/bin/sh` failed: exit code 3");
    assert_ne!(wait(&running), 0);
    runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();

    // What is no program is found by its execution only; what is missing, before anybody leaves.
    fs::remove_file(socket.address.path_bytes().map(|path| Path::new(std::str::from_utf8(path).unwrap())).unwrap())
        .unwrap();
    fs::write(container.root.path.join("bin/nonsense"), "\u{1}").unwrap();
    fs::set_permissions(container.root.path.join("bin/nonsense"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    container.spec["hooks"] = json!({});
    container.spec["process"]["args"] = json!(["nonsense"]);
    let socket = Socket::new(&container.root.path.join("data"));
    let (running, after, _output) = create(&container, &socket).unwrap();
    let error = runtime::start(&socket.connect(), &after).unwrap_err();
    assert_eq!(error.kind(), Kind::CommandNotExecutable, "{error}");
    wait(&running);
    runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
    container.spec["process"]["args"] = json!(["missing"]);
    let error = create(&container, &socket).err().unwrap();
    assert_eq!(error.kind(), Kind::CommandNotFound, "{error}");
    assert!(is_gone(&container.cgroup));
}

#[test]
fn a_parent_that_never_leaves_takes_it_along() {
    let container = with_hooks("true", json!({}));
    let socket = Socket::new(&container.root.path.join("data"));
    let (stdio, _output) = piped();
    let spec = container.spec();
    let start = Some(socket.listener.as_fd());
    let plan = Plan::new(&Request { start, ..Request::new(&container.id, &spec, &container.cgroup) }).unwrap();
    let launched = launch(plan, &container.root, stdio).unwrap();
    launched.ready().unwrap();
    let identity = launched.identity();
    drop(launched);
    assert!(!identity.is_alive());
    assert!(is_gone(&container.cgroup));
}

#[test]
fn descriptors_are_kept_if_asked_for_and_the_root_can_be_entered_without_pivot() {
    // Children of concurrent tests would inherit what is put at 3 and 4: another process does it.
    let script = "ls /proc/self/fd | tr '\\n' ' '; cat <&3; ls -d /proc/1 /bin; ls -a / | tr '\\n' ' '";
    let container = with_hooks(script, json!({}));
    let file = container.root.path.join("data/kept");
    fs::write(&file, "kept\n").unwrap();
    match sys::process::fork().unwrap() {
        sys::process::Fork::Child => {
            // What the other tests have open is theirs; here the first free numbers are wanted.
            sys::descriptors::close_range(3, u32::MAX).unwrap();
            let third = fs::File::open(&file).unwrap();
            let fourth = third.try_clone().unwrap();
            assert_eq!((third.as_raw_fd(), fourth.as_raw_fd()), (3, 4));
            // As they come from a shell.
            for file in [&third, &fourth] {
                rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
            }
            let spec = container.spec();
            let (stdio, mut output) = piped();
            let plan = Plan::new(&Request {
                preserved: 2,
                pivot: false,
                ..Request::new(&container.id, &spec, &container.cgroup)
            })
            .unwrap();
            let running = launch(plan, &container.root, stdio).unwrap().start().unwrap();
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            let right = wait(&running) == 0 && text.starts_with("0 1 2 3 4 5 kept\n");
            runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
            sys::process::exit(i32::from(!right))
        }
        sys::process::Fork::Parent(pid) => {
            let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.1.exit_status(), Some(0));
        }
    }
}
