//! The runtime's own commands, over a bundle: what goes before each and what must hold after it.

use crate::scenario::{Scenario, nothing};
use crate::scene::{Check, Scene, VICTIM, soon};

fn create(scene: &Scene) -> Vec<String> {
    scene.runtime(&["create", "--bundle", &scene.file("sleeps"), VICTIM])
}

fn run_detached(scene: &Scene) -> Vec<String> {
    scene.runtime(&["run", "--detach", "--bundle", &scene.file("sleeps"), VICTIM])
}

fn deletable(scene: &Scene) -> Check {
    scene.deletable()
}

fn status_is(scene: &Scene, wanted: &str) -> Check {
    let state = scene.check(&scene.runtime(&["state", VICTIM]))?;
    if state.contains(&format!("\"status\": \"{wanted}\"")) { Ok(()) } else { Err(format!("not {wanted}: {state}")) }
}

fn is_running(scene: &Scene) -> Check {
    status_is(scene, "running")?;
    scene.check(&scene.runtime(&["exec", VICTIM, "true"])).map(drop)
}

fn is_there(scene: &Scene) -> Check {
    if status_is(scene, "running").is_ok() {
        return Ok(());
    }
    scene.check(&scene.runtime(&["delete", "--force", VICTIM]))?;
    scene.check(&run_detached(scene)).map(drop)
}

/// All of the runtime.
pub(crate) static RUNTIME: &[Scenario] = &[
    Scenario {
        name: "runtime-create",
        prepare: nothing,
        words: create,
        ends: false,
        done: |scene| {
            status_is(scene, "created")?;
            scene.check(&scene.runtime(&["start", VICTIM]))?;
            is_running(scene)
        },
        after: deletable,
    },
    Scenario {
        name: "runtime-start",
        prepare: |scene| scene.check(&create(scene)).map(drop),
        words: |scene| scene.runtime(&["start", VICTIM]),
        ends: false,
        done: is_running,
        after: deletable,
    },
    Scenario {
        name: "runtime-run",
        prepare: nothing,
        words: |scene| scene.runtime(&["run", "--bundle", &scene.file("ends"), VICTIM]),
        ends: true,
        done: nothing,
        after: deletable,
    },
    Scenario {
        name: "runtime-run-detached",
        prepare: nothing,
        words: run_detached,
        ends: false,
        done: is_running,
        after: deletable,
    },
    Scenario {
        name: "runtime-exec",
        prepare: is_there,
        words: |scene| scene.runtime(&["exec", VICTIM, "sleep", "0.01"]),
        ends: true,
        done: nothing,
        after: |scene| {
            scene.runtime_is_true()?;
            is_running(scene)?;
            soon(|| match scene.programs() {
                one if one.len() == 1 => Ok(()),
                others => Err(format!("one program should run: {others:?}")),
            })
        },
    },
    Scenario {
        name: "runtime-kill",
        prepare: |scene| scene.check(&run_detached(scene)).map(drop),
        words: |scene| scene.runtime(&["kill", VICTIM, "KILL"]),
        ends: true,
        done: |scene| soon(|| status_is(scene, "stopped")),
        after: deletable,
    },
    Scenario {
        name: "runtime-delete",
        prepare: |scene| scene.check(&run_detached(scene)).map(drop),
        words: |scene| scene.runtime(&["delete", "--force", VICTIM]),
        ends: true,
        done: |scene| match scene.run(&scene.runtime(&["state", VICTIM])).code {
            0 => Err("deleted, but it is still there".to_owned()),
            _ => Ok(()),
        },
        after: deletable,
    },
];
