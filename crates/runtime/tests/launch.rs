//! Containers on this kernel, as root: what they see, what they may not, how they end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod harness;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};

use failure::Kind;
use harness::{BASE, Container, finish, is_gone, piped, unified, wait};
use runtime::{Exec, Running, Stdio, exec, launch};
use serde_json::json;

fn output(script: &str) -> String {
    let ended = Container::new(script).run().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.output);
    ended.output
}

#[test]
fn it_is_pid_1_with_its_own_names_and_ids() {
    let text = output("echo $$; hostname; cat /proc/self/uid_map; id; ls /proc 2>/dev/null | grep -c '^[0-9]'");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "1");
    assert_eq!(lines[1], "cell");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["0", &BASE.to_string(), "65536"]);
    assert!(lines[3].starts_with("uid=0 gid=0 groups=10,11"), "{}", lines[3]);
    assert!(lines[4].parse::<u32>().unwrap() <= 4);
}

#[test]
fn capabilities_and_the_filter_are_those_asked_for() {
    let mut container = Container::new("cat /proc/self/status");
    container.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    let ended = container.run().unwrap();
    let field = |name: &str| {
        let line = ended.output.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or("");
        line.split_whitespace().nth(1).unwrap_or("").to_owned()
    };
    assert_eq!(field("CapInh"), "0000000000000000");
    assert_eq!(field("CapAmb"), "0000000000000000");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(set), "00000000a80425fb", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "0");
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("Umask"), "0022");
}

#[test]
fn another_user_has_no_capabilities_but_ambient_ones() {
    let mut container =
        Container::new("id -u; grep -E 'Cap(Prm|Amb|Inh)|NoNew' /proc/self/status; echo hi > /dev/stdout");
    container.spec["process"]["user"] = json!({"uid": 33, "gid": 33, "umask": 63});
    container.spec["process"]["noNewPrivileges"] = json!(true);
    container.spec["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
    container.spec["process"]["capabilities"]["inheritable"] = json!(["CAP_NET_BIND_SERVICE"]);
    let ended = container.run().unwrap();
    let text = ended.output.replace('\t', "");
    assert_eq!(
        text,
        "33\nCapInh:0000000000000400\nCapPrm:0000000000000400\nCapAmb:0000000000000400\nNoNewPrivs:1\nhi\n"
    );
    assert_eq!(ended.code, 0);
}

#[test]
fn devices_and_links_are_there_and_work() {
    let text = output(
        "ls -l /dev/null /dev/tty | sed 's/ .*//'; stat -c '%u %g %a %t:%T' /dev/null; echo x > /dev/null && echo written; \
         head -c 4 /dev/zero | wc -c; readlink /dev/fd; readlink /dev/ptmx; ls /dev | sort | tr '\\n' ' '; stat -f -c %T /dev/shm",
    );
    assert_eq!(
        text,
        "crw-rw-rw-\ncrw-rw-rw-\n0 0 666 1:3\nwritten\n4\n/proc/self/fd\npts/ptmx\n\
         core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero tmpfs\n"
    );
}

#[test]
fn masked_paths_are_empty_and_protected_ones_read_only() {
    let text = output(
        "wc -c < /proc/keys; wc -c < /proc/timer_list; ls /sys/firmware | wc -l; \
         (echo 1 > /proc/sys/net/ipv4/ip_forward) 2>&1 | grep -c 'Read-only'; (echo x > /proc/keys) 2>&1 | grep -c Read-only; \
         (mkdir /sys/x) 2>&1 | grep -c -i -E 'read-only|permitted'; rm -rf /proc/keys 2>/dev/null; wc -c < /proc/keys",
    );
    assert_eq!(text, "0\n0\n0\n1\n1\n1\n0\n");
}

#[test]
fn cgroups_show_its_own_group_read_only() {
    if unified() {
        let text = output(
            "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs | head -1; ls /sys/fs/cgroup | grep -c '^pids.max$'; \
             (mkdir /sys/fs/cgroup/x) 2>&1 | grep -c Read-only",
        );
        assert_eq!(text, "0::/\n1\n1\n1\n");
        return;
    }
    let text = output(
        "ls /sys/fs/cgroup | grep -c -E '^(memory|pids|cpu)$'; cat /proc/self/cgroup | grep memory; \
         cat /sys/fs/cgroup/memory/tasks | head -1; (mkdir /sys/fs/cgroup/memory/x) 2>&1 | grep -c Read-only; \
         (mkdir /sys/fs/cgroup/x) 2>&1 | grep -c Read-only",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "3", "{text}");
    assert!(lines[1].ends_with(":memory:/"), "{text}");
    assert_eq!(lines[2..], ["1", "1", "1"]);
}

#[test]
fn nothing_but_the_standard_streams_is_open() {
    // One descriptor that is not closed by exec, as a shell may have left one.
    let leak = rustix::io::dup(fs::File::open("/").unwrap()).unwrap();
    let text = output("ls /proc/self/fd | wc -l; ls /proc/1/fd; readlink /proc/self/cwd");
    drop(leak);
    // `ls` has the directory open that it lists.
    assert_eq!(text, "4\n0\n1\n2\n/\n");
}

#[test]
fn the_exit_code_is_the_programs() {
    assert_eq!(Container::new("exit 7").run().unwrap().code, 7);
    assert_eq!(Container::new("kill -9 $$; sleep 5; exit 3").run().unwrap().code, 3);
}

#[test]
fn commands_that_are_not_there_or_not_executable_are_told_apart() {
    for (command, kind) in [
        ("no-such", Kind::CommandNotFound),
        ("/no/such", Kind::CommandNotFound),
        ("/etc", Kind::CommandNotExecutable),
        ("/data/plain", Kind::CommandNotExecutable),
    ] {
        let mut container = Container::new("");
        fs::write(container.root.path.join("data/plain"), "x").unwrap();
        container.spec["process"]["args"] = json!([command]);
        let error = container.run().err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(command), "{error}");
        assert!(is_gone(&container.cgroup));
    }
}

#[test]
fn symbolic_links_in_place_of_kernel_directories_are_refused() {
    for name in ["proc", "sys", "dev"] {
        let container = Container::new("true");
        let place = container.root.path.join(name);
        fs::remove_dir(&place).unwrap();
        symlink("/etc", &place).unwrap();
        let error = container.run().err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(&format!("`/{name}`")), "{error}");
        assert!(is_gone(&container.cgroup));
        assert_eq!(fs::read_dir(container.root.path.join("etc")).unwrap().count(), 0);
    }
}

#[test]
fn a_missing_mount_point_is_made_and_links_stay_inside() {
    let mut container = Container::new("cat /etc/deep/er/file; ls -ld /etc/deep | sed 's/ .*//'; stat -c %u /etc/deep");
    let source = container.root.path.join("data/source");
    fs::write(&source, "from the host\n").unwrap();
    // A link out of the root, and a dangling one on the way.
    symlink("/../../../../run/skep-test-inside", container.root.path.join("etc/deep")).unwrap();
    let mount = json!({"destination": "/etc/deep/er/file", "type": "bind", "source": source, "options": ["bind", "ro", "idmap"]});
    container.spec["mounts"].as_array_mut().unwrap().push(mount);
    let ended = container.run().unwrap();
    assert_eq!(ended.output, "from the host\nlrwxrwxrwx\n0\n");
    assert!(container.root.path.join("run/skep-test-inside/er/file").exists());
    assert!(!std::path::Path::new("/run/skep-test-inside").exists());
}

#[test]
fn binds_have_their_options_and_mapped_ids() {
    let mut container = Container::new(
        "stat -c '%u %g' /data /data/made; (echo x > /ro/x) 2>&1 | grep -c Read-only; echo y > /data/new; \
         grep -c ' /ro .* ro,nosuid,nodev,noexec' /proc/mounts",
    );
    let data = container.root.path.join("data");
    fs::write(data.join("made"), "").unwrap();
    std::os::unix::fs::chown(data.join("made"), Some(33), Some(33)).unwrap();
    for (destination, options) in [
        ("/data", json!(["rbind", "idmap", "rprivate"])),
        ("/ro", json!(["rbind", "ridmap", "rro", "nosuid", "nodev", "noexec"])),
    ] {
        let mount = json!({"destination": destination, "type": "bind", "source": data, "options": options});
        container.spec["mounts"].as_array_mut().unwrap().push(mount);
    }
    let ended = container.run().unwrap();
    assert_eq!(ended.output, "0 0\n33 33\n1\n1\n", "{}", ended.output);
    assert_eq!(fs::metadata(data.join("new")).unwrap().uid(), 0);
}

#[test]
fn a_read_only_root_is_read_only_but_for_its_mounts() {
    let mut container = Container::new("(echo x > /x) 2>&1 | grep -c Read-only; echo x > /run/x && echo yes; pwd");
    container.spec["root"]["readonly"] = json!(true);
    container.spec["process"]["cwd"] = json!("/made/here");
    let tmpfs = json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=755"]});
    container.spec["mounts"].as_array_mut().unwrap().push(tmpfs);
    assert_eq!(container.run().unwrap().output, "1\nyes\n/made/here\n");
}

#[test]
fn a_working_directory_outside_the_root_is_refused() {
    for path in ["/proc/self/fd/3", "/proc/self/cwd/../.."] {
        let mut container = Container::new("pwd");
        container.spec["process"]["cwd"] = json!(path);
        match container.run() {
            Err(error) => assert_eq!(error.kind(), Kind::Invalid, "{error}"),
            Ok(ended) => assert!(ended.output.starts_with('/'), "{}", ended.output),
        }
    }
}

#[test]
fn settings_limits_and_scores_are_applied() {
    let mut container = Container::new(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni; ulimit -n; cat /proc/self/oom_score_adj",
    );
    container.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shmmni": "77"});
    container.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    container.spec["process"]["oomScoreAdj"] = json!(500);
    assert_eq!(container.run().unwrap().output, "0\n77\n100\n500\n");
}

#[test]
fn what_the_machine_cannot_grant_is_said() {
    let mut container = Container::new("true");
    container.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": u64::MAX, "hard": u64::MAX}]);
    let may =
        rustix::thread::capabilities(None).unwrap().effective.contains(rustix::thread::CapabilitySet::SYS_RESOURCE);
    assert_eq!(container.plan().unwrap().warnings().len(), usize::from(!may));
}

#[test]
fn wrong_requests_fail_before_anything_is_made() {
    for (pointer, value) in [
        ("/linux/sysctl", json!({"kernel.core_pattern": "|/x"})),
        ("/linux/sysctl", json!({"vm.swappiness": "1"})),
        ("/process/args", json!([])),
        ("/process/cwd", json!("relative")),
        ("/process/user/uid", json!(70_000)),
        ("/hooks", json!({"poststop": [{"path": "bin/true"}]})),
        ("/mounts/0/destination", json!("/proc/sys")),
        ("/mounts/0/destination", json!("/")),
        ("/mounts/0/type", json!("ext4")),
        ("/linux/namespaces/1", json!({"type": "network", "path": "/etc/passwd"})),
        ("/linux/namespaces/1", json!({"type": "network", "path": "/no/such"})),
        ("/linux/namespaces/4", json!({"type": "uts"})),
    ] {
        let mut container = Container::new("true");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match container.spec.pointer_mut(parent).unwrap() {
            serde_json::Value::Array(list) => list[name.parse::<usize>().unwrap()] = value.clone(),
            object => object[name] = value.clone(),
        }
        let error = container.plan().err().unwrap_or_else(|| panic!("{pointer} = {value} was taken"));
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn a_plan_can_be_read() {
    let text = Container::new("true").plan().unwrap().to_string();
    for expected in
        ["clone a process with new namespaces: user, mnt, pid", "mask `/proc/kcore`", "execute `sh -c true`"]
    {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn with_the_hosts_ids_it_works_too() {
    let mut container = Container::with_host_ids(
        "echo $$; cat /proc/self/uid_map; grep CapEff /proc/self/status; ls -l /dev/null | sed 's/ .*//'",
    );
    container.spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
    let text = container.run().unwrap().output;
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["1", "0", "0", "4294967295", "CapEff:", "00000000a80425fb", "crw-rw-rw-"]);
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let first = Container::new("hostname other; sleep 60");
    first_with_names(&first, |running| {
        let mut second = Container::new(
            "hostname; ls /proc 2>/dev/null | grep -c '^[0-9]'; cat /proc/net/dev | wc -l; ls -d /sys/class/net/lo; ls /dev/mqueue",
        );
        let pid = running.identity.pid;
        for (index, name) in [(0, "pid"), (1, "net"), (2, "ipc"), (3, "uts")] {
            let namespaces = &mut second.spec["linux"]["namespaces"];
            namespaces[index]["path"] = json!(format!("/proc/{pid}/ns/{name}"));
        }
        let before = fs::read_link("/proc/self/ns/net").unwrap();
        let ended = second.run().unwrap();
        let lines: Vec<&str> = ended.output.lines().collect();
        assert_eq!(lines[0], "cell", "{}", ended.output);
        assert!(lines[1].parse::<u32>().unwrap() >= 3, "{}", ended.output);
        assert_eq!(lines[3], "/sys/class/net/lo");
        assert_eq!(fs::read_link("/proc/self/ns/net").unwrap(), before);
    });
}

fn first_with_names(container: &Container, action: impl FnOnce(&Running)) {
    let (running, _output) = container.start().unwrap();
    action(&running);
    container.kill(&running);
}

#[test]
fn the_host_network_is_seen_from_a_user_namespace() {
    let mut container = Container::new(
        "cat /proc/net/dev | wc -l; ls /sys/class/net | head -1 | wc -l; cat /proc/self/uid_map | wc -l",
    );
    container.spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
    let host = fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    assert_eq!(container.run().unwrap().output, format!("{host}\n1\n1\n"));
}

#[test]
fn the_tiny_pid_1_forwards_and_reaps() {
    let mut container = Container::new(
        "echo $$; trap 'echo term; exit 9' TERM; (sleep 0.1 &); echo ready; while :; do sleep 0.05; done",
    );
    container.init = true;
    let (running, mut output) = container.start().unwrap();
    let mut text = String::new();
    while !text.contains("ready") {
        let mut byte = [0; 64];
        let length = output.read(&mut byte).unwrap();
        text.push_str(&String::from_utf8_lossy(&byte[..length]));
    }
    assert!(text.starts_with("2\n"), "{text}");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let zombies = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let status = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = status.rsplit(") ").next().unwrap_or("").split(' ').nth(1).unwrap_or("").to_owned();
        parent == running.identity.pid.to_string() && status.contains(") Z ")
    });
    assert_eq!(zombies.count(), 0);
    assert_eq!(fs::read_dir(format!("/proc/{}/fd", running.identity.pid)).unwrap().count(), 0);
    assert!(fs::read(format!("/proc/{}/cmdline", running.identity.pid)).unwrap().starts_with(b"init\0\0"));
    rustix::process::pidfd_send_signal(&running.pidfd, rustix::process::Signal::TERM).unwrap();
    let ended = finish(&running, output);
    assert_eq!((ended.output.as_str(), ended.code), ("term\n", 9));
    runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
    // A command that is missing is told through it, too.
    container.spec["process"]["args"] = json!(["no-such"]);
    assert_eq!(container.run().err().unwrap().kind(), Kind::CommandNotFound);
}

#[test]
fn a_terminal_is_the_containers_own() {
    let mut container = Container::new("tty; stat -c '%u %t' /dev/console; read line; echo got $line; stty size");
    symlink("busybox", container.root.path.join("bin/stty")).unwrap();
    container.spec["process"]["terminal"] = json!(true);
    let stdio = Stdio::Terminal { rows: 33, columns: 99 };
    let running = launch(container.plan().unwrap(), &container.root, stdio).unwrap().start().unwrap();
    let mut master = fs::File::from(running.terminal.as_ref().unwrap().try_clone().unwrap());
    master.write_all(b"hello\n").unwrap();
    let mut text = Vec::new();
    // The end of a terminal is EIO.
    let _ = master.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    assert_eq!(wait(&running), 0);
    assert!(
        text.contains("/dev/pts/0") && text.contains("0 88") && text.contains("got hello") && text.contains("33 99"),
        "{text}"
    );
    runtime::cgroup::Cgroup::open(&container.cgroup).unwrap().remove().unwrap();
}

#[test]
fn exec_joins_everything() {
    for container in [Container::new("sleep 60"), Container::with_host_ids("sleep 60")] {
        let (running, _output) = container.start().unwrap();
        let own = fs::read_link("/proc/self/ns/mnt").unwrap();
        let script = "for n in mnt pid net ipc uts cgroup user; do test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || echo $n; done; \
            id; hostname; grep -E 'Cap(Inh|Eff)' /proc/self/status; ls /proc/self/fd | wc -l; grep -o memory:/.* /proc/self/cgroup || cat /proc/self/cgroup; readlink /proc/self/cwd";
        let ended = container.execute(&running, script, |_| {}).unwrap();
        assert_eq!(
            ended.output.replace('\t', ""),
            "uid=0 gid=0 groups=10,11\ncell\nCapInh:0000000000000000\nCapEff:00000000a80425fb\n4\n".to_owned()
                + if unified() { "0::/\n/\n" } else { "memory:/\n/\n" }
        );
        assert_eq!(fs::read_link("/proc/self/ns/mnt").unwrap(), own);
        let ended = container
            .execute(&running, "id -u; exit 4", |process| process["user"] = json!({"uid": 33, "gid": 33}))
            .unwrap();
        assert_eq!((ended.code, ended.output.as_str()), (4, "33\n"));
        let missing = container.execute(&running, "", |process| process["args"] = json!(["no-such"])).err().unwrap();
        assert_eq!(missing.kind(), Kind::CommandNotFound, "{missing}");
        let lost = container.execute(&running, "", |process| process["cwd"] = json!("/no/such")).err().unwrap();
        assert_eq!(lost.kind(), Kind::Invalid, "{lost}");
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains("Threads:"), "this process still reads its own files");
        container.kill(&running);
        let gone = container.execute(&running, "", |_| {}).err().unwrap();
        assert_eq!(gone.kind(), Kind::NotFound, "{gone}");
    }
}

#[test]
fn exec_has_terminals_of_the_container() {
    let container = Container::new("sleep 60");
    let (running, _output) = container.start().unwrap();
    let mut process = container.spec["process"].clone();
    process["args"] = json!(["sh", "-c", "tty; stty size; echo $0 | cat"]);
    process["terminal"] = json!(true);
    symlink("busybox", container.root.path.join("bin/stty")).unwrap();
    let process = serde_json::from_value(process).unwrap();
    let spec = container.spec();
    let request = Exec {
        target: &running.identity,
        cgroup: &container.cgroup,
        process: &process,
        linux: spec.linux().as_ref().unwrap(),
        filter: None,
        seccomp_cache: None,
        preserved: 0,
        container: None,
    };
    let executed = exec(&request, Stdio::Terminal { rows: 11, columns: 22 }).unwrap();
    let mut text = Vec::new();
    let _ = fs::File::from(executed.terminal.as_ref().unwrap().try_clone().unwrap()).read_to_end(&mut text);
    assert_eq!(wait(&executed), 0);
    assert!(String::from_utf8_lossy(&text).starts_with("/dev/pts/0\r\n11 22\r\n"), "{text:?}");
    container.kill(&running);
}

#[test]
fn a_launched_container_that_is_dropped_leaves_nothing() {
    let container = Container::new("true");
    let (stdio, _output) = piped();
    let launched = launch(container.plan().unwrap(), &container.root, stdio).unwrap();
    let identity = launched.identity();
    assert!(identity.is_alive());
    drop(launched);
    assert!(!identity.is_alive());
    assert!(is_gone(&container.cgroup));
}
