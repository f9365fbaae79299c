//! What the state file says, and what is true.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use monitor::Exit;
use monitor::state::{self, Observed, State, Status};
use runtime::ProcessIdentity;
use support::{Options, Scratch, Watched};

#[test]
fn a_state_comes_back() {
    let scratch = Scratch::new();
    assert!(State::read(&scratch.0).is_err());
    State::created().write(&scratch.0).unwrap();
    let identity = ProcessIdentity { pid: 5, start_time: 6 };
    let written =
        State::update(&scratch.0, |state| state.set_running(identity, "boot", Timestamp::new(1, 2).unwrap())).unwrap();
    assert_eq!(State::read(&scratch.0).unwrap(), written);
    let exit = Exit { code: 137, signal: Some(9), finished_at: Timestamp::now() };
    State::update(&scratch.0, |state| state.set_exited(&exit, true)).unwrap();
    let state = State::read(&scratch.0).unwrap();
    assert_eq!((state.status, state.exit_code, state.oom_killed, state.signal), (Status::Exited, 137, true, Some(9)));
    assert_eq!(state.finished_at, Some(exit.finished_at));
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let scratch = Scratch::new();
    State::created().write(&scratch.0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    State::update(&scratch.0, |state| state.restart_count += 1).unwrap();
                    State::read(&scratch.0).unwrap();
                }
            });
        }
    });
    assert_eq!(State::read(&scratch.0).unwrap().restart_count, 400);
}

#[test]
fn damage_and_newer_versions_are_said() {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("state.json"), "{").unwrap();
    assert!(State::read(&scratch.0).unwrap_err().to_string().contains("is damaged"));
    std::fs::write(scratch.0.join("state.json"), r#"{"version":99,"status":"running"}"#).unwrap();
    assert!(State::read(&scratch.0).unwrap_err().to_string().contains("newer skep"));
}

#[test]
fn the_monitor_is_seen_while_it_lives() {
    let boot = state::boot_id().unwrap();
    let mut watched = Watched::start("sleep 0.2", Options::default());
    let directory = Scratch::new();
    let mut running = State::created();
    running.set_running(ProcessIdentity { pid: watched.pid, start_time: 1 }, &boot, Timestamp::now());
    running.write(&directory.0).unwrap();
    let look = || state::observe(&directory.0, &watched.scratch.0, &boot).unwrap().1;
    assert_eq!(look(), Observed::Recorded(Status::Running));
    assert_eq!(state::observe(&directory.0, &watched.scratch.0, "another boot").unwrap().1, Observed::EndedUnseen);
    watched.exit();
    assert_eq!(state::observe(&directory.0, &watched.scratch.0, &boot).unwrap().1, Observed::EndedUnseen);
}

#[test]
fn a_process_without_monitor_is_told_from_one_that_ended() {
    let boot = state::boot_id().unwrap();
    let directory = Scratch::new();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let identity = ProcessIdentity::of(child.id() as i32).unwrap();
    let mut running = State::created();
    running.set_running(identity, &boot, Timestamp::now());
    running.write(&directory.0).unwrap();
    let look = || state::observe(&directory.0, &directory.0.join("gone"), &boot).unwrap().1;
    assert_eq!(look(), Observed::Unmonitored);
    assert!(child.stdin.as_ref().is_some_and(|stdin| rustix::fs::fstat(stdin.as_fd()).is_ok()));
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(look(), Observed::EndedUnseen);
}
