//! A creation that is killed at any moment leaves what `delete` clears up and what the next `create` takes over.

use std::process::Stdio;
use std::time::Duration;

use crate::harness::Bundle;

#[test]
fn a_killed_creation_can_be_deleted_and_made_again() {
    let bundle = Bundle::new("sleep 1000");
    bundle.write();
    let place = bundle.directory.to_str().unwrap();
    for round in 0..40_u64 {
        let mut create = std::process::Command::new(crate::harness::binary());
        create.args(["runtime", "--root"]).arg(bundle.file("state")).args(["create", "-b", place, &bundle.id]);
        let mut create = create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(500 * round));
        let _ = create.kill();
        create.wait().unwrap();
        // Whatever it is now, it is something.
        let state = bundle.call(&["state", &bundle.id]);
        assert!(state.code == 0 || state.stderr.contains("does not exist"), "{}", state.stderr);
        if round % 2 == 0 {
            bundle.ok(&["delete", "--force", &bundle.id]);
            assert!(!bundle.file("state").join(&bundle.id).exists());
            assert!(!bundle.group("memory").exists(), "a control group is left after round {round}");
        } else if !state.stdout.contains("\"created\"") {
            bundle.create();
            bundle.ok(&["delete", &bundle.id]);
        } else {
            bundle.ok(&["delete", &bundle.id]);
        }
    }
}

#[test]
fn two_creations_at_once_make_one_container() {
    let bundle = Bundle::new("sleep 1000");
    bundle.write();
    let place = bundle.directory.to_str().unwrap();
    let silent = || Stdio::null();
    let mut both: Vec<_> = (0..2)
        .map(|_| {
            let mut create = bundle.runtime(&["create", "-b", place, &bundle.id]);
            create.stdout(silent()).stderr(silent()).spawn().unwrap()
        })
        .collect();
    let made = both.iter_mut().filter_map(|create| create.wait().unwrap().success().then_some(())).count();
    assert_eq!(made, 1);
    assert_eq!(crate::lifecycle::status(&bundle), "created");
}
