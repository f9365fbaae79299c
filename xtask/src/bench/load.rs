//! Loading an image of 300 MB in five layers: the time, and the most memory that it took.

use super::image;
use super::peers::Engine;
use super::report::Row;
use super::stopwatch::{Contestant, Series, compare, finish, silence};
use super::workshop::Workshop;
use anyhow::Result;
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LAYERS: usize = 5;
const LAYER_SIZE: u64 = 60 << 20;
const NAME: &str = "skep-bench-big:1";
/// A load takes seconds and is noisy in other ways than a start: fewer rounds do.
const ROUNDS: usize = 5;

/// Loads the archive plain and compressed.
pub(crate) fn load(workshop: &Workshop) -> Result<Vec<Row>> {
    let plain = workshop.file("big.tar");
    image::big_archive(&plain, LAYERS, LAYER_SIZE)?;
    let packed = workshop.file("big.tar.gz");
    let script = format!("gzip -6 < {} > {}", plain.display(), packed.display());
    finish(Command::new("sh").args(["-c", &script]))?;
    let mut rows = one_archive(workshop, "`load` of 300 MB, plain", &plain)?;
    // One stream, one core: there the target of the plain archive is out of anyone's reach.
    let informs = |row: Row| if row.result.is_empty() { row } else { Row { target: None, ..row } };
    rows.extend(one_archive(workshop, "`load` of 300 MB, gzip", &packed)?.into_iter().map(informs));
    fs::remove_file(plain)?;
    fs::remove_file(packed)?;
    Ok(rows)
}

fn one_archive(workshop: &Workshop, what: &str, archive: &Path) -> Result<Vec<Row>> {
    let skep_peak = Cell::new(0);
    let mut engines = workshop.peers.engines();
    engines.retain(|engine| can_load(engine, archive));
    let peaks: Vec<_> = engines.iter().map(|_| Cell::new(0)).collect();
    let mut contestants = vec![
        Contestant::action("skep load", || {
            measured(workshop.skep_with(&["load", "-q", "-i"]).arg(archive), &[], &skep_peak)
        })
        .restoring(|| finish(silence(&mut workshop.skep_with(&["rmi", NAME])))),
    ];
    for (engine, peak) in engines.iter().zip(&peaks) {
        let load = || measured(engine.command(&["load", "-q", "-i"]).arg(archive), &engine.servers, peak);
        let restore = || finish(silence(&mut engine.command(&["rmi", "-f", &engine.local(NAME)])));
        contestants.push(Contestant::action(&format!("{} load", engine.name), load).restoring(restore));
    }
    let series = compare(ROUNDS, &mut contestants)?;
    drop(contestants);
    let mut rows = vec![Row::bound(&format!("{what}: peak memory"), skep_peak.get() as f64 / 1024.0, "MB", 64.0, "")];
    if engines.is_empty() {
        rows.push(alone(what, &series[0]));
    }
    for (peer, peak) in series[1..].iter().zip(&peaks) {
        let mut row = Row::at_most(what, &series[0], peer, 0.5);
        row.theirs = format!("{} (peak {} MB)", row.theirs, peak.get() / 1024);
        rows.push(row);
    }
    Ok(rows)
}

/// podman 4.3 refuses some compressed archives that it loads plain.
fn can_load(engine: &Engine, archive: &Path) -> bool {
    let loaded =
        engine.load(archive, NAME).and_then(|name| finish(silence(&mut engine.command(&["rmi", "-f", &name]))));
    if let Err(error) = &loaded {
        eprintln!("{} is left out: {error:#}", engine.name);
    }
    loaded.is_ok()
}

fn alone(what: &str, series: &Series) -> Row {
    Row {
        what: what.to_owned(),
        ours: super::report::times(series),
        theirs: String::new(),
        result: String::new(),
        target: None,
    }
}

/// Runs a command and keeps the greatest memory (kB) that it, its children and the engine's servers ever had together.
///
/// `VmHWM` only grows, so a look every two milliseconds misses little: what was added in the last two.
pub(crate) fn measured(command: &mut Command, servers: &[u32], peak: &Cell<u64>) -> Result<()> {
    let mut child = silence(command).spawn()?;
    loop {
        let mut processes = servers.to_vec();
        processes.extend(family(child.id()));
        peak.set(peak.get().max(processes.into_iter().map(high_water).sum()));
        if let Some(status) = child.try_wait()? {
            anyhow::ensure!(status.success(), "{command:?}: {status}");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    [pid].into_iter().chain(children.flat_map(family)).collect()
}

fn high_water(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
