//! The cases.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use engine::request::{Mount, MountSource, NamespaceMode, NetworkMode, Resources};
use engine::{
    Attach, ContainerId, ExecRequest, ExecStreams, ListOptions, LogRequest, RemoveOptions, Request, Status,
    StopOptions, Summary, WaitFor,
};
use failure::Kind;

use crate::place::{Place, has_cgroup};

type Case = fn(&Place);

pub(crate) const ALL: &[(&str, Case)] = &[
    ("foreground", foreground),
    ("identity", identity),
    ("users", users),
    ("failing_starts", failing_starts),
    ("auto_remove", auto_remove),
    ("life", life),
    ("exec", exec),
    ("logs", logs),
    ("names", names),
    ("volumes", volumes),
    ("etc_files", etc_files),
    ("out_of_memory", out_of_memory),
    ("host_ids", host_ids),
    ("joined_network", joined_network),
    ("differences", differences),
    ("copies", copies),
    ("killed_monitor", killed_monitor),
    ("killed_creator", killed_creator),
    ("filters", filters),
    ("restart_keeps", restart_keeps),
    ("dry_run", dry_run),
    ("many", many),
    ("storm", storm),
];

/// What is killed in [`storm`]: a process that runs one short container in the place of another process.
pub(crate) fn victim(directory: &str) -> std::process::ExitCode {
    let place = Place::at(directory.into());
    let mut note = |id: &ContainerId, _: &[String]| {
        let mut log = fs::File::options().append(true).create(true).open(place.directory.join("log")).unwrap();
        std::io::Write::write_all(&mut log, format!("{id}\n").as_bytes()).unwrap();
        Ok(())
    };
    let request = Request { auto_remove: true, ..place.command(&["sleep", "0.01"]) };
    let attach = Attach { stdout: true, ..Attach::default() };
    if let Ok(started) = engine::run(&place.home, request, attach, &mut note) {
        let _ = started.attachment.unwrap().wait();
    }
    std::mem::forget(place);
    std::process::ExitCode::SUCCESS
}

fn foreground(place: &Place) {
    let said = place.run(place.shell("echo out; echo err >&2; exit 7"));
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\n", "err\n", 7));
    let summary = only(place);
    assert_eq!((summary.status, summary.exit_code), (Status::Exited, Some(7)));
    assert!(!has_cgroup(&summary.id));
    let request = Request { init: true, ..place.shell("kill -9 $$") };
    assert_eq!(place.run(request).code, 137);
}

fn identity(place: &Place) {
    let mut request =
        place.shell("echo $$; hostname; cat /proc/self/uid_map; grep -E 'CapInh|Seccomp:' /proc/self/status");
    request.hostname = Some("honey".into());
    let said = place.run(request);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines[..2], ["1", "honey"], "{said:?}");
    let map: Vec<u64> = lines[2].split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert!(map[0] == 0 && map[1] >= 0x1000_0000 && map[2] == 65_536, "{map:?}");
    assert_eq!(lines[3..], ["CapInh:\t0000000000000000", "Seccomp:\t2"]);
}

fn users(place: &Place) {
    let mut request = place.shell("id -u; id -g; id -G; echo $HOME");
    request.user = Some("bee".into());
    let said = place.run(request);
    assert_eq!(said.out, "1000\n1000\n1000 2000\n/hive\n", "{said:?}");
    let mut request = place.command(&["true"]);
    request.user = Some("wasp".into());
    let error = engine::run(&place.home, request, Attach::detached(), &mut |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("wasp"), "{error}");
}

fn failing_starts(place: &Place) {
    let error = engine::run(&place.home, place.command(&["/no/such"]), Attach::detached(), &mut |_, _| Ok(()));
    assert_eq!(error.unwrap_err().kind(), Kind::CommandNotFound);
    place.assert_empty();
    // What was created on its own stays, with the reason.
    let id = engine::create(&place.home, place.command(&["/no/such"])).unwrap().id;
    let error = engine::start(&place.home, &id, Attach::detached()).unwrap_err();
    assert_eq!(error.kind(), Kind::CommandNotFound, "{error}");
    let summary = only(place);
    assert_eq!(summary.status, Status::Created);
    assert!(!has_cgroup(&summary.id));
    let state = engine::inspect(&place.home, &summary.id, false).unwrap();
    assert_eq!(state["State"]["ExitCode"], 127);
    place.remove(&summary.id);
    let mut request = place.command(&["/etc/passwd"]);
    request.auto_remove = true;
    let error = engine::run(&place.home, request, Attach::detached(), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::CommandNotExecutable, "{error}");
    place.assert_empty();
    let missing = Request { image: "rootfs:/no/such/directory".into(), ..place.command(&["true"]) };
    assert_eq!(engine::create(&place.home, missing).unwrap_err().kind(), Kind::NotFound);
    place.assert_empty();
}

fn auto_remove(place: &Place) {
    let request = Request { auto_remove: true, ..place.shell("echo gone > /data/x; exit 3") };
    assert_eq!(place.run(request).code, 3);
    place.assert_empty();
}

fn life(place: &Place) {
    let home = &place.home;
    let id = place.detached(Request { name: Some("worker".into()), ..sleeper(place) });
    assert_eq!(only(place).status, Status::Running);
    assert_eq!(engine::find(home, "worker").unwrap(), id);
    assert_eq!(engine::find(home, id.short()).unwrap(), id);
    let error = engine::remove(home, &id, RemoveOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    engine::pause(home, &id).unwrap();
    assert_eq!(only(place).status, Status::Paused);
    assert!(engine::pause(home, &id).is_err());
    engine::unpause(home, &id).unwrap();
    engine::rename(home, &id, "queen").unwrap();
    assert!(engine::find(home, "worker").is_err());
    // The shell has yet to start its child.
    let since = Instant::now();
    while engine::top(home, &id, &[]).unwrap().rows.len() < 2 {
        assert!(since.elapsed().as_secs() < 30, "the program has no child");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(engine::statistics(home, &id).unwrap().pids >= 2);
    let inspected = engine::inspect(home, &id, false).unwrap();
    assert_eq!(inspected["Name"], "/queen");
    assert_eq!(inspected["State"]["Status"], "running");
    engine::stop(home, &id, &StopOptions { signal: None, timeout: Some(5) }).unwrap();
    assert_eq!(engine::wait(home, &id, WaitFor::NotRunning).unwrap(), 9);
    engine::stop(home, &id, &StopOptions::default()).unwrap();
    engine::start(home, &id, Attach::detached()).unwrap();
    assert_eq!(only(place).status, Status::Running);
    engine::kill(home, &id, "KILL").unwrap();
    assert_eq!(engine::wait(home, &id, WaitFor::NotRunning).unwrap(), 137);
    engine::remove(home, &id, RemoveOptions::default()).unwrap();
    engine::tidy_up(home);
    place.assert_empty();
}

fn exec(place: &Place) {
    let id = place.detached(sleeper(place));
    let run = |words: &[&str]| {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecRequest { command, ..ExecRequest::default() };
        engine::exec(&place.home, &id, &request, ExecStreams::Null)
    };
    assert_eq!(run(&["/bin/sh", "-c", "exit 5"]).unwrap().wait().unwrap(), 5);
    assert_eq!(run(&["sh", "-c", "test -d /proc/1 && touch /data/mark"]).unwrap().wait().unwrap(), 0);
    assert_eq!(run(&["/no/such"]).unwrap_err().kind(), Kind::CommandNotFound);
    let upper = place.home.container(&id).join("layer/upper/data/mark");
    assert!(upper.exists());
    place.remove(&id);
    assert_eq!(run(&["true"]).unwrap_err().kind(), Kind::NotFound);
}

fn logs(place: &Place) {
    place.run(place.shell("echo one; echo two >&2; echo three"));
    let id = only(place).id;
    let mut text = String::new();
    engine::logs(&place.home, &id, &LogRequest::default(), &mut |record| {
        text.push_str(std::str::from_utf8(record.bytes).unwrap());
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "three", "two"]);
}

fn names(place: &Place) {
    let request = || Request { name: Some("hive".into()), ..place.command(&["true"]) };
    let id = engine::create(&place.home, request()).unwrap().id;
    let error = engine::create(&place.home, request()).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("`hive` is in use"), "{error}");
    assert_eq!(place.entries("root/containers").len(), 1);
    let bad = Request { name: Some("-x".into()), ..request() };
    assert_eq!(engine::create(&place.home, bad).unwrap_err().kind(), Kind::Invalid);
    engine::remove(&place.home, &id, RemoveOptions::default()).unwrap();
    engine::tidy_up(&place.home);
    place.assert_empty();
}

fn volumes(place: &Place) {
    let mounted = |source, target: &str| Mount::at(source, target);
    let named = || mounted(MountSource::Volume("comb".into()), "/data");
    let mut request =
        place.shell("cat /data/given; echo more > /data/more; ls -ln /data/more; touch /bound/x; touch /t/y");
    let bound = place.directory.join("bound/deep");
    request.mounts = vec![
        named(),
        mounted(MountSource::Bind { path: bound.clone(), create: true }, "/bound"),
        mounted(MountSource::Tmpfs { size: Some(1 << 20), mode: None, options: Vec::new() }, "/t"),
    ];
    let said = place.run(request);
    assert!(said.out.starts_with("by the image\n") && said.code == 0, "{said:?}");
    let more = place.directory.join("root/volumes/comb/_data/more");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(more).unwrap()), 0);
    assert!(bound.join("x").exists());
    let mut request = place.shell("cat /data/more");
    request.mounts = vec![Mount { read_only: true, ..named() }];
    assert_eq!(place.run(request).out, "more\n");
    let mut request = place.shell("touch /data/no");
    request.mounts = vec![Mount { read_only: true, ..named() }];
    assert_ne!(place.run(request).code, 0);
    let mut request = Request { auto_remove: true, ..place.shell("cat /data/given") };
    request.mounts = vec![mounted(MountSource::Anonymous, "/data")];
    assert_eq!(place.run(request).out, "by the image\n");
    assert_eq!(place.entries("root/volumes"), ["comb"]);
    let mut request = place.command(&["true"]);
    request.mounts = vec![mounted(MountSource::Bind { path: "/no/such".into(), create: false }, "/x")];
    assert_eq!(engine::create(&place.home, request).unwrap_err().kind(), Kind::NotFound);
    let _ = fs::remove_dir_all(place.directory.join("root/volumes/comb"));
}

fn etc_files(place: &Place) {
    let mut request = place.shell("cat /etc/hosts /etc/resolv.conf /etc/hostname; echo x >> /etc/hosts");
    request.hostname = Some("honey".into());
    request.extra_hosts = vec!["db:10.1.2.3".into()];
    request.dns = vec!["10.9.8.7".into()];
    let said = place.run(request);
    for part in ["10.1.2.3\tdb\n", "nameserver 10.9.8.7\n", "\nhoney\n"] {
        assert!(said.out.contains(part), "{said:?}");
    }
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

fn out_of_memory(place: &Place) {
    let mut request = place.shell("dd if=/dev/zero of=/dev/null bs=80M count=1");
    request.resources = Resources { memory: Some(32 << 20), ..Resources::default() };
    let said = place.run(request);
    assert_eq!(said.code, 137, "{said:?}");
    assert_eq!(said.message, "killed: out of memory: limit 32 MiB (-m)");
    let id = only(place).id;
    assert_eq!(engine::inspect(&place.home, &id, false).unwrap()["State"]["OOMKilled"], true);
}

fn host_ids(place: &Place) {
    let mut request = place.shell("cat /proc/self/uid_map; ls -d /proc/1/exe");
    request.network = NetworkMode::Host;
    let said = place.run(request);
    assert!(said.out.split_whitespace().nth(2) == Some("4294967295"), "{said:?}");
    assert_eq!(place.entries("root/ids").len(), 0);
    let mut request = place.shell("ls /proc");
    request.pid = NamespaceMode::Host;
    assert!(place.run(request).out.lines().any(|line| line == std::process::id().to_string()));
    let mut request = place.shell("cat /proc/self/status | grep CapBnd; ls /dev/");
    request.privileged = true;
    assert_eq!(place.run(request).code, 0);
}

fn joined_network(place: &Place) {
    let first = place.detached(sleeper(place));
    let mut request = place.shell("cat /proc/self/uid_map; ls -l /proc/self/ns/net");
    request.network = NetworkMode::Container(first.short().to_owned());
    let said = place.run(request);
    assert_eq!(said.code, 0, "{said:?}");
    let pid = summary_of(place, &first).pid.unwrap();
    let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert!(said.out.contains(namespace.to_str().unwrap()), "{said:?}");
}

fn differences(place: &Place) {
    place.run(place.shell("echo x > /data/new; rm /data/given 2>/dev/null || busybox rm /data/given"));
    let id = only(place).id;
    let changes = engine::diff(&place.home, &id).unwrap();
    let lines: Vec<String> =
        changes.iter().map(|change| format!("{} {}", change.kind, change.path.display())).collect();
    assert!(lines.contains(&"A /data/new".to_owned()) && lines.contains(&"D /data/given".to_owned()), "{lines:?}");
    let mut archive = Vec::new();
    engine::export(&place.home, &id, &mut archive).unwrap();
    assert!(archive.len() > 1024);
}

fn copies(place: &Place) {
    let id = place.detached(sleeper(place));
    let options = engine::copy::Options::default();
    let here = place.directory.join("note");
    fs::write(&here, "hello").unwrap();
    engine::copy_from_host(&place.home, &id, &here, "/data/note", options).unwrap();
    let back = place.directory.join("back");
    engine::copy_to_host(&place.home, &id, "/data/note", &back, options).unwrap();
    assert_eq!(fs::read_to_string(&back).unwrap(), "hello");
    let owner = fs::metadata(place.home.container(&id).join("layer/upper/data/note")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 0);
    engine::kill(&place.home, &id, "KILL").unwrap();
    engine::copy_from_host(&place.home, &id, &here, "/data/later", options).unwrap();
    assert_eq!(engine::stat_path(&place.home, &id, "/data/later").unwrap().size, 5);
}

fn killed_monitor(place: &Place) {
    let id = place.detached(sleeper(place));
    kill_monitor(place, &id);
    let summary = only(place);
    assert_eq!(summary.status, Status::Running);
    assert!(summary.note.unwrap().contains("monitor was killed"));
    assert!(engine::attach(&place.home, &id, Attach { stdout: true, ..Attach::default() }).is_err());
    engine::restart(&place.home, &id, &StopOptions { signal: Some("KILL".into()), timeout: Some(5) }).unwrap();
    assert_eq!(only(place).note, None);
    kill_monitor(place, &id);
    place.remove(&id);
    assert!(!has_cgroup(&id));
    place.assert_empty();
    let gone = place.detached(Request { auto_remove: true, ..place.shell("sleep 0.3") });
    kill_monitor(place, &gone);
    std::thread::sleep(Duration::from_millis(600));
    engine::prune(&place.home, &[("label".into(), "none=such".into())]).unwrap();
    assert!(!has_cgroup(&gone));
    place.assert_empty();
}

fn killed_creator(place: &Place) {
    let id = ContainerId::random();
    symlink(id.as_ref(), place.directory.join("root/names/lost")).unwrap();
    symlink(id.as_ref(), place.directory.join("root/ids/17")).unwrap();
    let unfinished = place.directory.join(format!("root/containers/.tmp-{id}"));
    fs::create_dir_all(unfinished.join("layer/upper")).unwrap();
    let request = Request { name: Some("lost".into()), ..place.command(&["true"]) };
    let made = engine::create(&place.home, request).unwrap().id;
    assert_eq!(engine::find(&place.home, "lost").unwrap(), made);
    std::thread::sleep(Duration::from_millis(2100));
    engine::prune(&place.home, &[]).unwrap();
    place.assert_empty();
}

fn filters(place: &Place) {
    let labelled = Request { labels: vec![("a".into(), "b".into())], ..place.command(&["true"]) };
    let one = engine::create(&place.home, labelled).unwrap().id;
    let two = engine::create(&place.home, place.command(&["true"])).unwrap().id;
    let find = |name: &str, value: &str| -> Vec<ContainerId> {
        let filters = vec![(name.to_owned(), value.to_owned())];
        let options = ListOptions { all: true, filters, ..ListOptions::default() };
        engine::list(&place.home, &options).unwrap().into_iter().map(|summary| summary.id).collect()
    };
    assert_eq!(find("label", "a=b"), std::slice::from_ref(&one));
    assert_eq!(find("label", "a=c"), []);
    assert_eq!(find("since", one.as_ref()), std::slice::from_ref(&two));
    assert_eq!(find("before", two.as_ref()), std::slice::from_ref(&one));
    assert_eq!(find("status", "created"), [two, one]);
    let unknown = ListOptions { filters: vec![("nope".into(), String::new())], ..ListOptions::default() };
    assert!(engine::list(&place.home, &unknown).is_err());
}

fn restart_keeps(place: &Place) {
    let id = place.detached(Request { auto_remove: true, ..sleeper(place) });
    engine::restart(&place.home, &id, &StopOptions { signal: None, timeout: Some(5) }).unwrap();
    assert_eq!(only(place).status, Status::Running);
    engine::kill(&place.home, &id, "KILL").unwrap();
    place.assert_empty();
}

fn dry_run(place: &Place) {
    let text = engine::dry_run(&place.home, place.command(&["true"])).unwrap();
    assert!(text.lines().count() > 10, "{text}");
    place.assert_empty();
}

fn many(place: &Place) {
    let begin = Instant::now();
    for _ in 0..50 {
        place.run(Request { auto_remove: true, ..place.command(&["true"]) });
    }
    println!("       50 runs in {:?}", begin.elapsed());
    for _ in 0..20 {
        engine::create(&place.home, place.command(&["true"])).unwrap();
    }
    let begin = Instant::now();
    let options = ListOptions { all: true, ..ListOptions::default() };
    assert_eq!(engine::list(&place.home, &options).unwrap().len(), 20);
    println!("       20 listed in {:?}", begin.elapsed());
    assert_eq!(engine::prune(&place.home, &[]).unwrap().containers.len(), 20);
    place.assert_empty();
}

/// A container that ends by SIGTERM with 9.
fn sleeper(place: &Place) -> Request {
    place.shell("trap 'exit 9' TERM; while true; do sleep 0.1; done")
}

fn only(place: &Place) -> Summary {
    let options = ListOptions { all: true, last: Some(1), ..ListOptions::default() };
    engine::list(&place.home, &options).unwrap().pop().unwrap()
}

fn summary_of(place: &Place, id: &ContainerId) -> Summary {
    let options = ListOptions { all: true, ..ListOptions::default() };
    engine::list(&place.home, &options).unwrap().into_iter().find(|summary| summary.id == *id).unwrap()
}

/// Kills the monitor of a container: the parent of its first process.
fn kill_monitor(place: &Place, id: &ContainerId) {
    let pid = summary_of(place, id).pid.unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_ne!(parent, std::process::id() as i32);
    let monitor = rustix::process::Pid::from_raw(parent).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    let _ = rustix::process::waitpid(Some(monitor), rustix::process::WaitOptions::empty());
}

/// The command or its monitor is killed at many moments; whatever is left, the next commands put in order.
fn storm(place: &Place) {
    for round in 0_u64..120 {
        let mut child = std::process::Command::new("/proc/self/exe")
            .arg("victim")
            .arg(&place.directory)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        std::thread::sleep(Duration::from_micros(2000 + round * 293));
        let victim = match round % 2 {
            0 => Some(pid),
            _ => fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
                .ok()
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
        };
        if let Some(victim) = victim.and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
            let _ = rustix::process::kill_process(victim, rustix::process::Signal::KILL);
        }
        child.wait().unwrap();
        if round % 10 == 0 {
            let every = ListOptions { all: true, ..ListOptions::default() };
            for summary in engine::list(&place.home, &every).unwrap() {
                let _ = engine::remove(&place.home, &summary.id, RemoveOptions { force: true, volumes: true });
            }
        }
    }
    std::thread::sleep(Duration::from_millis(2200));
    engine::prune(&place.home, &[]).unwrap();
    place.assert_empty();
    let log = fs::read_to_string(place.directory.join("log")).unwrap();
    let ids: Vec<ContainerId> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(ids.len() > 20, "{}", ids.len());
    let left: Vec<&ContainerId> = ids.iter().filter(|id| has_cgroup(id)).collect();
    assert!(left.is_empty(), "cgroups left: {left:?}");
}
