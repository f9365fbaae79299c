//! Which descriptors a program gets: those it was promised, and no others.

use std::process::{Command, Stdio};

use crate::harness::Bundle;

/// The command of a container under a shell that opens some descriptors first.
fn with_descriptors(bundle: &Bundle, opening: &str, words: &[&str]) -> Command {
    let inner = bundle.runtime(words);
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{opening} exec \"$@\""), "bash"]).arg(inner.get_program()).args(inner.get_args());
    shell.stdin(Stdio::null());
    shell
}

const OPENING: &str = "exec 3<<<three 4<<<four 5<<<five;";
const SHOW: &str = "for n in 3 4 5; do test -e /proc/self/fd/$n && cat <&$n; done; true";

#[test]
fn only_preserved_descriptors_arrive() {
    let bundle = Bundle::new(SHOW);
    bundle.write();
    let place = bundle.directory.to_str().unwrap();
    for (count, shown) in [("0", ""), ("2", "three\nfour\n"), ("3", "three\nfour\nfive\n")] {
        let words = ["run", "--preserve-fds", count, "-b", place, &bundle.id];
        let output = with_descriptors(&bundle, OPENING, &words).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), shown, "{}", String::from_utf8_lossy(&output.stderr));
    }
    let words = ["run", "--preserve-fds", "40", "-b", place, &bundle.id];
    let output = with_descriptors(&bundle, OPENING, &words).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not open"));
}

#[test]
fn activated_sockets_arrive_and_are_told() {
    let bundle = Bundle::new(&format!("echo $LISTEN_FDS $LISTEN_PID; {SHOW}"));
    bundle.write();
    let words = ["run", "-b", bundle.directory.to_str().unwrap(), &bundle.id];
    let output = with_descriptors(&bundle, OPENING, &words).env("LISTEN_FDS", "2").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 1\nthree\nfour\n");
    let others =
        with_descriptors(&bundle, OPENING, &words).env("LISTEN_FDS", "2").env("LISTEN_PID", "1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&others.stdout), "\n", "they were meant for another process");
}

#[test]
fn an_exec_gets_its_own() {
    let bundle = Bundle::new("sleep 1000");
    bundle.start();
    let words = ["exec", "--preserve-fds", "1", &bundle.id, "sh", "-c", SHOW];
    let output = with_descriptors(&bundle, OPENING, &words).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "three\n", "{}", String::from_utf8_lossy(&output.stderr));
}
