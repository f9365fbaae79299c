//! Bad input: one line that names the object and the way out, the right exit code, and nothing left behind.

use crate::harness::{IMAGE, Skep, entries};
use std::fs;

#[test]
fn bad_flags_of_run() {
    let skep = Skep::with_image();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--pull", "never", "absent:1", "true"], &["absent:1", "skep pull"]),
        (&["UPPER/Case", "true"], &["UPPER/Case"]),
        (&["rootfs:/no/such/tree", "true"], &["/no/such/tree"]),
        (&["oci:/no/such/layout", "true"], &["/no/such/layout"]),
        (&["-m", "1k", IMAGE, "true"], &["memory", "6"]),
        (&["-m", "lots", IMAGE, "true"], &["lots"]),
        (&["--cpus", "-1", IMAGE, "true"], &["cpus"]),
        (&["--cpus", "1000", IMAGE, "true"], &["cpus"]),
        (&["--cpuset-cpus", "900", IMAGE, "true"], &["900"]),
        (&["--cpuset-cpus", "0-99999999999", IMAGE, "true"], &["0-99999999999"]),
        (&["--ulimit", "colour=1", IMAGE, "true"], &["colour"]),
        (&["--ulimit", "nofile=9:1", IMAGE, "true"], &["nofile"]),
        (&["--name", "no spaces", IMAGE, "true"], &["no spaces"]),
        (&["-w", "relative", IMAGE, "true"], &["relative"]),
        (&["-v", "relative/path:/x", IMAGE, "true"], &["relative/path"]),
        (&["-v", "/tmp:relative", IMAGE, "true"], &["relative"]),
        (&["-v", "/tmp:/x:rainbow", IMAGE, "true"], &["rainbow"]),
        (&["--mount", "type=cloud,target=/x", IMAGE, "true"], &["cloud"]),
        (&["--mount", "target=", IMAGE, "true"], &["target"]),
        (&["--device", "/dev/no-such-device", IMAGE, "true"], &["/dev/no-such-device"]),
        (&["--cap-add", "FLY", IMAGE, "true"], &["FLY"]),
        (&["--security-opt", "seccomp=/no/such/profile", IMAGE, "true"], &["/no/such/profile"]),
        (&["--security-opt", "rainbow", IMAGE, "true"], &["rainbow"]),
        (&["--env-file", "/no/such/env", IMAGE, "true"], &["/no/such/env"]),
        (&["--network", "moon", IMAGE, "true"], &["moon"]),
        (&["--pid", "container:absent", IMAGE, "true"], &["absent"]),
        (&["--add-host", "nonsense", IMAGE, "true"], &["nonsense"]),
        (&["--dns", "not-an-address", IMAGE, "true"], &["not-an-address"]),
        (&["--stop-signal", "SIGNONSENSE", IMAGE, "true"], &["SIGNONSENSE"]),
        (&["--shm-size", "big", IMAGE, "true"], &["big"]),
        (&["--detach-keys", "ctrl-?,", IMAGE, "true"], &["ctrl-?"]),
        (&["-u", "stranger", IMAGE, "true"], &["stranger"]),
        (&["-u", "0:strangers", IMAGE, "true"], &["strangers"]),
        (&["--rm", "-d", "--cidfile", "/no/such/directory/cid", IMAGE, "true"], &["/no/such/directory/cid"]),
    ];
    let mut wrong = Vec::new();
    for (arguments, parts) in cases {
        let output = skep.run([&["run"][..], arguments].concat());
        let said = parts.iter().all(|part| output.stderr.contains(part)) && output.stderr.lines().count() == 1;
        let left = skep.ok(["ps", "-aq"]);
        if output.code != 125 || !said || !left.is_empty() {
            wrong.push(format!("run {arguments:?}: code {}, left {left:?}: {}", output.code, output.stderr));
            skep.run([&["rm", "-f"][..], &left.lines().collect::<Vec<_>>()].concat());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for directory in ["containers", "names", "ids"] {
        assert_eq!(entries(&skep.root().join(directory)), Vec::<String>::new(), "{directory}");
    }
}

#[test]
fn a_name_in_use() {
    let skep = Skep::with_image();
    let id = skep.ok(["create", "--name", "taken", IMAGE]);
    skep.run(["run", "--name", "taken", IMAGE, "true"]).assert_one_line_error(125, &["taken", &id[..12]]);
    skep.run(["create", "--name", "taken", IMAGE]).assert_one_line_error(1, &["taken"]);
    assert_eq!(skep.ok(["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn objects_that_do_not_exist() {
    let skep = Skep::with_image();
    let commands: &[&[&str]] = &[
        &["start", "absent"],
        &["stop", "absent"],
        &["restart", "absent"],
        &["kill", "absent"],
        &["rm", "absent"],
        &["wait", "absent"],
        &["logs", "absent"],
        &["top", "absent"],
        &["attach", "absent"],
        &["pause", "absent"],
        &["unpause", "absent"],
        &["rename", "absent", "other"],
        &["diff", "absent"],
        &["export", "absent"],
        &["commit", "absent"],
        &["cp", "absent:/etc", "/tmp"],
        &["exec", "absent", "true"],
        &["stats", "--no-stream", "absent"],
        &["rmi", "absent"],
        &["tag", "absent", "other"],
        &["history", "absent"],
        &["image", "inspect", "absent"],
        &["save", "absent"],
        &["load", "-i", "/no/such/file/absent"],
        &["import", "/no/such/file/absent"],
    ];
    for command in commands {
        println!("{command:?}");
        skep.run(*command).assert_one_line_error(1, &["absent"]);
    }
    let inspected = skep.run(["inspect", "absent"]);
    assert_eq!(inspected.code, 1);
    assert!(inspected.stderr.contains("absent"), "{inspected:#?}");
    assert_eq!(inspected.stdout.trim(), "[]", "as Docker does, for programs that parse it");
}

#[test]
fn bad_words_for_other_commands() {
    let skep = Skep::with_image();
    let id = skep.sleeper(&["--name", "here"]);
    let cases: &[(&[&str], &[&str])] = &[
        (&["kill", "-s", "SIGNONSENSE", "here"], &["SIGNONSENSE"]),
        (&["ps", "--filter", "nonsense"], &["nonsense"]),
        (&["ps", "--format", "{{.Nonsense}}"], &["Nonsense"]),
        (&["inspect", "--format", "{{.State", "here"], &["{{.State"]),
        (&["logs", "--since", "yesterday-ish", "here"], &["yesterday-ish"]),
        (&["logs", "--tail", "some", "here"], &["some"]),
        (&["tag", "busybox", "Not A Name"], &["Not A Name"]),
        (&["save", "--format", "zip", "busybox"], &["zip"]),
        (&["import", "-c", "RUN x", "/dev/null"], &["RUN"]),
        (&["cp", "here:/etc", "here:/tmp"], &["cp"]),
        (&["save", "-o", "/no/such/directory/file", "busybox"], &["/no/such/directory/file"]),
        (&["export", "-o", "/no/such/directory/file", "here"], &["/no/such/directory/file"]),
    ];
    for (command, parts) in cases {
        println!("{command:?}");
        let output = skep.run(*command);
        assert!(output.code == 1 || output.code == 125, "{output:#?}");
        output.assert_one_line_error(output.code, parts);
    }
    assert_eq!(skep.inspect(&id, "{{.State.Running}}"), "true");
}

#[test]
fn a_misspelt_word_is_guessed_at() {
    let skep = Skep::new();
    let output = skep.run(["imags"]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("images"), "{output:#?}");
    let output = skep.run(["run", "--nmae", "x", IMAGE]);
    assert_eq!(output.code, 125);
    assert!(output.stderr.contains("--nmae") && output.stderr.contains("--name"), "{output:#?}");
}

#[test]
fn a_data_directory_that_cannot_be_used() {
    let skep = Skep::new();
    fs::write(skep.root(), "a file where the directory should be").unwrap();
    let output = skep.run(["ps"]);
    output.assert_one_line_error(1, &[skep.root().to_str().unwrap()]);
    fs::remove_file(skep.root()).unwrap();
}

#[test]
fn damaged_state_of_one_container_does_not_hide_the_others() {
    let skep = Skep::with_image();
    let fine = skep.sleeper(&["--name", "fine"]);
    let damaged = skep.ok(["create", "--name", "damaged", IMAGE]);
    fs::write(skep.root().join("containers").join(&damaged).join("config.json"), "{ torn").unwrap();
    assert!(skep.ok(["ps", "-q", "--no-trunc"]).contains(&fine));
    assert_eq!(skep.run(["inspect", "fine"]).code, 0);
    assert_ne!(skep.run(["start", "damaged"]).code, 0);
    skep.ok(["rm", "-f", &damaged]);
}
