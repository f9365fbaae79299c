//! Exit codes: the program's own, and Docker's 125, 126 and 127.

use crate::harness::{IMAGE, Skep};

#[test]
fn the_programs_own_code_comes_through() {
    let skep = Skep::with_image();
    for code in [0, 1, 42, 255] {
        let output = skep.run(["run", "--rm", IMAGE, "sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.code, code, "{output:#?}");
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn death_by_signal_is_128_and_the_signal() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "--rm", "--init", IMAGE, "sh", "-c", "kill -TERM $$"]);
    assert_eq!(output.code, 143, "{output:#?}");
    let id = skep.sleeper(&[]);
    skep.ok(["kill", &id]);
    assert_eq!(skep.ok(["wait", &id]), "137");
}

#[test]
fn a_program_that_is_missing_is_127() {
    let skep = Skep::with_image();
    let output = skep.run(["run", "--rm", IMAGE, "no-such-program"]);
    output.assert_one_line_error(127, &["no-such-program"]);
    skep.run(["run", "--rm", IMAGE, "/no/such/program"]).assert_one_line_error(127, &["/no/such/program"]);
}

#[test]
fn a_program_that_cannot_be_executed_is_126() {
    let skep = Skep::with_image();
    skep.run(["run", "--rm", IMAGE, "/etc/passwd"]).assert_one_line_error(126, &["/etc/passwd"]);
    skep.run(["run", "--rm", IMAGE, "/etc"]).assert_one_line_error(126, &["/etc"]);
}

#[test]
fn the_engines_own_failures_are_125() {
    let skep = Skep::with_image();
    skep.run(["run", "--rm", "--pull", "never", "absent-image", "true"]).assert_one_line_error(125, &["absent-image"]);
    assert_eq!(skep.run(["run", "--no-such-flag", IMAGE, "true"]).code, 125);
    assert_eq!(skep.run(["run"]).code, 125);
}

#[test]
fn other_commands_fail_with_1_and_unknown_words_too() {
    let skep = Skep::with_image();
    skep.run(["rm", "absent"]).assert_one_line_error(1, &["absent"]);
    skep.run(["inspect", "absent"]);
    skep.run(["logs", "absent"]).assert_one_line_error(1, &["absent"]);
    assert_ne!(skep.run(["no-such-command"]).code, 0);
    assert_eq!(skep.run(["--help"]).code, 0);
    assert_eq!(skep.run(["--version"]).code, 0);
}

#[test]
fn exec_has_the_same_codes() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&[]);
    assert_eq!(skep.run(["exec", &id, "sh", "-c", "exit 7"]).code, 7);
    skep.run(["exec", &id, "no-such-program"]).assert_one_line_error(127, &["no-such-program"]);
    skep.run(["exec", &id, "/etc/passwd"]).assert_one_line_error(126, &["/etc/passwd"]);
    skep.run(["exec", "-u", "nobody-here", &id, "true"]).assert_one_line_error(126, &["nobody-here"]);
    skep.run(["exec", "-w", "/no/such", &id, "true"]).assert_one_line_error(126, &["/no/such"]);
    skep.run(["exec", &id]).assert_one_line_error(1, &["at least 2 arguments"]);
    assert_eq!(skep.run(["exec", &id, "sh", "-c", "kill -KILL $$"]).code, 137);
    assert_eq!(skep.run(["exec", "absent", "true"]).code, 1);
}

#[test]
fn start_attached_and_wait_give_the_code() {
    let skep = Skep::with_image();
    skep.ok(["create", "--name", "seven", IMAGE, "sh", "-c", "exit 7"]);
    assert_eq!(skep.run(["start", "-a", "seven"]).code, 7);
    assert_eq!(skep.ok(["wait", "seven"]), "7");
}
