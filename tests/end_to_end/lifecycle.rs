//! The life of a container: created, running, paused, stopped, renamed, removed; and what can be asked of it.

use crate::harness::{IMAGE, Skep, retry};
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn ps_shows_filters_and_formats() {
    let skep = Skep::with_image();
    let running = skep.sleeper(&["--name", "running", "--label", "role=queen"]);
    skep.ok(["run", "--name", "ended", IMAGE, "sh", "-c", "exit 0"]);
    skep.run(["run", "--name", "failed", IMAGE, "sh", "-c", "exit 3"]);
    skep.ok(["create", "--name", "fresh", IMAGE]);
    let names = |arguments: &[&str]| {
        let mut all = vec!["ps", "--format", "{{.Names}}"];
        all.extend(arguments);
        let output = skep.ok(all);
        let mut names: Vec<_> = output.lines().map(str::to_owned).collect();
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(names(&[]), "running");
    assert_eq!(names(&["-a"]), "ended failed fresh running");
    assert_eq!(names(&["-a", "--filter", "status=exited"]), "ended failed");
    assert_eq!(names(&["-a", "--filter", "status=created"]), "fresh");
    assert_eq!(names(&["-a", "--filter", "exited=3"]), "failed");
    assert_eq!(names(&["-a", "--filter", "name=f"]), "failed fresh");
    assert_eq!(names(&["-a", "--filter", "label=role=queen"]), "running");
    assert_eq!(names(&["-a", "--filter", &format!("id={}", &running[..8])]), "running");
    assert_eq!(names(&["-a", "--filter", "ancestor=busybox"]), "ended failed fresh running");
    assert_eq!(names(&["-a", "--filter", "before=ended"]), "running");
    assert_eq!(names(&["-a", "--filter", "since=failed"]), "fresh");
    assert_eq!(names(&["-n", "1"]), "fresh");
    assert_eq!(names(&["-l"]), "fresh");
    assert_eq!(skep.ok(["ps", "-q"]), running[..12]);
    assert_eq!(skep.ok(["ps", "-q", "--no-trunc"]), running);
    let table = skep.ok(["ps", "-a"]);
    for word in ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES", "Up ", "Exited (3)", "Created"] {
        assert!(table.contains(word), "`{word}`: {table}");
    }
    skep.fails(1, ["ps", "--filter", "colour=blue"]);
}

#[test]
fn logs_keep_every_byte_line_and_stream() {
    let skep = Skep::with_image();
    let script = "echo one; echo two >&2; printf 'no end'";
    skep.ok(["run", "--name", "writer", IMAGE, "sh", "-c", script]);
    let output = skep.run(["logs", "writer"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\nno end", "two\n"));
    skep.ok(["run", "--name", "counter", IMAGE, "seq", "5"]);
    assert_eq!(skep.ok(["logs", "--tail", "2", "counter"]), "4\n5");
    let stamped = skep.ok(["logs", "-t", "writer"]);
    assert!(stamped.lines().next().unwrap().starts_with("20"), "{stamped}");
    assert!(stamped.contains("Z one"), "{stamped}");
    assert_eq!(skep.ok(["logs", "--since", "2100-01-01T00:00:00Z", "writer"]), "");
    assert_eq!(skep.run(["logs", "--until", "2000-01-01T00:00:00Z", "writer"]).stdout, "");
}

#[test]
fn logs_of_a_long_line_and_of_binary_are_whole() {
    let skep = Skep::with_image();
    skep.ok([
        "run",
        "-d",
        "--name",
        "long",
        IMAGE,
        "sh",
        "-c",
        "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end",
    ]);
    skep.ok(["wait", "long"]);
    let lines = skep.ok(["logs", "long"]);
    let lengths: Vec<_> = lines.lines().map(str::len).collect();
    assert_eq!(lengths, [300_000, 3]);
    skep.ok(["run", "-d", "--name", "binary", IMAGE, "printf", "\\000\\377\\200\\n\\001"]);
    skep.ok(["wait", "binary"]);
    assert_eq!(skep.run(["logs", "binary"]).raw, b"\x00\xff\x80\n\x01");
}

#[test]
fn logs_follow_until_the_end() {
    let skep = Skep::with_image();
    skep.ok(["run", "-d", "--name", "ticker", IMAGE, "sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.2; done"]);
    assert_eq!(skep.ok(["logs", "-f", "ticker"]), "1\n2\n3");
}

#[test]
fn exec_runs_beside_the_program() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["-e", "COLOR=amber", "-w", "/tmp"]);
    assert_eq!(skep.ok(["exec", &id, "sh", "-c", "echo $COLOR; pwd"]), "amber\n/tmp");
    let fed = skep.feed(b"honey", ["exec", "-i", &id, "cat"]);
    assert_eq!(fed.stdout, "honey");
    skep.ok(["exec", "-d", &id, "sh", "-c", "echo done > /tmp/flag"]);
    retry(|| match skep.run(["exec", &id, "cat", "/tmp/flag"]).stdout.trim() {
        "done" => Ok(()),
        other => Err(format!("the detached command wrote `{other}`")),
    });
    skep.ok(["stop", "-t", "0", &id]);
    let error = skep.fails(1, ["exec", &id, "true"]);
    assert!(error.contains("not running"), "{error}");
}

#[test]
fn attach_sees_output_and_gives_input() {
    let skep = Skep::with_image();
    let script = "while read line; do [ $line = quit ] && exit 6; echo got $line; done";
    let id = skep.ok(["run", "-d", "-i", IMAGE, "sh", "-c", script]);
    let mut attached = skep.spawn(["attach", &id]);
    std::thread::sleep(Duration::from_millis(200));
    let mut input = attached.stdin.take().unwrap();
    input.write_all(b"nectar\nquit\n").unwrap();
    drop(input);
    let mut output = String::new();
    attached.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "got nectar\n");
    assert_eq!(attached.wait().unwrap().code(), Some(6));
}

#[test]
fn kill_stop_wait_and_restart() {
    let skep = Skep::with_image();
    let id = skep.ok([
        "run",
        "-d",
        "--name",
        "worker",
        IMAGE,
        "sh",
        "-c",
        "trap 'exit 4' USR1; while :; do sleep 0.05; done",
    ]);
    std::thread::sleep(Duration::from_millis(300));
    skep.ok(["kill", "-s", "USR1", "worker"]);
    assert_eq!(skep.ok(["wait", "worker"]), "4");
    let error = skep.fails(1, ["kill", "worker"]);
    assert!(error.contains("not running"), "{error}");
    skep.ok(["start", "worker"]);
    let first = skep.pid("worker");
    assert_eq!(skep.ok(["restart", "-t", "0", "worker"]), "worker");
    assert_ne!(skep.pid("worker"), first);
    assert_eq!(skep.ok(["stop", "-t", "0", &id[..12]]), id[..12]);
    assert_eq!(skep.inspect("worker", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    assert_eq!(skep.ok(["stop", "worker"]), "worker", "stopping what is stopped is no error");
}

#[test]
fn the_container_outlives_the_command_that_started_it() {
    let skep = Skep::with_image();
    let mut command = skep.spawn(["run", "--name", "survivor", IMAGE, "sleep", "1000"]);
    retry(|| match skep.run(["inspect", "--format", "{{.State.Running}}", "survivor"]).stdout.trim() {
        "true" => Ok(()),
        other => Err(format!("running: {other}")),
    });
    command.kill().unwrap();
    command.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(skep.inspect("survivor", "{{.State.Running}}"), "true");
    assert_eq!(skep.ok(["exec", "survivor", "echo", "alive"]), "alive");
}

#[test]
fn signals_to_the_command_reach_the_program() {
    let skep = Skep::with_image();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = skep.spawn(["run", "--rm", IMAGE, "sh", "-c", script]);
    let mut output = command.stdout.take().unwrap();
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    let pid = rustix::process::Pid::from_child(&command);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "caught\n");
    assert_eq!(command.wait().unwrap().code(), Some(5));
}

#[test]
fn pause_stops_time_and_unpause_lets_it_go_on() {
    let skep = Skep::with_image();
    let id = skep.ok(["run", "-d", IMAGE, "sh", "-c", "while :; do echo x; sleep 0.02; done"]);
    skep.ok(["pause", &id]);
    assert_eq!(skep.inspect(&id, "{{.State.Status}} {{.State.Paused}}"), "paused true");
    std::thread::sleep(Duration::from_millis(100));
    let before = skep.ok(["logs", &id]).len();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(skep.ok(["logs", &id]).len(), before);
    assert!(skep.fails(1, ["pause", &id]).contains("paused"));
    assert!(skep.fails(1, ["exec", &id, "true"]).contains("paused"));
    skep.ok(["unpause", &id]);
    retry(|| if skep.ok(["logs", &id]).len() > before { Ok(()) } else { Err("it does not go on") });
    assert!(skep.fails(1, ["unpause", &id]).contains("not paused"));
    skep.ok(["pause", &id]);
    skep.ok(["rm", "-f", &id]);
}

#[test]
fn rename_frees_the_old_name() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "old"]);
    skep.ok(["rename", "old", "new"]);
    assert_eq!(skep.inspect("new", "{{.Id}}"), id);
    skep.fails(1, ["inspect", "--type", "container", "old"]);
    skep.sleeper(&["--name", "old"]);
    assert!(skep.fails(1, ["rename", "old", "new"]).contains("new"));
    skep.fails(1, ["rename", "old", "bad name"]);
}

#[test]
fn inspect_has_dockers_shape() {
    let skep = Skep::with_image();
    let options =
        ["--name", "seen", "-e", "A=b", "-w", "/tmp", "-m", "64m", "--hostname", "hive", "-v", "/tmp:/mnt:ro"];
    let id = skep.sleeper(&options);
    let json = skep.json("seen");
    assert_eq!(json["Id"], id.as_str());
    assert_eq!(json["Name"], "/seen");
    assert_eq!(json["State"]["Status"], "running");
    assert_eq!(json["State"]["OOMKilled"], false);
    assert_eq!(json["Path"], "sleep");
    assert_eq!(json["Args"][0], "1000");
    assert_eq!(json["Config"]["Hostname"], "hive");
    assert_eq!(json["Config"]["WorkingDir"], "/tmp");
    assert_eq!(json["Config"]["Image"], IMAGE);
    assert!(json["Config"]["Env"].as_array().unwrap().iter().any(|variable| variable == "A=b"));
    assert_eq!(json["HostConfig"]["Memory"], 67_108_864);
    assert_eq!(json["Mounts"][0]["Destination"], "/mnt");
    assert_eq!(json["Mounts"][0]["RW"], false);
    assert_eq!(json["Image"], skep.ok(["images", "-q", "--no-trunc"]).as_str());
    for time in ["Created", "State.StartedAt"] {
        let value = time.split('.').fold(&json, |value, key| &value[key]);
        assert!(value.as_str().unwrap().ends_with('Z'), "{time}: {value}");
    }
}

#[test]
fn remove_needs_force_while_it_runs() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "busy"]);
    let error = skep.fails(1, ["rm", "busy"]);
    assert!(error.contains("running") && error.contains("-f"), "names the way out: {error}");
    assert_eq!(skep.ok(["rm", "-f", "busy"]), "busy");
    skep.fails(1, ["inspect", &id]);
    assert_eq!(skep.run(["rm", "-f", "absent"]).code, 0, "what is to be gone is gone");
}

#[test]
fn top_lists_the_processes() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    let table = skep.ok(["top", &id]);
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert!(table.contains("sleep 1000"), "{table}");
    assert!(table.contains(&skep.pid(&id).to_string()), "the host's ids: {table}");
}

#[test]
fn prune_removes_what_has_ended() {
    let skep = Skep::with_image();
    let kept = skep.sleeper(&[]);
    let ended = skep.ok(["create", IMAGE]);
    let printed = skep.ok(["container", "prune", "-f"]);
    assert!(printed.contains(&ended) && !printed.contains(&kept), "{printed}");
    assert_eq!(skep.ok(["ps", "-aq", "--no-trunc"]), kept);
}

#[test]
fn version_and_info_say_where_they_look() {
    let skep = Skep::new();
    assert!(skep.ok(["version"]).contains(env!("CARGO_PKG_VERSION")));
    let info = skep.ok(["info"]);
    assert!(info.contains(skep.root().to_str().unwrap()), "{info}");
}

#[test]
fn short_ids_and_names_are_found_and_doubts_are_refused() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "bee"]);
    for name in [&id[..], &id[..12], &id[..6], "bee", "/bee"] {
        assert_eq!(skep.inspect(name, "{{.Id}}"), id, "{name}");
    }
    let ids: Vec<_> = (0..17).map(|_| skep.ok(["create", IMAGE])).collect();
    let first = |id: &String| id.chars().next().unwrap();
    let twice = ids.iter().find(|one| ids.iter().filter(|other| first(one) == first(other)).count() > 1).unwrap();
    let error = skep.fails(1, ["rm", &twice[..1]]);
    assert!(!error.is_empty());
}

#[test]
fn many_at_once() {
    let skep = Skep::with_image();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let id = skep.sleeper(&["--network", "none"]);
                    assert_eq!(skep.ok(["exec", &id, "echo", "hum"]), "hum");
                    skep.ok(["rm", "-f", &id]);
                }
            });
        }
    });
    assert_eq!(skep.ok(["ps", "-aq"]), "");
}
