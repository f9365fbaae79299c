//! The six moments at which hooks run: where, with what, in which order, and what a failure does.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, field};

/// A hook that appends its name, the status it reads and the directory it runs in to a file of the host.
fn note(bundle: &Bundle, name: &str) -> Value {
    let script = format!(
        "read -r state || :; status=${{state#*status\\\":\\\"}}; pid=${{state#*pid\\\":}}; \
         test ${{pid%%[,\\}}]*}} = 0 && pid=no || pid=a; \
         echo \"{name} ${{status%%\\\"*}} $pid pid $COLOR $HOME\" >> {}",
        bundle.file("log").display()
    );
    shell(&script)
}

fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["COLOR=amber", "PATH=/usr/bin:/bin"]})
}

fn log(bundle: &Bundle) -> Vec<String> {
    let text = fs::read_to_string(bundle.file("log")).unwrap_or_default();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn every_moment_has_its_hooks() {
    let _field =
        field(&["hooks.prestart", "hooks.createRuntime", "hooks.createContainer", "hooks.poststart", "hooks.poststop"]);
    let mut bundle = Bundle::new("sleep 100");
    let moments = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for moment in moments {
        bundle.spec["hooks"][moment] = json!([note(&bundle, moment)]);
    }
    bundle.create();
    let created =
        ["prestart creating a pid amber", "createRuntime creating a pid amber", "createContainer creating a pid amber"];
    assert_eq!(log(&bundle), created);
    bundle.ok(&["start", &bundle.id]);
    assert_eq!(log(&bundle)[3..], ["poststart running a pid amber"]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert_eq!(log(&bundle)[4..], ["poststop stopped no pid amber"]);
}

#[test]
fn hooks_of_the_start_run_inside() {
    let _field = field(&["hooks.startContainer"]);
    let mut bundle = Bundle::new("cat /tmp/note");
    bundle.spec["hostname"] = json!("cell");
    bundle.spec["hooks"]["startContainer"] = json!([{
        "path": "/bin/sh",
        "args": ["sh", "-c", "{ hostname; tr , '\\n' | grep -o '\"status\":\"[a-z]*\"'; ls -d /bin; } > /tmp/note"],
        "env": ["PATH=/bin"],
    }]);
    assert_eq!(bundle.output(), "cell\n\"status\":\"created\"\n/bin\n");
}

#[test]
fn a_hook_that_fails_before_the_start_stops_all() {
    let _field = field(&["hooks.prestart", "hooks.createRuntime", "hooks.createContainer", "hooks.startContainer"]);
    for moment in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let mut bundle = Bundle::new("echo ran");
        let shell = if moment == "startContainer" { json!({"path": "/bin/false"}) } else { shell("exit 7") };
        bundle.spec["hooks"][moment] = json!([shell]);
        assert!(bundle.refusal().contains("hook"), "{moment}");
    }
}

#[test]
fn a_hook_that_fails_after_the_start_ends_the_container() {
    let _field = field(&["hooks.poststart"]);
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["hooks"]["poststart"] = json!([shell("exit 7"), note(&bundle, "poststart")]);
    bundle.create();
    let outcome = bundle.call(&["start", &bundle.id]);
    assert_ne!(outcome.code, 0);
    assert!(outcome.stderr.contains("exit code 7"), "{}", outcome.stderr);
    assert!(log(&bundle).is_empty());
    assert_eq!(bundle.state()["status"], "stopped");
}

#[test]
fn a_hook_that_fails_after_the_end_is_only_told() {
    let _field = field(&["hooks.poststop"]);
    let mut bundle = Bundle::new("echo ran");
    bundle.spec["hooks"]["poststop"] = json!([shell("exit 7"), note(&bundle, "poststop")]);
    let outcome = bundle.run();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "ran\n"), "{}", outcome.stderr);
    assert_eq!(log(&bundle), ["poststop stopped no pid amber"]);
    assert!(outcome.stderr.contains("exit code 7"), "{}", outcome.stderr);
}

#[test]
fn a_hook_has_a_time_limit() {
    let _field = field(&["hooks.createRuntime"]);
    let mut bundle = Bundle::new("echo ran");
    bundle.spec["hooks"]["createRuntime"] = json!([{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]);
    assert!(bundle.refusal().contains("timeout"));
    bundle.spec["hooks"]["createRuntime"] = json!([{"path": "/bin/sleep", "timeout": 0}]);
    assert!(bundle.refusal().contains("timeout"));
    bundle.spec["hooks"]["createRuntime"] = json!([{"path": "bin/sleep"}]);
    assert!(bundle.refusal().contains("absolute"));
}
