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
fn a_killed_start_can_be_repeated() {
    let bundle = Bundle::new("echo > /started; sleep 1000");
    for round in 0..40_u64 {
        bundle.create();
        let mut start = std::process::Command::new(crate::harness::binary());
        start.args(["runtime", "--root"]).arg(bundle.file("state")).args(["start", &bundle.id]);
        let mut start = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(50 * round));
        let _ = start.kill();
        start.wait().unwrap();
        // A word that was said just before may still be on its way.
        if bundle.call(&["start", &bundle.id]).code != 0 {
            assert_eq!(bundle.state()["status"], "running", "round {round}");
        }
        crate::lifecycle::eventually("it has started", || bundle.root().join("started").exists());
        assert_eq!(bundle.state()["status"], "running", "round {round}");
        bundle.ok(&["delete", "--force", &bundle.id]);
        std::fs::remove_file(bundle.root().join("started")).unwrap();
    }
}

#[test]
fn two_creations_at_once_make_one_container() {
    let bundle = Bundle::new("sleep 1000");
    bundle.write();
    let place = bundle.directory.to_str().unwrap();
    let silent = || Stdio::null();
    // Many times, because what must not happen needs one of them to come between two calls of the other.
    for round in 0..25 {
        let mut both: Vec<_> = (0..2)
            .map(|_| {
                let mut create = bundle.runtime(&["create", "-b", place, &bundle.id]);
                create.stdout(silent()).stderr(silent()).spawn().unwrap()
            })
            .collect();
        let made = both.iter_mut().filter_map(|create| create.wait().unwrap().success().then_some(())).count();
        assert_eq!(made, 1, "round {round}");
        assert_eq!(crate::lifecycle::status(&bundle), "created");
        bundle.ok(&["delete", "--force", &bundle.id]);
    }
}
