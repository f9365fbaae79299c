//! The engine's commands that are broken off, what goes before each and what must hold after it.

use crate::scene::{Check, IMAGE, Scene, VICTIM, soon};

/// A command to break off at every effect.
pub(crate) struct Scenario {
    /// As in the summary and in `SKEP_FAULTS`.
    pub(crate) name: &'static str,
    /// Makes what the command needs.
    pub(crate) prepare: fn(&Scene) -> Check,
    /// The command.
    pub(crate) words: fn(&Scene) -> Vec<String>,
    /// Its container ends by itself: what the monitor does then is part of the command.
    pub(crate) ends: bool,
    /// What is true if it says that it succeeded.
    pub(crate) done: fn(&Scene) -> Check,
    /// What is true in any case.
    pub(crate) after: fn(&Scene) -> Check,
}

pub(crate) fn nothing(_: &Scene) -> Check {
    Ok(())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().copied().map(str::to_owned).collect()
}

fn sleeper(scene: &Scene) -> Check {
    scene.check(&scene.words(&["run", "-d", "--name", VICTIM], &["sleep", "1000"])).map(drop)
}

fn sleeper_is_there(scene: &Scene) -> Check {
    match scene.check(&["exec", VICTIM, "true"]) {
        Ok(_) => Ok(()),
        Err(_) => {
            scene.run(&["rm", "-f", VICTIM]);
            sleeper(scene)
        }
    }
}

fn created_is_there(scene: &Scene) -> Check {
    if scene.run(&["inspect", VICTIM]).code == 0 {
        return Ok(());
    }
    scene.check(&scene.words(&["create", "--name", VICTIM], &["true"])).map(drop)
}

fn executes(scene: &Scene) -> Check {
    scene.check(&["exec", VICTIM, "true"]).map(drop)
}

/// The PID 1 of `--init` is skep's own: it may be what is broken, once the program runs. Then that is what is recorded.
fn executes_or_ended(scene: &Scene) -> Check {
    soon(|| {
        let ended = |code: &String| code != "0";
        let recorded =
            || scene.check(&["inspect", "--format", "{{.State.ExitCode}}", VICTIM]).is_ok_and(|code| ended(&code));
        executes(scene).or_else(|problem| if recorded() { Ok(()) } else { Err(problem) })
    })
}

fn removable(scene: &Scene) -> Check {
    scene.removable()
}

/// The container that an `exec` was broken off in goes on, alone.
fn goes_on(scene: &Scene) -> Check {
    scene.listing_is_true()?;
    executes(scene)?;
    soon(|| match scene.programs() {
        one if one.len() == 1 => Ok(()),
        others => Err(format!("one program should run: {others:?}")),
    })
}

/// Everything else of `run`: a terminal, limits, volumes, a user, an init.
const ALL_OF_RUN: &[&str] = &[
    "run",
    "-d",
    "-t",
    "--name",
    VICTIM,
    "--init",
    "-m",
    "64m",
    "--cpus",
    "0.5",
    "--pids-limit",
    "50",
    "--hostname",
    "hive",
    "--user",
    "1000:1000",
    "--ulimit",
    "nofile=100",
    "--tmpfs",
    "/scratch",
    "-v",
    "/anonymous",
    "--read-only",
    "--cap-drop",
    "ALL",
    "--device",
    "/dev/null:/dev/nought",
    "--sysctl",
    "net.ipv4.ip_unprivileged_port_start=80",
];

/// All of the engine.
pub(crate) static ENGINE: &[Scenario] = &[
    Scenario {
        name: "create",
        prepare: nothing,
        words: |scene| scene.words(&["create", "--name", VICTIM], &["true"]),
        ends: true,
        done: |scene| scene.check(&["start", "-a", VICTIM]).map(drop),
        after: removable,
    },
    Scenario {
        name: "start",
        prepare: |scene| scene.check(&scene.words(&["create", "--name", VICTIM], &["sleep", "1000"])).map(drop),
        words: |_| owned(&["start", VICTIM]),
        ends: false,
        done: executes,
        after: removable,
    },
    Scenario {
        name: "run",
        prepare: nothing,
        words: |scene| scene.words(&["run", "-d", "--name", VICTIM], &["sleep", "1000"]),
        ends: false,
        done: executes,
        after: removable,
    },
    Scenario {
        name: "run-first",
        // What the first start of all makes for those after it.
        prepare: |scene| {
            let data = scene.directory.join("data");
            ["skeleton", "cache"].into_iter().for_each(|name| drop(std::fs::remove_dir_all(data.join(name))));
            Ok(())
        },
        words: |scene| scene.words(&["run", "-d", "--name", VICTIM], &["sleep", "1000"]),
        ends: false,
        done: executes,
        after: removable,
    },
    Scenario {
        name: "run-all",
        prepare: nothing,
        words: |scene| {
            let shared = format!("{}:/shared:ro", scene.file("shared"));
            scene.words(&[ALL_OF_RUN, &["-v", &shared]].concat(), &["sleep", "1000"])
        },
        ends: false,
        done: executes_or_ended,
        after: removable,
    },
    Scenario {
        name: "run-host",
        prepare: nothing,
        words: |scene| {
            let options = ["run", "-d", "--name", VICTIM, "--userns", "host", "--net", "host", "--privileged"];
            scene.words(&options, &["sleep", "1000"])
        },
        ends: false,
        done: executes,
        after: removable,
    },
    Scenario {
        name: "run-to-end",
        prepare: nothing,
        words: |scene| scene.words(&["run", "--name", VICTIM], &["true"]),
        ends: true,
        done: |scene| scene.check(&["start", "-a", VICTIM]).map(drop),
        after: removable,
    },
    Scenario {
        name: "run-rm",
        prepare: nothing,
        words: |scene| scene.words(&["run", "--rm", "--name", VICTIM], &["true"]),
        ends: true,
        done: nothing,
        after: removable,
    },
    Scenario {
        name: "exec",
        prepare: sleeper_is_there,
        words: |_| owned(&["exec", VICTIM, "sleep", "0.01"]),
        ends: true,
        done: nothing,
        after: goes_on,
    },
    Scenario {
        name: "stop",
        prepare: sleeper,
        words: |_| owned(&["stop", "-t", "0", VICTIM]),
        ends: true,
        done: |scene| match scene.check(&["inspect", "--format", "{{.State.Status}}", VICTIM])?.as_str() {
            "exited" => Ok(()),
            other => Err(format!("stopped, but it is {other}")),
        },
        after: removable,
    },
    Scenario {
        name: "rm",
        prepare: sleeper,
        words: |_| owned(&["rm", "-f", VICTIM]),
        ends: true,
        done: is_gone,
        after: removable,
    },
    Scenario {
        name: "rm-created",
        prepare: |scene| {
            scene.check(&scene.words(&["create", "--name", VICTIM, "-v", "/anonymous"], &["true"])).map(drop)
        },
        words: |_| owned(&["rm", "-v", VICTIM]),
        ends: true,
        done: is_gone,
        after: removable,
    },
    Scenario {
        name: "cp-in",
        prepare: created_is_there,
        words: |scene| owned(&["cp", &scene.file("file"), &format!("{VICTIM}:/etc/copied")]),
        ends: true,
        done: |scene| scene.check(&["cp", &format!("{VICTIM}:/etc/copied"), &scene.file("back")]).map(drop),
        after: |scene| scene.check(&["start", "-a", VICTIM]).map(drop),
    },
    Scenario {
        name: "cp-out",
        prepare: created_is_there,
        words: |scene| owned(&["cp", &format!("{VICTIM}:/etc"), &scene.file("out")]),
        ends: true,
        done: nothing,
        after: |scene| {
            std::fs::remove_dir_all(scene.file("out")).ok();
            scene.check(&["start", "-a", VICTIM]).map(drop)
        },
    },
    Scenario {
        name: "commit",
        prepare: |scene| {
            created_is_there(scene)?;
            scene.check(&["cp", &scene.file("file"), &format!("{VICTIM}:/etc/copied")]).map(drop)
        },
        words: |_| owned(&["commit", VICTIM, "second"]),
        ends: true,
        done: |scene| scene.check(&["run", "--rm", "second", "cat", "/etc/copied"]).map(drop),
        after: |scene| image_is_whole(scene, "second", &["commit", VICTIM, "second"]),
    },
    Scenario {
        name: "load",
        prepare: nothing,
        words: |scene| owned(&["load", "-q", "-i", &scene.file("other.tar")]),
        ends: true,
        done: |scene| scene.check(&["run", "--rm", "other", "cat", "/etc/name"]).map(drop),
        after: |scene| image_is_whole(scene, "other", &["load", "-q", "-i", &scene.file("other.tar")]),
    },
];

fn is_gone(scene: &Scene) -> Check {
    match scene.run(&["inspect", VICTIM]) {
        output if output.code == 0 => Err("removed, but it is still there".to_owned()),
        _ => Ok(()),
    }
}

/// The image is there whole or not at all, can be made again, and removed.
fn image_is_whole(scene: &Scene, image: &str, again: &[&str]) -> Check {
    let listed = scene.check(&["images", "--format", "{{.Repository}}"])?;
    if !listed.lines().any(|name| name == IMAGE) {
        return Err(format!("the other image is lost: {listed:?}"));
    }
    if listed.lines().any(|name| name == image) {
        scene.check(&["run", "--rm", image, "true"])?;
        // Or the next would leave it without a name.
        scene.check(&["rmi", image])?;
    }
    scene.check(again)?;
    scene.check(&["run", "--rm", image, "true"])?;
    scene.check(&["rmi", image])?;
    scene.check(&["run", "--rm", IMAGE, "true"]).map(drop)
}
