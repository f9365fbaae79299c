//! What the program is started with: its words, its variables, its directory, its terminal.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Bundle, Outcome, field};

#[test]
fn the_program_gets_its_words_as_they_are() {
    let _field = field(&["process.args"]);
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["printf", "%s.", "two words", "", "$HOME", "é\n"]);
    assert_eq!(bundle.output(), "two words..$HOME.é\n.");
    for (words, part) in [(json!([]), "args"), (json!(["nosuch"]), "executable file not found")] {
        bundle.spec["process"]["args"] = words;
        let line = bundle.refusal();
        assert!(line.contains(part) || line.contains("no command"), "{line}");
    }
}

#[test]
fn the_environment_is_the_one_given_and_no_more() {
    let _field = field(&["process.env"]);
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["/bin/busybox", "env"]);
    bundle.spec["process"]["env"] = json!(["B=2", "A=1=1", "EMPTY="]);
    bundle.write();
    let mut run = bundle.runtime(&["run", "--bundle", bundle.directory.to_str().unwrap(), &bundle.id]);
    let outcome: Outcome = run.env("OF_THE_CALLER", "x").output().unwrap().into();
    let mut lines: Vec<_> = outcome.stdout.lines().filter(|line| !line.starts_with("HOME=")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1=1", "B=2", "EMPTY="], "{}", outcome.stderr);
}

#[test]
fn the_directory_is_made_if_it_is_missing_and_must_be_absolute() {
    let _field = field(&["process.cwd"]);
    let mut bundle = Bundle::new("pwd");
    for directory in ["/", "/tmp", "/new/one"] {
        bundle.spec["process"]["cwd"] = json!(directory);
        assert_eq!(bundle.output(), format!("{directory}\n"));
    }
    for wrong in ["", "tmp", "/bin/busybox"] {
        bundle.spec["process"]["cwd"] = json!(wrong);
        assert_ne!(bundle.refusal(), "", "{wrong}");
    }
}

#[test]
fn a_terminal_is_the_containers_own_and_has_the_size_asked_for() {
    let _field = field(&["process.terminal", "process.consoleSize"]);
    let mut bundle = Bundle::new("tty; stty size; test -t 0 && test -t 2 && echo all");
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["consoleSize"] = json!({"height": 31, "width": 77});
    bundle.write();
    let run = bundle.runtime(&["run", "--bundle", bundle.directory.to_str().unwrap(), &bundle.id]);
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    let line: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let mut inside = Command::new("script");
    inside.args(["-qec", &line.join(" "), "/dev/null"]).stdin(Stdio::null());
    let outcome: Outcome = inside.output().unwrap().into();
    // What `script` sends at the end of its own input may be echoed before.
    assert!(outcome.stdout.contains("/dev/pts/0\r\n31 77\r\nall\r\n"), "{outcome:?}");
}
