//! JSON outputs have the form of runc's, field by field; where runc is installed it is asked.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::Bundle;

/// Every path in a value, with the kind of what is there: `data.cpu.usage.total: number`.
fn form(value: &Value) -> BTreeMap<String, &'static str> {
    fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, &'static str>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        found.insert(path.to_owned(), kind);
        for (name, value) in value.as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), value, found);
        }
    }
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found
}

/// runc, if it is there and works here.
fn runc(bundle: &Bundle, words: &[&str]) -> Option<Value> {
    let mut command = Command::new("timeout");
    command.args(["60", "runc", "--root"]).arg(bundle.file("runc")).args(words);
    let output = command.output().ok().filter(|output| output.status.success())?;
    serde_json::from_slice(&output.stdout).ok()
}

#[test]
fn state_and_list_have_runcs_form() {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.spec["annotations"] = json!({"org.example.key": "value"});
    bundle.start();
    let state = bundle.state();
    let fields: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"];
    assert_eq!(fields, wanted);
    assert_eq!(state["bundle"], bundle.directory.to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.root().to_str().unwrap());
    assert_eq!((&state["owner"], &state["annotations"]["org.example.key"]), (&json!("root"), &json!("value")));
    let created = state["created"].as_str().unwrap();
    assert!(created.starts_with("20") && created.ends_with('Z') && created.contains('T'), "{created}");
    let listed: Value = serde_json::from_str(&bundle.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(listed, json!([state]));
    assert_eq!(bundle.ok(&["list", "-q"]), format!("{}\n", bundle.id));
    let table = bundle.ok(&["list"]);
    let words: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(words, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert!(table.contains(&bundle.id) && table.contains("running"));
    bundle.ok(&["delete", "-f", &bundle.id]);
    assert_eq!(bundle.ok(&["list", "-f", "json"]), "null\n");
}

#[test]
fn ps_shows_the_containers_processes_alone() {
    let bundle = Bundle::new("sleep 1000 & sleep 1001; true");
    let first = bundle.start();
    crate::lifecycle::eventually("there are three", || {
        let pids: Vec<i32> = serde_json::from_str(&bundle.ok(&["ps", "--format", "json", &bundle.id])).unwrap();
        pids.len() == 3 && pids.contains(&first)
    });
    let table = bundle.ok(&["ps", &bundle.id]);
    assert!(table.lines().count() == 4 && table.contains("sleep 1001") && table.contains("PID"), "{table}");
    let own = bundle.ok(&["ps", &bundle.id, "-o", "pid,comm"]);
    assert!(own.lines().count() == 4 && own.contains("sleep"), "{own}");
    let wrong = bundle.call(&["ps", &bundle.id, "-o", "comm"]);
    assert!(wrong.stderr.contains("couldn't find PID field"), "{}", wrong.stderr);
}

#[test]
fn statistics_have_runcs_form() {
    let mut bundle = Bundle::new("sleep 1000");
    // runc wants what its own specification has.
    bundle.spec["ociVersion"] = json!("1.0.2");
    bundle.start();
    let ours: Value = serde_json::from_str(&bundle.ok(&["events", "--stats", &bundle.id])).unwrap();
    assert_eq!((&ours["type"], &ours["id"]), (&json!("stats"), &json!(bundle.id)));
    assert!(ours["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert_eq!(ours["data"]["pids"]["current"], 1);
    assert!(ours["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    bundle.ok(&["delete", "-f", &bundle.id]);
    let place = bundle.directory.to_str().unwrap();
    let mut started = Command::new("timeout");
    started.args(["60", "runc", "--root"]).arg(bundle.file("runc")).args(["run", "-d", "-b", place, &bundle.id]);
    let silent = || std::process::Stdio::null();
    let started = started.stdin(silent()).stdout(silent()).stderr(silent()).status();
    if !started.is_ok_and(|status| status.success()) {
        println!("skipped: no runc that runs here");
        return;
    }
    let theirs = runc(&bundle, &["events", "--stats", &bundle.id]);
    let mut end = Command::new("timeout");
    end.args(["60", "runc", "--root"]).arg(bundle.file("runc")).args(["delete", "-f", &bundle.id]);
    assert!(end.status().unwrap().success());
    let (ours, theirs) = (form(&ours), form(&theirs.unwrap()));
    // Counters that are zero are left out by both, and the kernel's own list of counters is the kernel's.
    let lasting = |path: &&String| !path.contains(".raw.") && !path.contains("percpu") && !path.contains(".blkio.");
    for (path, kind) in theirs.iter().filter(|(path, _)| lasting(path)) {
        let same = ours.get(path).is_none_or(|own| own == kind);
        assert!(same, "{path}: {:?} instead of {kind}", ours.get(path));
        let missing = !ours.contains_key(path) && path.matches('.').count() < 4;
        assert!(!missing, "{path} is missing");
    }
}

#[test]
fn features_name_at_least_what_runc_names() {
    let bundle = Bundle::new("true");
    let ours: Value = serde_json::from_str(&bundle.ok(&["features"])).unwrap();
    assert_eq!(ours["ociVersionMax"], "1.3.0");
    let Some(theirs) = runc(&bundle, &["features"]) else {
        println!("skipped: no runc that says its features");
        return;
    };
    let list = |value: &Value| value.as_array().unwrap().clone();
    // What the kernel has not had for years, or was never an option of a mount but of a file system.
    let strange = ["acl", "noacl"];
    for name in list(&theirs["mountOptions"]).iter().filter(|name| !strange.contains(&name.as_str().unwrap())) {
        assert!(list(&ours["mountOptions"]).contains(name), "mount option {name}");
    }
    for path in
        ["/hooks", "/linux/namespaces", "/linux/capabilities", "/linux/seccomp/actions", "/linux/seccomp/operators"]
    {
        for name in list(theirs.pointer(path).unwrap()) {
            assert!(list(ours.pointer(path).unwrap()).contains(&name), "{path}: {name}");
        }
    }
}

#[test]
fn a_new_specification_runs() {
    let bundle = Bundle::new("true");
    let place = bundle.directory.to_str().unwrap();
    bundle.ok(&["spec", "--bundle", place]);
    let again = bundle.call(&["spec", "--bundle", place]);
    assert!(again.stderr.contains("config.json exists"), "{}", again.stderr);
    let path = bundle.file("config.json");
    let mut spec: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", "echo I run; cat /proc/sys/kernel/hostname"]);
    spec["linux"]["cgroupsPath"] = bundle.spec["linux"]["cgroupsPath"].clone();
    std::fs::write(&path, spec.to_string()).unwrap();
    assert_eq!(bundle.ok(&["run", "-b", place, &bundle.id]), "I run\nskep\n");
}
