//! Failures in the words and forms that dockerd, containerd, conmon and podman look for.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Bundle;

/// The errors in a log of JSON lines.
fn errors(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["level"] == "error").collect()
}

#[test]
fn a_program_that_cannot_be_executed_is_said_as_go_says_it() {
    let mut bundle = Bundle::new("");
    for (program, words) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/etc", "exec: \"/etc\": permission denied"),
    ] {
        bundle.spec["process"]["args"] = json!([program]);
        let refusal = bundle.refusal();
        // The text log quotes the quotes.
        assert!(refusal.replace("\\\"", "\"").contains(words), "{refusal}");
    }
    bundle.spec["process"]["args"] = json!(["sleep", "1000"]);
    bundle.start();
    let missing = bundle.call(&["exec", &bundle.id, "nosuch"]);
    assert!(missing.code == 1 && missing.stderr.contains("executable file not found in $PATH"), "{}", missing.stderr);
}

#[test]
fn a_missing_program_is_found_by_create_already() {
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["nosuch"]);
    bundle.write();
    let outcome = bundle.call(&["create", "-b", bundle.directory.to_str().unwrap(), &bundle.id]);
    assert!(outcome.stderr.contains("executable file not found in $PATH"), "{}", outcome.stderr);
    assert!(!bundle.file("state").join(&bundle.id).exists());
}

#[test]
fn the_log_has_what_ended_the_command() {
    let bundle = Bundle::new("true");
    let log = bundle.file("log.json");
    let path = log.to_str().unwrap();
    let outcome = bundle.call(&["--log", path, "--log-format", "json", "state", "nosuch"]);
    assert_eq!((outcome.code, outcome.stderr.trim()), (1, "container \"nosuch\" does not exist"));
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(errors(&text)[0]["msg"], "container \"nosuch\" does not exist");
    let time = errors(&text)[0]["time"].as_str().unwrap().to_owned();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    fs::remove_file(&log).unwrap();
    bundle.call(&["--log", path, "state", "nosuch"]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("time=\"") && text.contains("level=error msg=\"container"), "{text}");
}

#[test]
fn wrong_words_are_refused_before_anything_is_done() {
    let bundle = Bundle::new("true");
    for (words, line) in [
        (&["create"][..], "requires exactly 1 argument"),
        (&["kill"], "requires a minimum of 1 argument"),
        (&["kill", "a", "TERM", "x"], "requires a maximum of 2 argument"),
        (&["kill", "a", "NOSUCH"], "unknown signal"),
        (&["run", "--nosuch", "a"], "flag provided but not defined: -nosuch"),
        (&["nosuch"], "no such command"),
        (&["--log-format", "x", "list"], "invalid log-format"),
        (&["--rootless", "x", "list"], "--rootless"),
        (&["list", "--format", "x"], "invalid format option"),
        (&["run", "-b", "/nosuch", "a"], "no such file or directory"),
    ] {
        let outcome = bundle.call(words);
        assert!(outcome.code == 1 && outcome.stderr.contains(line), "{words:?}: {}", outcome.stderr);
    }
    assert!(!bundle.file("state").exists());
}

#[test]
fn a_bundle_that_is_none_is_refused() {
    let bundle = Bundle::new("true");
    let config = bundle.file("config.json");
    for text in ["", "{", "[]", r#"{"ociVersion": "2.0.0"}"#, r#"{"ociVersion": "1.0.0"}"#] {
        fs::write(&config, text).unwrap();
        let outcome = bundle.call(&["run", "-b", bundle.directory.to_str().unwrap(), &bundle.id]);
        assert_eq!(outcome.code, 1, "{text}");
        assert!(!bundle.file("state").join(&bundle.id).exists());
    }
}

#[test]
fn every_command_has_a_manual() {
    let bundle = Bundle::new("true");
    let manual = bundle.ok(&["--help"]);
    for command in [
        "checkpoint",
        "create",
        "delete",
        "events",
        "exec",
        "features",
        "kill",
        "list",
        "pause",
        "ps",
        "restore",
        "resume",
        "run",
        "spec",
        "start",
        "state",
        "update",
    ] {
        assert!(manual.contains(&format!("\n   {command} ")), "{command}");
        assert!(bundle.ok(&[command, "--help"]).contains(&format!("skep-runtime {command}")), "{command}");
    }
    assert!(bundle.ok(&["--version"]).contains("spec: 1.3.0"));
}
