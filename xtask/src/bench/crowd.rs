//! Many containers: how fast a hundred start and go, what each costs at rest, how fast five hundred are listed.

use super::peers::{Engine, bundle};
use super::report::Row;
use super::stopwatch::{Contestant, compare, finish, output, silence};
use super::workshop::{IMAGE, Workshop};
use anyhow::{Context, Result};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CROWD: usize = 100;
const LISTED: usize = 500;
const PASSES: usize = 3;
const DETACHED: &[&str] = &["run", "-d", "--network", "none", IMAGE, "sleep", "100000"];

/// Starts and removals a second of one contestant, the best of the passes.
#[derive(Default, Clone)]
struct Rates {
    serial: f64,
    parallel: f64,
    removal: f64,
}

/// One kind of container: how to start number n and how to remove all.
struct Kind<'a> {
    name: &'a str,
    /// Takes part in the first pass only: a hundred containers of an engine take half a minute.
    slow: bool,
    start: Box<dyn Fn(usize) -> Result<()> + Sync + 'a>,
    remove: Box<dyn Fn() -> Result<()> + 'a>,
}

/// A hundred detached containers, one after another and eight at a time, then all removed.
pub(crate) fn start_and_remove(workshop: &Workshop) -> Result<Vec<Row>> {
    let engines = workshop.peers.engines();
    let mut kinds = vec![Kind {
        name: "skep",
        slow: false,
        start: Box::new(|_| finish(silence(&mut workshop.skep_with(DETACHED)))),
        remove: Box::new(|| workshop.remove_all()),
    }];
    for runtime in workshop.peers.runtimes() {
        kinds.push(runtime_kind(workshop, runtime)?);
    }
    for engine in &engines {
        kinds.push(engine_kind(workshop, engine)?);
    }
    let mut rates = vec![Rates::default(); kinds.len()];
    for pass in 0..PASSES {
        for (kind, best) in kinds.iter().zip(&mut rates).filter(|(kind, _)| pass == 0 || !kind.slow) {
            one_pass(kind, best).with_context(|| kind.name.to_owned())?;
        }
    }
    Ok(rows(&kinds, &rates))
}

fn one_pass(kind: &Kind<'_>, best: &mut Rates) -> Result<()> {
    for (workers, rate) in [(1, &mut best.serial), (8, &mut best.parallel)] {
        let started = start_many(workers, CROWD, &kind.start)?;
        *rate = rate.max(CROWD as f64 / started.as_secs_f64());
        std::thread::sleep(Duration::from_millis(300));
        let begin = Instant::now();
        (kind.remove)()?;
        best.removal = best.removal.max(CROWD as f64 / begin.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

fn rows(kinds: &[Kind<'_>], rates: &[Rates]) -> Vec<Row> {
    let ours = &rates[0];
    let mut rows = Vec::new();
    for (kind, theirs) in kinds.iter().zip(rates).skip(1) {
        // The targets of the design: near crun, far from the engines.
        let (start, removal) = match kind.name {
            "crun" => (Some(0.8), None),
            "podman" => (Some(8.0), None),
            "docker" => (Some(10.0), Some(3.0)),
            _ => (None, None),
        };
        let mut push = |what: &str, unit: &str, ours: f64, theirs: f64, limit: Option<f64>| {
            let row = Row::rate(what, unit, ours, kind.name, theirs, limit.unwrap_or(0.0));
            rows.push(if limit.is_some() { row } else { Row { target: None, ..row } });
        };
        push("100 detached, one by one", "a second", ours.serial, theirs.serial, start);
        push("100 detached, 8 at a time", "a second", ours.parallel, theirs.parallel, start);
        push("100 removed", "a second", ours.removal, theirs.removal, removal);
    }
    rows
}

/// create and start of a bundle, as an engine over this runtime would; deletion one by one.
fn runtime_kind<'a>(workshop: &'a Workshop, runtime: &'static str) -> Result<Kind<'a>> {
    let directory = workshop.file(&format!("bundle-{runtime}-sleep"));
    bundle(runtime, &directory, &workshop.tree(), &["sleep", "100000"])?;
    let started = std::sync::Arc::new(Mutex::new(Vec::new()));
    let remembered = started.clone();
    let call = move |arguments: &[&str]| finish(silence(Command::new(runtime).args(arguments)));
    let start = move |number: usize| {
        let name = format!("skep-bench-{}-{number}", std::process::id());
        call(&["create", "--bundle", &directory.display().to_string(), &name])?;
        remembered.lock().map_err(|_| anyhow::anyhow!("a worker failed"))?.push(name.clone());
        call(&["start", &name])
    };
    let remove = move || {
        let names = std::mem::take(&mut *started.lock().map_err(|_| anyhow::anyhow!("a worker failed"))?);
        names.iter().try_for_each(|name| call(&["delete", "--force", name]))
    };
    Ok(Kind { name: runtime, slow: false, start: Box::new(start), remove: Box::new(remove) })
}

fn engine_kind<'a>(workshop: &Workshop, engine: &'a Engine) -> Result<Kind<'a>> {
    let image = engine.load(&workshop.file("small.tar"), IMAGE)?;
    let start =
        move |_| finish(silence(&mut engine.command(&["run", "-d", "--network", "none", &image, "sleep", "100000"])));
    Ok(Kind { name: engine.name, slow: true, start: Box::new(start), remove: Box::new(|| engine.remove_all()) })
}

/// Starts `count` containers with `workers` at a time; how long it took until the last command returned.
fn start_many(workers: usize, count: usize, start: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<Duration> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    if let Err(error) = start(number) {
                        next.store(count, Ordering::Relaxed);
                        failure.lock().map(|mut failure| *failure = Some(error)).ok();
                    }
                }
            });
        }
    });
    let elapsed = begin.elapsed();
    match failure.into_inner() {
        Ok(None) => Ok(elapsed),
        Ok(Some(error)) => Err(error),
        Err(_) => anyhow::bail!("a worker failed"),
    }
}

/// The private memory of the monitors of idle containers.
pub(crate) fn memory(workshop: &Workshop) -> Result<Vec<Row>> {
    start_many(4, 20, &|_| finish(silence(&mut workshop.skep_with(DETACHED))))?;
    std::thread::sleep(Duration::from_secs(1));
    let mut private = Vec::new();
    for id in output(&mut workshop.skep_with(&["ps", "-q", "--no-trunc"]))?.lines() {
        let pid = output(&mut workshop.skep_with(&["inspect", "--format", "{{.State.Pid}}", id]))?;
        private.push(private_kilobytes(&parent_of(&pid)?)?);
    }
    workshop.remove_all()?;
    private.sort_unstable();
    let detail = format!("{} monitors, {} to {} kB", private.len(), private[0], private[private.len() - 1]);
    Ok(vec![Row::bound("private memory of an idle monitor", private[private.len() / 2] as f64, "kB", 300.0, &detail)])
}

/// `ps` while five hundred containers run.
pub(crate) fn list(workshop: &Workshop) -> Result<Vec<Row>> {
    start_many(8, LISTED, &|_| finish(silence(&mut workshop.skep_with(DETACHED))))?;
    std::thread::sleep(Duration::from_secs(1));
    let series = compare(workshop.rounds, &mut [Contestant::command("skep ps", workshop.skep_with(&["ps"]))])?;
    workshop.remove_all()?;
    let detail = format!("min {:.2} ms", series[0].minimum());
    Ok(vec![Row::bound("`ps` with 500 running containers", series[0].median(), "ms", 20.0, &detail)])
}

fn parent_of(pid: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("no parent")?;
    Ok(line.trim().to_owned())
}

fn private_kilobytes(pid: &str) -> Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Ok(private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}
