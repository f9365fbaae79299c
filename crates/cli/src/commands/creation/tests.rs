use super::refused::why;
use super::*;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use engine::request::{MountSource, NamespaceMode, NetworkMode, Seccomp, UserNamespaceMode};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    creation: Creation,
    #[arg(required = true, trailing_var_arg = true)]
    image: Vec<String>,
}

fn parse(words: &[&str]) -> Outcome<(Request, Streams)> {
    let mut command =
        crate::usage::parsed(crate::usage::shown(Flags::command(), &["run"], "run", "[OPTIONS] IMAGE", ""));
    let matches = command
        .try_get_matches_from_mut(words)
        .map_err(|error| crate::usage::explain(&error, &command, "run", "[OPTIONS] IMAGE", &why))?;
    let flags = Flags::from_arg_matches(&matches).unwrap();
    let streams = flags.creation.streams();
    Ok((flags.creation.request(flags.image)?, streams))
}

fn request(words: &[&str]) -> Request {
    parse(words).unwrap().0
}

fn mistake(words: &[&str]) -> String {
    match parse(words) {
        Err(Stop::Usage(line)) => line,
        other => format!("{other:?}"),
    }
}

#[test]
fn a_command_of_its_own() {
    let request =
        request(&["--rm", "-it", "--name", "a", "-e", "A=1", "-w", "/x", "-u", "5:6", "img", "sh", "-c", "x"]);
    assert_eq!((request.image.as_str(), request.command.join(" ").as_str()), ("img", "sh -c x"));
    assert!(request.auto_remove && request.terminal && request.open_stdin);
    assert_eq!(request.environment, ["A=1"]);
    assert_eq!(request.user.as_deref(), Some("5:6"));
}

#[test]
fn limits() {
    let request = request(&["-m64m", "--memory-swap", "-1", "--cpus=1.5", "-c", "512", "--pids-limit", "-1", "x"]);
    assert_eq!(request.resources.memory, Some(64 << 20));
    assert_eq!(request.resources.memory_swap, Some(-1));
    assert_eq!(request.resources.nano_cpus, Some(1_500_000_000));
    assert_eq!((request.resources.cpu_shares, request.resources.pids_limit), (Some(512), Some(-1)));
}

#[test]
fn walls() {
    let words =
        ["--userns=host", "--pid", "container:a", "--network", "none", "--security-opt", "seccomp=unconfined", "x"];
    let request = request(&words);
    assert_eq!(request.user_namespace, UserNamespaceMode::Host);
    assert_eq!(request.pid, NamespaceMode::Container("a".into()));
    assert_eq!((request.network, request.seccomp), (NetworkMode::None, Seccomp::Unconfined));
}

#[test]
fn files() {
    let request = request(&["-v", "/a:/b:ro", "--mount", "type=tmpfs,dst=/c", "--tmpfs", "/d:size=1m", "x"]);
    let targets: Vec<_> = request.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/b", "/c", "/d"]);
    assert!(matches!(request.mounts[2].source, MountSource::Tmpfs { size: Some(0x0010_0000), .. }));
    assert_eq!(mistake(&["-v", "/a:/b", "--tmpfs", "/b/", "x"]), "duplicate mount point: /b");
}

#[test]
fn entry_points_and_streams() {
    assert_eq!(request(&["--entrypoint", "", "x"]).entrypoint, Some(vec![]));
    assert_eq!(request(&["--entrypoint", "/a b", "x"]).entrypoint, Some(vec!["/a b".into()]));
    let (_, streams) = parse(&["-i", "-a", "STDOUT", "x"]).unwrap();
    assert_eq!(streams, Streams { stdin: false, stdout: true, stderr: false });
    let (_, streams) = parse(&["-i", "x"]).unwrap();
    assert_eq!(streams, Streams { stdin: true, stdout: true, stderr: true });
}

#[test]
fn what_is_not_supported_is_said() {
    for flag in ["-p", "--publish", "--gpus", "--health-cmd", "--volumes-from", "--runtime", "--link"] {
        assert!(mistake(&[flag, "80", "x"]).starts_with(&format!("{flag} is not supported: ")), "{flag}");
    }
    assert!(mistake(&["--publish=80:80", "x"]).starts_with("--publish is not supported: "));
    assert!(mistake(&["--restart", "always", "x"]).contains("restart policies are not supported yet"));
    assert!(mistake(&["--network", "bridge", "x"]).contains("not supported yet"));
    assert!(mistake(&["--pull", "x", "x"]).contains("invalid pull option"));
    assert!(mistake(&["--cpus", "1", "--cpu-quota", "5", "x"]).contains("conflicting options"));
}
