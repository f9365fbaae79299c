//! Images through registries and archives: beside docker and podman, with `skopeo copy` as the floor of a pull.
//!
//! ```text
//!   many     300 MB in twenty layers          one      300 MB in one layer
//!   pull     nothing of it is here            again    it is here, and unchanged: one request
//!   push     to an empty registry             save, load    a docker-archive of plain layers
//!   commit   a container with a new file of 20 MB
//! ```
//! What a turn leaves is removed before the next one: images, the registry's storage, archives. The list of 1,000 images and
//! the opening of their store are ours alone.

use super::image;
use super::load::measured;
use super::peers::Engine;
use super::registry::Registry;
use super::report::{Row, times};
use super::stopwatch::{Contestant, Series, compare, finish, output, silence};
use super::workshop::Workshop;
use anyhow::{Context, Result};
use std::cell::Cell;
use std::fs;
use std::process::Command;

const MEGABYTES: u64 = 300;
/// These take seconds: fewer rounds do.
const ROUNDS: usize = 5;
const LISTED: usize = 1000;
const FEW: usize = 10;
/// The targets of the design, as ratios to the peers.
const PULL: f64 = 0.5;
const OTHERS: f64 = 1.0 / 1.5;

type CommandLine<'a> = Box<dyn Fn(&[&str]) -> Command + 'a>;

/// An engine's command line: skep's or a peer's.
struct Side<'a> {
    name: String,
    command: CommandLine<'a>,
    servers: &'a [u32],
    /// What `pull` and `push` need to speak without TLS.
    plain: &'static [&'static str],
    peak: Cell<u64>,
    local: &'static str,
}

impl Side<'_> {
    fn run(&self, words: &[&str]) -> Result<()> {
        finish(silence(&mut (self.command)(words)))
    }

    fn timed(&self, words: &[&str]) -> Result<()> {
        measured(&mut (self.command)(words), self.servers, &self.peak)
    }

    /// `pull` or `push` of a name at the registry.
    fn transfer(&self, verb: &str, name: &str) -> Result<()> {
        self.timed(&[&[verb, "-q"], self.plain, &[name]].concat())
    }

    fn forget(&self, name: &str) -> Result<()> {
        self.run(&["rmi", "-f", name])
    }
}

/// Everything about images.
pub(crate) fn images(workshop: &Workshop) -> Result<Vec<Row>> {
    let engines = workshop.peers.engines();
    let sides = sides(workshop, &engines);
    let mut rows = Vec::new();
    match Registry::start(&workshop.file("registry")) {
        Ok(registry) => {
            let archives = [("many", 20), ("one", 1)];
            for (name, layers) in archives {
                let archive = workshop.file(&format!("{name}.tar"));
                image::big_archive(&archive, layers, (MEGABYTES << 20) / layers as u64)?;
                let place = format!("{}/{name}:1", registry.address);
                let from = format!("docker-archive:{}", archive.display());
                let mut copy = Command::new("skopeo");
                copy.args(["copy", "-q", "--dest-tls-verify=false", &from, &format!("docker://{place}")]);
                finish(silence(&mut copy)).context("fill the registry: apt-get install skopeo")?;
                rows.extend(pull(workshop, &sides, name, &place)?);
            }
            rows.extend(push(workshop, &sides)?);
            registry.stop();
        }
        Err(error) => eprintln!("no registry, so no pull and no push: {error:#}"),
    }
    rows.extend(archives(workshop, &sides)?);
    rows.extend(commit(workshop, &sides)?);
    rows.extend(list(workshop)?);
    Ok(rows)
}

fn sides<'a>(workshop: &'a Workshop, engines: &'a [Engine]) -> Vec<Side<'a>> {
    let ours = Side {
        name: "skep".to_owned(),
        command: Box::new(|words| workshop.skep_with(words)),
        servers: &[],
        plain: &[],
        peak: Cell::new(0),
        local: "",
    };
    let peers = engines.iter().map(|engine| Side {
        name: engine.name.to_owned(),
        command: Box::new(|words| engine.command(words)),
        servers: &engine.servers,
        plain: if engine.name == "podman" { &["--tls-verify=false"] } else { &[] },
        peak: Cell::new(0),
        local: if engine.name == "podman" { "localhost/" } else { "" },
    });
    [ours].into_iter().chain(peers).collect()
}

fn pull(workshop: &Workshop, sides: &[Side<'_>], name: &str, place: &str) -> Result<Vec<Row>> {
    sides.iter().for_each(|side| side.peak.set(0));
    let floor = workshop.file("floor-of-pull");
    let to = format!("dir:{}", floor.display());
    let copy = || {
        let mut copy = Command::new("skopeo");
        finish(silence(copy.args(["copy", "-q", "--src-tls-verify=false", &format!("docker://{place}"), &to])))
    };
    let mut contestants: Vec<_> = sides
        .iter()
        .map(|side| {
            let pull = || side.transfer("pull", place);
            Contestant::action(&side.name, pull).restoring(|| side.forget(place))
        })
        .collect();
    contestants.push(Contestant::action("skopeo copy", copy).restoring(|| Ok(fs::remove_dir_all(&floor)?)));
    let series = compare(rounds(workshop), &mut contestants)?;
    drop(contestants);
    let what = format!("`pull` of {MEGABYTES} MB, {name}");
    let mut rows = against(&what, &series, sides, |peer| (peer != "skopeo copy").then_some(PULL));
    rows.push(Row::bound(&format!("{what}: peak memory"), megabytes(&sides[0]), "MB", 96.0, ""));
    sides.iter().try_for_each(|side| side.transfer("pull", place))?;
    let series = turns(sides, workshop.rounds, |side| side.transfer("pull", place), |_| Ok(()))?;
    let what = format!("`pull` again, {name}");
    let detail = format!("min {:.2} ms", series[0].minimum());
    rows.push(Row::bound(&what, series[0].median(), "ms", 30.0, &detail));
    rows.extend(against(&what, &series, sides, |_| None));
    sides.iter().try_for_each(|side| side.forget(place))?;
    Ok(rows)
}

fn rounds(workshop: &Workshop) -> usize {
    workshop.rounds.min(ROUNDS)
}

/// The same of all sides, in turns.
fn turns(
    sides: &[Side<'_>],
    rounds: usize,
    action: impl Fn(&Side<'_>) -> Result<()>,
    restore: impl Fn(&Side<'_>) -> Result<()>,
) -> Result<Vec<Series>> {
    let (action, restore) = (&action, &restore);
    sides.iter().for_each(|side| side.peak.set(0));
    let contestant = |side| {
        let side: &Side<'_> = side;
        Contestant::action(&side.name, move || action(side)).restoring(move || restore(side))
    };
    compare(rounds, &mut sides.iter().map(contestant).collect::<Vec<_>>())
}

/// Of an image that was loaded, so that its layers are to be compressed: nobody has anything at hand then.
fn push(workshop: &Workshop, sides: &[Side<'_>]) -> Result<Vec<Row>> {
    let registry = Registry::start(&workshop.file("pushed"))?;
    let archive = workshop.file("many.tar").display().to_string();
    let place = format!("{}/pushed:1", registry.address);
    let load = |side: &Side<'_>| {
        side.run(&["load", "-q", "-i", &archive])?;
        side.run(&["tag", &format!("{}skep-bench-big:1", side.local), &place])
    };
    sides.iter().try_for_each(load)?;
    let restore = |side: &Side<'_>| {
        registry.empty()?;
        side.forget(&place)?;
        side.forget(&format!("{}skep-bench-big:1", side.local))?;
        load(side)
    };
    let series = turns(sides, rounds(workshop), |side| side.transfer("push", &place), restore)?;
    sides.iter().try_for_each(|side| {
        side.forget(&place)?;
        side.forget(&format!("{}skep-bench-big:1", side.local))
    })?;
    registry.stop();
    Ok(against(&format!("`push` of {MEGABYTES} MB, many"), &series, sides, |_| Some(OTHERS)))
}

fn archives(workshop: &Workshop, sides: &[Side<'_>]) -> Result<Vec<Row>> {
    let archive = workshop.file("many.tar");
    if !archive.exists() {
        image::big_archive(&archive, 20, (MEGABYTES << 20) / 20)?;
    }
    let archive = archive.display().to_string();
    let name = |side: &Side<'_>| format!("{}skep-bench-big:1", side.local);
    let load = |side: &Side<'_>| side.timed(&["load", "-q", "-i", &archive]);
    let series = turns(sides, rounds(workshop), load, |side| side.forget(&name(side)))?;
    let mut rows = against(&format!("`load` of {MEGABYTES} MB, many"), &series, sides, |_| Some(OTHERS));
    sides.iter().try_for_each(|side| side.run(&["load", "-q", "-i", &archive]))?;
    let saved = workshop.file("saved.tar").display().to_string();
    let save = |side: &Side<'_>| side.timed(&["save", "-o", &saved, &name(side)]);
    let series = turns(sides, rounds(workshop), save, |_| Ok(fs::remove_file(&saved)?))?;
    rows.extend(against(&format!("`save` of {MEGABYTES} MB, many"), &series, sides, |_| Some(OTHERS)));
    sides.iter().try_for_each(|side| side.forget(&name(side)))?;
    Ok(rows)
}

fn commit(workshop: &Workshop, sides: &[Side<'_>]) -> Result<Vec<Row>> {
    let (small, change) = (workshop.file("small.tar").display().to_string(), workshop.file("change"));
    let bytes: Vec<u8> = (0..(20_u32 << 20) / 4).flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(&change, bytes)?;
    let container = "skep-bench-commit";
    for side in sides {
        side.run(&["load", "-q", "-i", &small])?;
        let image = format!("{}{}", side.local, super::workshop::IMAGE);
        side.run(&["create", "--name", container, "--network", "none", &image, "true"])?;
        side.run(&["cp", &change.display().to_string(), &format!("{container}:/change")])?;
    }
    let commit = |side: &Side<'_>| side.timed(&["commit", container, "skep-bench-committed:1"]);
    let restore = |side: &Side<'_>| side.forget(&format!("{}skep-bench-committed:1", side.local));
    let series = turns(sides, rounds(workshop), commit, restore)?;
    sides.iter().try_for_each(|side| side.run(&["rm", "-f", container]))?;
    Ok(against("`commit` of 20 MB", &series, sides, |_| Some(OTHERS)))
}

/// Stores with few and with very many images: what the list costs, and what any command costs that opens them.
fn list(workshop: &Workshop) -> Result<Vec<Row>> {
    let at = |count: usize| workshop.file(&format!("data-{count}"));
    for count in [FEW, LISTED] {
        let archive = workshop.file("list.tar");
        image::many_images(&archive, count)?;
        let load = ["load", "-q", "-i", &archive.display().to_string()];
        finish(silence(workshop.skep_with(&load).env("SKEP_ROOT", at(count))))?;
        let listed = output(workshop.skep_with(&["images", "-q"]).env("SKEP_ROOT", at(count)))?;
        anyhow::ensure!(listed.lines().count() == count, "{} images are listed", listed.lines().count());
    }
    let with = |words: &[&str], count| {
        let mut command = workshop.skep_with(words);
        command.env("SKEP_ROOT", at(count));
        command
    };
    let inspect = ["image", "inspect", "skep-bench-list-3:1"];
    let mut contestants = [
        Contestant::command("images", with(&["images"], LISTED)),
        Contestant::command("inspect of 1,000", with(&inspect, LISTED)),
        Contestant::command("inspect of 10", with(&inspect, FEW)),
    ];
    let series = compare(workshop.rounds, &mut contestants)?;
    let detail = format!("min {:.2} ms", series[0].minimum());
    Ok(vec![
        Row::bound(&format!("`images` with {LISTED} images"), series[0].median(), "ms", 30.0, &detail),
        Row::at_most(&format!("`image inspect` with {LISTED} images"), &series[1], &series[2], 1.2),
    ])
}

/// Rows of ours against each of the others.
fn against(what: &str, series: &[Series], sides: &[Side<'_>], limit: impl Fn(&str) -> Option<f64>) -> Vec<Row> {
    // The whole takes minutes: a word on the way.
    let told: Vec<_> = series.iter().map(|one| format!("{} {:.0} ms", one.name, one.median())).collect();
    eprintln!("{what}: {}", told.join(", "));
    let row = |peer: &Series| {
        let limit = limit(&peer.name);
        let row = Row::at_most(what, &series[0], peer, limit.map_or(0.0, |limit| (limit * 100.0).round() / 100.0));
        let peak = sides.iter().find(|side| side.name == peer.name && side.peak.get() > 0);
        let theirs = peak.map_or(row.theirs.clone(), |side| format!("{} (peak {:.0} MB)", row.theirs, megabytes(side)));
        Row { theirs, target: row.target.filter(|_| limit.is_some()), ..row }
    };
    match series {
        [alone] => vec![Row {
            what: what.to_owned(),
            ours: times(alone),
            theirs: String::new(),
            result: String::new(),
            target: None,
        }],
        _ => series[1..].iter().map(row).collect(),
    }
}

fn megabytes(side: &Side<'_>) -> f64 {
    side.peak.get() as f64 / 1024.0
}
