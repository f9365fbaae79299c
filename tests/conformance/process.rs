//! The process: user, limits, capabilities, scheduling, labels, terminal size.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{Bundle, field};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn the_process_is_who_it_is_to_be() {
    let _field = field(&["process.user.uid", "process.user.gid", "process.user.umask", "process.user.additionalGids"]);
    let mut bundle = Bundle::new("grep -E '^(Uid|Gid|Groups|Umask)' /proc/self/status | tr '\\t' ' '");
    bundle.spec["process"]["user"] =
        json!({"uid": 7, "gid": 8, "umask": 63, "additionalGids": [9, 10], "username": "ignored on Linux"});
    assert_eq!(bundle.output().replace(" \n", "\n"), "Umask: 0077\nUid: 7 7 7 7\nGid: 8 8 8 8\nGroups: 9 10\n");
    bundle.spec["process"]["user"] = json!({"uid": 0, "gid": 0, "umask": 4096});
    assert!(bundle.refusal().contains("umask"));
    bundle.spec["process"]["user"] = json!({"uid": u32::MAX, "gid": 0});
    assert!(bundle.refusal().contains("user id"));
}

#[test]
fn limits_are_as_given_and_given_once() {
    let _field = field(&["process.rlimits"]);
    let mut bundle = Bundle::new("grep -E 'open files|core file' /proc/self/limits | tr -s ' '");
    bundle.spec["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    let output = bundle.output();
    assert!(output.contains("Max open files 100 200 files"), "{output}");
    assert!(output.contains("Max core file size 0 0 bytes"), "{output}");
    for wrong in [
        json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]),
        json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]),
        json!([{"type": "RLIMIT_WISHES", "soft": 1, "hard": 1}]),
    ] {
        bundle.spec["process"]["rlimits"] = wrong;
        assert!(bundle.refusal().to_lowercase().contains("limit"));
    }
}

#[test]
fn capabilities_are_those_asked_for() {
    let _field = field(&[
        "process.capabilities.effective",
        "process.capabilities.bounding",
        "process.capabilities.inheritable",
        "process.capabilities.permitted",
        "process.capabilities.ambient",
    ]);
    let mut bundle = Bundle::new("grep ^Cap /proc/self/status | tr '\\t' ' '");
    // A user other than root keeps through exec what is ambient.
    bundle.spec["process"]["user"] = json!({"uid": 5, "gid": 5});
    let (two, three) = (json!(["CAP_KILL", "CAP_CHOWN"]), json!(["CAP_KILL", "CAP_CHOWN", "CAP_SETPCAP"]));
    bundle.spec["process"]["capabilities"] =
        json!({"bounding": three, "permitted": two, "effective": two, "inheritable": two, "ambient": ["CAP_KILL"]});
    let output = bundle.output();
    let expected = ["CapInh: 0000000000000021", "CapPrm: 0000000000000020", "CapEff: 0000000000000020"];
    assert_eq!(lines(&output)[..3], expected);
    assert_eq!(lines(&output)[3..], ["CapBnd: 0000000000000121", "CapAmb: 0000000000000020"]);
}

#[test]
fn capabilities_that_cannot_be_granted_are_a_warning() {
    let _field = field(&["process.capabilities.bounding", "process.capabilities.ambient"]);
    let mut bundle = Bundle::new("grep CapBnd /proc/self/status | tr '\\t' ' '");
    bundle.spec["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_FLY"], "ambient": ["CAP_KILL"]});
    let outcome = bundle.run();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "CapBnd: 0000000000000020\n"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("CAP_FLY"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("CAP_KILL"), "{}", outcome.stderr);
}

#[test]
fn new_privileges_can_be_forbidden() {
    let _field = field(&["process.noNewPrivileges"]);
    let mut bundle = Bundle::new("grep NoNewPrivs /proc/self/status | tr '\\t' ' '");
    for (wanted, shown) in [(true, "NoNewPrivs: 1\n"), (false, "NoNewPrivs: 0\n")] {
        bundle.spec["process"]["noNewPrivileges"] = json!(wanted);
        assert_eq!(bundle.output(), shown);
    }
}

#[test]
fn the_memory_killer_is_told_a_score() {
    let _field = field(&["process.oomScoreAdj"]);
    let mut bundle = Bundle::new("cat /proc/self/oom_score_adj");
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(bundle.output(), own);
    bundle.spec["process"]["oomScoreAdj"] = json!(321);
    assert_eq!(bundle.output(), "321\n");
    bundle.spec["process"]["oomScoreAdj"] = json!(1001);
    assert!(bundle.refusal().contains("1001"));
}

#[test]
fn the_process_is_scheduled_as_wanted() {
    let _field = field(&["process.scheduler"]);
    let mut bundle = Bundle::new("set -- $(cat /proc/self/stat); shift 18; echo nice $1; shift 21; echo $1 $2");
    bundle.spec["process"]["scheduler"] =
        json!({"policy": "SCHED_BATCH", "nice": 9, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    // A child of the shell would have nice 9 reset, were it negative; the policy of a batch is inherited.
    assert_eq!(bundle.output(), "nice 9\n0 3\n");
    bundle.spec["process"]["scheduler"] =
        json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 9_000_000, "period": 9_000_000});
    bundle.spec["process"]["args"] = json!(["cat", "/proc/self/sched"]);
    let outcome = bundle.run();
    assert!(outcome.stdout.lines().any(|line| line.starts_with("policy") && line.ends_with('6')), "{outcome:?}");
    for wrong in [
        json!({"policy": "SCHED_ISO"}),
        json!({"policy": "SCHED_FIFO", "priority": 100}),
        json!({"policy": "SCHED_OTHER", "nice": 40}),
        json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}),
    ] {
        bundle.spec["process"]["scheduler"] = wrong;
        bundle.refusal();
    }
}

#[test]
fn input_and_output_have_a_priority() {
    let _field = field(&["process.ioPriority"]);
    let mut bundle = Bundle::new("ionice");
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    assert_eq!(bundle.output(), "best-effort: prio 6\n");
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    assert_eq!(bundle.output(), "idle\n");
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 9});
    assert!(bundle.refusal().contains('9'));
}

#[test]
fn exec_runs_on_the_processors_given() {
    let _field = field(&["process.execCPUAffinity"]);
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"});
    bundle.start();
    let outcome = bundle.exec("grep Cpus_allowed_list /proc/self/status | tr '\\t' ' '");
    assert_eq!(outcome.stdout, "Cpus_allowed_list: 1\n", "{}", outcome.stderr);
    bundle.ok(&["delete", "--force", &bundle.id]);
    bundle.spec["process"]["execCPUAffinity"] = json!({"initial": "one"});
    bundle.refusal();
}

#[test]
fn labels_need_their_security_module() {
    for (name, module, place) in [
        ("process.apparmorProfile", "AppArmor", "/process/apparmorProfile"),
        ("process.selinuxLabel", "SELinux", "/process/selinuxLabel"),
        ("linux.mountLabel", "SELinux", "/linux/mountLabel"),
    ] {
        let mut field = field(&[name]);
        let mut bundle = Bundle::new("cat /proc/self/attr/apparmor/current");
        let (parent, key) = place.rsplit_once('/').unwrap();
        let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        if module == "AppArmor" && enabled.is_ok_and(|text| text.starts_with('Y')) {
            bundle.spec["process"]["apparmorProfile"] = json!("unconfined");
            assert_eq!(bundle.output(), "unconfined\n");
            bundle.spec["process"]["apparmorProfile"] = json!("no-such-profile");
            assert!(bundle.refusal().contains("no-such-profile"));
        } else if module == "SELinux" && Path::new("/sys/fs/selinux/enforce").exists() {
            field.lacks("a policy to test with");
        } else {
            bundle.spec.pointer_mut(parent).unwrap()[key] = json!("some_label");
            let line = bundle.refusal();
            assert!(line.contains(name) && line.contains(module), "{line}");
            field.lacks(module);
        }
    }
}

#[test]
fn a_terminal_has_the_size_given() {
    let _field = field(&["process.consoleSize"]);
    let mut bundle = Bundle::new("stty size");
    // Without a terminal it is passed over.
    bundle.spec["process"]["args"] = json!(["echo", "ran"]);
    bundle.spec["process"]["consoleSize"] = json!({"height": 25, "width": 81});
    assert_eq!(bundle.output(), "ran\n");
}
