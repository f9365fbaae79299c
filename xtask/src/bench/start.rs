//! One container: `run`, `exec`, and the bare start of the binary.

use super::peers::bundle;
use super::report::{Row, times};
use super::stopwatch::{Contestant, Series, compare, output};
use super::workshop::{IMAGE, Workshop};
use anyhow::Result;
use std::process::Command;

const PLAIN: &[&str] = &["run", "--rm", "--network", "none", IMAGE, "true"];
const LIMITED: &[&str] = &[
    "run",
    "--rm",
    "--network",
    "none",
    "--memory",
    "512m",
    "--cpu-shares",
    "512",
    "--pids-limit",
    "100",
    IMAGE,
    "true",
];

/// `run --rm --network none IMAGE true` against the floor, crun and runc on a bundle, and the engines.
pub(crate) fn run(workshop: &Workshop) -> Result<Vec<Row>> {
    let mut contestants = vec![
        Contestant::command("skep run", workshop.skep_with(PLAIN)),
        Contestant::command("skep run with limits", workshop.skep_with(LIMITED)),
        Contestant::command("floor --userns --idmap", workshop.floor(&["--userns", "--idmap"])),
    ];
    for runtime in workshop.peers.runtimes() {
        let directory = workshop.file(&format!("bundle-{runtime}-true"));
        bundle(runtime, &directory, &workshop.tree(), &["true"])?;
        let mut command = Command::new(runtime);
        command.args(["run", "--bundle"]).arg(&directory).arg(format!("skep-bench-{}", std::process::id()));
        contestants.push(Contestant::command(&format!("{runtime} run"), command));
    }
    let engines = workshop.peers.engines();
    for engine in &engines {
        let image = engine.load(&workshop.file("small.tar"), IMAGE)?;
        let command = engine.command(&["run", "--rm", "--network", "none", &image, "true"]);
        contestants.push(Contestant::command(&format!("{} run", engine.name), command));
    }
    let series = compare(workshop.rounds, &mut contestants)?;
    let (skep, limited, floor) = (&series[0], &series[1], &series[2]);
    let mut rows = vec![
        Row::at_most("`run --rm --network none true`", skep, floor, 1.5),
        Row { target: None, ..Row::at_most("the same with memory, cpu and pids limits", limited, floor, 1.5) },
    ];
    for peer in &series[3..] {
        let row = Row::at_most("`run --rm --network none true`", skep, peer, 1.0);
        rows.push(if peer.name == "crun run" { row } else { Row { target: None, ..row } });
    }
    Ok(rows)
}

/// `exec C true` against nsenter of all namespaces.
pub(crate) fn exec(workshop: &Workshop) -> Result<Vec<Row>> {
    let id = output(&mut workshop.skep_with(&["run", "-d", "--network", "none", IMAGE, "sleep", "100000"]))?;
    let pid = output(&mut workshop.skep_with(&["inspect", "--format", "{{.State.Pid}}", &id]))?;
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", &pid, "--all", "/bin/true"]);
    let mut contestants = vec![
        Contestant::command("skep exec", workshop.skep_with(&["exec", &id, "true"])),
        Contestant::command("nsenter --all", nsenter),
    ];
    let engines = workshop.peers.engines();
    for engine in &engines {
        let image = engine.load(&workshop.file("small.tar"), IMAGE)?;
        let other = output(&mut engine.command(&["run", "-d", "--network", "none", &image, "sleep", "100000"]))?;
        let command = engine.command(&["exec", &other, "true"]);
        contestants.push(Contestant::command(&format!("{} exec", engine.name), command));
    }
    let series = compare(workshop.rounds, &mut contestants)?;
    let mut rows = vec![Row::at_most("`exec C true`", &series[0], &series[1], 1.5)];
    rows.extend(
        series[2..].iter().map(|peer| Row { target: None, ..Row::at_most("`exec C true`", &series[0], peer, 1.0) }),
    );
    workshop.remove_all()?;
    for engine in &engines {
        engine.remove_all()?;
    }
    Ok(rows)
}

/// `--version` against a static hello world.
pub(crate) fn version(workshop: &Workshop) -> Result<Vec<Row>> {
    let rounds = workshop.rounds.max(50);
    let series = compare(
        rounds,
        &mut [
            Contestant::command("skep --version", workshop.skep_with(&["--version"])),
            Contestant::command("static hello world", Command::new(workshop.file("hello"))),
        ],
    )?;
    Ok(vec![difference("`--version`", &series[0], &series[1], 0.3)])
}

fn difference(what: &str, ours: &Series, theirs: &Series, limit: f64) -> Row {
    let difference = ours.median() - theirs.median();
    Row {
        what: what.to_owned(),
        ours: times(ours),
        theirs: format!("{}: {}", theirs.name, times(theirs)),
        result: format!("{difference:+.2} ms (min {:+.2})", ours.minimum() - theirs.minimum()),
        target: Some((format!("at most {limit} ms more"), difference <= limit)),
    }
}
