//! The flags of `run` and `create`, each with Docker's meaning.

use crate::harness::{Archive, IMAGE, Skep, busybox_archive, entries, sh};

/// `skep run --rm <options> busybox sh -c <script>`: what it printed.
#[track_caller]
fn run(skep: &Skep, options: &[&str], script: &str) -> String {
    let mut arguments = vec!["run", "--rm"];
    arguments.extend(options);
    arguments.extend([IMAGE, "sh", "-c", script]);
    skep.ok(arguments)
}

#[test]
fn environment_comes_from_image_flags_file_and_caller() {
    let skep = Skep::with_image();
    std::fs::write(skep.file("env"), "# a comment\nCOLOR=amber\n\nFROM_CALLER\nUNSET_IN_CALLER\n").unwrap();
    let file = skep.file("env");
    let mut command = skep.command(["run", "--rm", "--env-file", file.to_str().unwrap()]);
    command.args(["-e", "FLOWER=lime", "-e", "EMPTY=", "-e", "ALSO_FROM_CALLER", IMAGE, "env"]);
    command.env("FROM_CALLER", "one").env("ALSO_FROM_CALLER", "two");
    let output = skep.finish(command);
    assert_eq!(output.code, 0, "{output:#?}");
    let mut variables: Vec<_> = output.stdout.lines().filter(|line| !line.starts_with("HOSTNAME=")).collect();
    variables.sort_unstable();
    let expected = [
        "ALSO_FROM_CALLER=two",
        "COLOR=amber",
        "EMPTY=",
        "FLOWER=lime",
        "FROM_CALLER=one",
        "HOME=/root",
        "PATH=/bin:/usr/bin",
    ];
    assert_eq!(variables, expected);
}

#[test]
fn user_is_a_name_or_a_number_with_its_groups_and_home() {
    let skep = Skep::with_image();
    assert_eq!(run(&skep, &["-u", "bee"], "id -u; id -g; id -G; echo $HOME"), "1000\n1000\n1000 2000\n/home/bee");
    assert_eq!(run(&skep, &["-u", "bee:honey"], "id -u; id -g"), "1000\n2000");
    assert_eq!(run(&skep, &["-u", "4321:8765"], "id -u; id -g; echo $HOME"), "4321\n8765\n/");
    assert_eq!(run(&skep, &["-u", "1000"], "id -u; id -g; echo $HOME"), "1000\n1000\n/home/bee");
    assert_eq!(run(&skep, &["--group-add", "honey", "--group-add", "77"], "id -G"), "0 77 2000");
    skep.fails(125, ["run", "--rm", "-u", "nobody-here", IMAGE, "true"]);
}

#[test]
fn working_directory_is_made_when_missing() {
    let skep = Skep::with_image();
    assert_eq!(run(&skep, &["-w", "/some/where"], "pwd"), "/some/where");
    assert_eq!(run(&skep, &[], "pwd"), "/");
}

#[test]
fn host_name_and_extra_hosts() {
    let skep = Skep::with_image();
    let options = ["--hostname", "hive", "--add-host", "meadow:198.51.100.7", "--dns", "198.51.100.53"];
    assert_eq!(run(&skep, &options, "hostname; cat /etc/hostname"), "hive\nhive");
    let hosts = run(&skep, &options, "cat /etc/hosts");
    assert!(hosts.lines().any(|line| line.split_whitespace().eq(["198.51.100.7", "meadow"])), "{hosts}");
    assert!(hosts.contains("localhost"), "{hosts}");
    assert!(run(&skep, &options, "cat /etc/resolv.conf").contains("nameserver 198.51.100.53"));
}

#[test]
fn default_host_name_is_the_short_id() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    assert_eq!(skep.ok(["exec", &id, "hostname"]), id[..12]);
}

#[test]
fn entrypoint_and_arguments_combine_as_in_docker() {
    let skep = Skep::new();
    let config = serde_json::json!({"Entrypoint": ["echo", "entry"], "Cmd": ["default"], "Env": ["PATH=/bin"]});
    let layer = crate::harness::busybox_layer();
    let archive = Archive::new("speaker:1").layer(&layer).config(config).write(skep.file("speaker.tar"));
    skep.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(skep.ok(["run", "--rm", "speaker:1"]), "entry default");
    assert_eq!(skep.ok(["run", "--rm", "speaker:1", "given"]), "entry given");
    assert_eq!(skep.ok(["run", "--rm", "--entrypoint", "echo", "speaker:1", "only"]), "only");
    assert_eq!(skep.ok(["run", "--rm", "--entrypoint", "hostname", "--hostname", "hive", "speaker:1"]), "hive");
}

#[test]
fn init_reaps_orphans_and_passes_the_exit_code_on() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "--rm", "--init", IMAGE, "sh", "-c", "echo $$; (sleep 0.1 &) ; sleep 0.5; exit 9"]);
    assert_eq!(output.code, 9, "{output:#?}");
    assert_ne!(output.stdout.trim(), "1", "with --init the program is not PID 1");
    let id = skep.sleeper(&["--init"]);
    skep.ok(["exec", &id, "sh", "-c", "(sleep 0.1 &)"]);
    crate::harness::retry(|| {
        let processes = skep.ok(["exec", &id, "ps", "-o", "pid,stat,comm"]);
        if processes.contains(" Z") { Err(processes) } else { Ok(()) }
    });
}

#[test]
fn standard_input_reaches_the_program_and_its_end_too() {
    let skep = Skep::with_image();
    let output = skep.feed(b"one\ntwo\n", ["run", "--rm", "-i", IMAGE, "wc", "-l"]);
    assert_eq!(output.stdout.trim(), "2", "{output:#?}");
    let closed = skep.feed(b"ignored", ["run", "--rm", IMAGE, "wc", "-c"]);
    assert_eq!(closed.stdout.trim(), "0", "without -i the program reads nothing: {closed:#?}");
}

#[test]
fn a_megabyte_each_way_arrives_unchanged() {
    let skep = Skep::with_image();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|number| (number * 7 % 256) as u8).collect();
    let output = skep.feed(&bytes, ["run", "--rm", "-i", IMAGE, "cat"]);
    assert_eq!(output.code, 0);
    assert!(output.raw == bytes, "{} bytes came back", output.raw.len());
}

#[test]
fn output_and_errors_stay_apart() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn a_reader_that_leaves_early_ends_it_cleanly() {
    let skep = Skep::with_image();
    let mut command = std::process::Command::new("bash");
    command.args(["-c", "set -o pipefail; $SKEP run --rm busybox yes | head -n 1"]);
    skep.environment(&mut command);
    let output = skep.finish(command);
    assert_eq!(output.stdout, "y\n", "{output:#?}");
    assert!(!output.stderr.contains("panicked"), "{output:#?}");
}

#[test]
fn detached_prints_the_id_and_writes_it_to_the_cidfile() {
    let skep = Skep::with_image();
    let file = skep.file("cid");
    let id = skep.sleeper(&["--cidfile", file.to_str().unwrap(), "--name", "worker"]);
    assert_eq!(id.len(), 64);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    assert_eq!(skep.inspect("worker", "{{.Id}}"), id);
    assert_eq!(skep.inspect("worker", "{{.State.Running}}"), "true");
    let error = skep.fails(125, ["run", "-d", "--cidfile", file.to_str().unwrap(), IMAGE, "true"]);
    assert!(error.contains("cid"), "{error}");
}

#[test]
fn detached_says_when_it_could_not_start() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "-d", "--name", "broken", IMAGE, "/no/such/program"]);
    assert_eq!(output.code, 127, "{output:#?}");
    assert!(output.stderr.contains("/no/such/program"), "{output:#?}");
}

#[test]
fn removal_after_the_end() {
    let skep = Skep::with_image();
    skep.ok(["run", "--rm", "--name", "gone", IMAGE, "true"]);
    assert_eq!(skep.ok(["ps", "-aq"]), "");
    skep.ok(["run", "-d", "--rm", "--name", "gone", IMAGE, "sleep", "0.1"]);
    crate::harness::retry(|| {
        let left = skep.ok(["ps", "-aq"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn labels_and_name_are_shown() {
    let skep = Skep::with_image();
    skep.ok(["create", "--name", "tagged", "--label", "color=amber", "-l", "bare", IMAGE]);
    assert_eq!(skep.inspect("tagged", "{{.Config.Labels.color}}"), "amber");
    assert_eq!(skep.inspect("tagged", "{{.Name}}"), "/tagged");
    assert_eq!(skep.ok(["ps", "-aq", "--filter", "label=color=amber"]).lines().count(), 1);
    assert_eq!(skep.ok(["ps", "-aq", "--filter", "label=color=blue"]), "");
}

#[test]
fn shared_memory_size_ulimits_and_sysctls() {
    let skep = Skep::with_image();
    assert_eq!(run(&skep, &["--shm-size", "16m"], "df -k /dev/shm | tail -n 1 | awk '{print $2}'"), "16384");
    assert_eq!(run(&skep, &[], "df -k /dev/shm | tail -n 1 | awk '{print $2}'"), "65536");
    assert_eq!(run(&skep, &["--ulimit", "nofile=123:456"], "ulimit -n; ulimit -Hn"), "123\n456");
    assert_eq!(run(&skep, &["--ulimit", "core=0"], "ulimit -c"), "0");
    assert_eq!(
        run(&skep, &["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward"),
        "1",
        "a sysctl of the container's own network namespace"
    );
    let error = skep.fails(125, ["run", "--rm", "--sysctl", "kernel.panic=1", IMAGE, "true"]);
    assert!(error.contains("kernel.panic"), "{error}");
}

#[test]
fn stop_signal_and_timeout_are_obeyed() {
    let skep = Skep::with_image();
    let script = "trap 'echo quit; exit 3' QUIT; trap 'echo term; exit 4' TERM; while :; do sleep 0.05; done";
    let id = skep.ok(["run", "-d", "--stop-signal", "QUIT", IMAGE, "sh", "-c", script]);
    // The shell needs a moment to set its traps.
    std::thread::sleep(std::time::Duration::from_millis(300));
    skep.ok(["stop", &id]);
    assert_eq!(skep.ok(["logs", &id]), "quit");
    assert_eq!(skep.inspect(&id, "{{.State.ExitCode}}"), "3");
    let deaf = skep.ok(["run", "-d", "--stop-timeout", "1", IMAGE, "sh", "-c", "trap '' TERM; sleep 1000"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    skep.ok(["stop", &deaf]);
    assert_eq!(skep.inspect(&deaf, "{{.State.ExitCode}}"), "137");
}

#[test]
fn network_modes() {
    let skep = Skep::with_image();
    for options in [&["--network", "none"][..], &[]] {
        let links = run(&skep, options, "ls /sys/class/net; cat /sys/class/net/lo/flags");
        assert!(links.starts_with("lo\n"), "{links}");
        assert_eq!(links.lines().count(), 2, "only loopback: {links}");
        assert_eq!(run(&skep, options, "ping -c 1 -W 2 127.0.0.1 > /dev/null && echo up"), "up");
    }
    let here = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    assert_eq!(run(&skep, &["--network", "host"], "readlink /proc/self/ns/net"), here);
    let id = skep.sleeper(&["--name", "first"]);
    let first = skep.ok(["exec", &id, "readlink", "/proc/self/ns/net"]);
    assert_ne!(first, here);
    assert_eq!(run(&skep, &["--network", "container:first"], "readlink /proc/self/ns/net"), first);
    let name = skep.ok(["exec", &id, "hostname"]);
    assert_eq!(run(&skep, &["--network", "container:first"], "hostname"), name);
    skep.fails(125, ["run", "--rm", "--network", "container:first", "--hostname", "other", IMAGE, "true"]);
    skep.fails(125, ["run", "--rm", "--network", "container:nobody", IMAGE, "true"]);
}

#[test]
fn shared_namespaces() {
    let skep = Skep::with_image();
    skep.sleeper(&["--name", "first"]);
    let seen = run(&skep, &["--pid", "container:first"], "ps -o pid,args");
    assert!(seen.contains("1 sleep 1000"), "the other's first process: {seen}");
    assert!(seen.lines().count() <= 4 && !seen.contains("end_to_end"), "only what is in there: {seen}");
    let ipc = skep.ok(["exec", "first", "readlink", "/proc/self/ns/ipc"]);
    assert_eq!(run(&skep, &["--ipc", "container:first"], "readlink /proc/self/ns/ipc"), ipc);
    for (flag, name) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--userns", "user")] {
        let here = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
        let link = format!("readlink /proc/self/ns/{name}");
        assert_eq!(run(&skep, &[flag, "host"], &link), here, "{flag} host");
        assert_ne!(run(&skep, &[], &link), here, "without {flag}");
    }
}

#[test]
fn devices() {
    let skep = Skep::with_image();
    let nodes = run(&skep, &[], "ls /dev");
    for node in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "shm", "pts", "mqueue"] {
        assert!(nodes.lines().any(|line| line == node), "`{node}` is missing: {nodes}");
    }
    assert_eq!(
        run(&skep, &[], "echo x > /dev/null; head -c 3 /dev/zero | wc -c; ls /dev/loop-control 2>&1; true"),
        "3\nls: /dev/loop-control: No such file or directory"
    );
    assert_eq!(run(&skep, &["--device", "/dev/zero:/dev/nil"], "head -c 4 /dev/nil | wc -c"), "4");
    let denied = run(&skep, &[], "mknod /tmp/mem c 1 1 2>&1 && head -c 1 /tmp/mem 2>&1 || echo denied");
    assert!(denied.contains("denied"), "{denied}");
}

#[test]
fn privileged_sees_devices_and_all_capabilities() {
    let skep = Skep::with_image();
    assert!(run(&skep, &["--privileged"], "ls /dev").lines().count() > 20);
    let here = std::fs::read_link("/proc/self/ns/user").unwrap().display().to_string();
    assert_eq!(
        run(&skep, &["--privileged"], "readlink /proc/self/ns/user"),
        here,
        "--privileged implies --userns=host"
    );
    let status = run(&skep, &["--privileged"], "grep -E 'CapEff|Seccomp:' /proc/self/status");
    assert!(status.contains("Seccomp:\t0"), "{status}");
    assert_eq!(run(&skep, &["--privileged"], "mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounted"), "mounted");
}

#[test]
fn dry_run_prints_the_plan_and_does_nothing() {
    let skep = Skep::with_image();
    let plan = skep.ok(["run", "--dry-run", "--rm", "-m", "64m", IMAGE, "true"]);
    assert!(plan.lines().count() > 10, "{plan}");
    assert!(plan.contains("leave the host's tree"), "{plan}");
    assert_eq!(skep.ok(["ps", "-aq"]), "");
    assert_eq!(entries(&skep.root().join("containers")), Vec::<String>::new());
}

#[test]
fn pull_policies_without_a_registry() {
    let skep = Skep::with_image();
    skep.ok(["run", "--rm", "--pull", "never", IMAGE, "true"]);
    skep.ok(["run", "--rm", "--pull", "missing", IMAGE, "true"]);
    skep.fails(125, ["run", "--rm", "--pull", "never", "absent", "true"]);
    skep.fails(125, ["run", "--rm", "--pull", "sometimes", IMAGE, "true"]);
}

#[test]
fn platform_must_fit_the_image() {
    let skep = Skep::with_image();
    let own = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    skep.ok(["run", "--rm", "--platform", own, IMAGE, "true"]);
    skep.fails(125, ["run", "--rm", "--platform", "linux/s390x", IMAGE, "true"]);
}

#[test]
fn images_that_need_no_loading() {
    let skep = Skep::new();
    let tree = skep.file("tree");
    sh(&format!(
        "mkdir -p {0}/bin && cp /bin/busybox {0}/bin/ && {0}/bin/busybox --install -s {0}/bin",
        tree.display()
    ));
    sh(&format!("cd {}/bin && for f in *; do [ -L $f ] && ln -sfn busybox $f; done; true", tree.display()));
    let reference = format!("rootfs:{}", tree.display());
    assert_eq!(skep.ok(["run", "--rm", &reference, "sh", "-c", "echo x > /new; ls / | grep -c new"]), "1");
    assert!(!tree.join("new").exists(), "the directory is only the read-only base");
    let host = skep.ok(["run", "--rm", "host:", "sh", "-c", "touch /only-inside-skep; cat /etc/os-release"]);
    assert_eq!(host, std::fs::read_to_string("/etc/os-release").unwrap().trim_end());
    assert!(!std::path::Path::new("/only-inside-skep").exists());
}

#[test]
fn oci_layout_directories() {
    let skep = Skep::new();
    if !crate::harness::have("skopeo") {
        return;
    }
    let layout = skep.file("layout");
    let from = busybox_archive();
    sh(&format!("skopeo copy --quiet docker-archive:{} oci:{}:one", from.display(), layout.display()));
    let reference = format!("oci:{}:one", layout.display());
    assert_eq!(skep.ok(["run", "--rm", &reference, "echo", "from a layout"]), "from a layout");
}

#[test]
fn create_then_start() {
    let skep = Skep::with_image();
    let id = skep.ok(["create", "--name", "later", IMAGE, "sh", "-c", "echo started; exit 5"]);
    assert_eq!(skep.inspect("later", "{{.State.Status}}"), "created");
    let output = skep.run(["start", "-a", "later"]);
    assert_eq!((output.code, output.stdout.as_str()), (5, "started\n"), "{output:#?}");
    assert_eq!(skep.ok(["start", &id]), id);
}
