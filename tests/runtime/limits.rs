//! `update`: limits of a running container, by flags and from JSON.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::process::Stdio;

use crate::harness::{Bundle, is_v2};

fn memory_limit(bundle: &Bundle) -> String {
    let name = if is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
    fs::read_to_string(bundle.group("memory").join(name)).unwrap().trim().to_owned()
}

fn pids_limit(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.group("pids").join("pids.max")).unwrap().trim().to_owned()
}

#[test]
fn flags_change_what_they_name() {
    let bundle = Bundle::new("sleep 1000");
    bundle.start();
    bundle.ok(&["update", "--memory", "64m", "--pids-limit", "17", &bundle.id]);
    assert_eq!((memory_limit(&bundle), pids_limit(&bundle)), ("67108864".to_owned(), "17".to_owned()));
    bundle.ok(&["update", "--cpu-share", "512", &bundle.id]);
    assert_eq!(memory_limit(&bundle), "67108864", "what is not named stays");
    for words in [["--memory", "x"], ["--cpu-period", "-1"], ["--l3-cache-schema", "L3:0=f"]] {
        assert_eq!(bundle.call(&["update", words[0], words[1], &bundle.id]).code, 1, "{words:?}");
    }
}

#[test]
fn events_tell_want_of_memory_and_end_with_the_container() {
    let mut bundle = Bundle::new("while ! test -e /go; do sleep 0.01; done; tail /dev/zero; exit 0");
    bundle.spec["linux"]["resources"] = serde_json::json!({"memory": {"limit": 20 << 20}});
    bundle.start();
    let mut events = bundle.runtime(&["events", "--interval", "100ms", &bundle.id]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(events.stdout.take().unwrap()).lines();
    // Now it watches.
    assert!(lines.next().unwrap().unwrap().starts_with("{\"type\":\"stats\""));
    fs::write(bundle.root().join("go"), "").unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.contains(&format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", bundle.id)), "{rest:?}");
    assert!(events.wait().unwrap().success());
}

#[test]
fn resources_come_from_a_file_or_from_stdin() {
    let bundle = Bundle::new("sleep 1000");
    bundle.start();
    let file = bundle.file("resources.json");
    fs::write(&file, r#"{"memory": {"limit": 50331648}}"#).unwrap();
    bundle.ok(&["update", "-r", file.to_str().unwrap(), &bundle.id]);
    assert_eq!(memory_limit(&bundle), "50331648");
    let mut update = bundle.runtime(&["update", "--resources", "-", &bundle.id]).stdin(Stdio::piped()).spawn().unwrap();
    update.stdin.take().unwrap().write_all(br#"{"pids": {"limit": 23}}"#).unwrap();
    assert!(update.wait().unwrap().success());
    assert_eq!((memory_limit(&bundle), pids_limit(&bundle)), ("50331648".to_owned(), "23".to_owned()));
    fs::write(&file, "[]").unwrap();
    assert_eq!(bundle.call(&["update", "-r", file.to_str().unwrap(), &bundle.id]).code, 1);
    bundle.ok(&["kill", &bundle.id, "9"]);
    crate::lifecycle::eventually("it has stopped", || crate::lifecycle::status(&bundle) == "stopped");
    assert!(bundle.call(&["update", "--memory", "64m", &bundle.id]).stderr.contains("container not running"));
}
