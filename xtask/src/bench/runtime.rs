//! `skep-runtime` beside the other OCI runtimes, on one bundle: no image, no engine.
//!
//! ```text
//!   run        run, foreground, until the bundle's `true` has ended and nothing is left of it
//!   life       create, start, delete: three commands, as an engine calls them
//!   exec       one more `true` in a container that sleeps
//! ```
//! Of each the time (in turns), the processor time (of all its processes, those that outlive the command too), and the system
//! calls (by strace, the program's own among them). Then the smallest memory limit under which `run` works.

use super::peers::bundle;
use super::report::Row;
use super::stopwatch::{Contestant, Series, compare, finish, silence};
use super::workshop::Workshop;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Runs for the processor time, which the kernel counts in hundredths of a second.
const RUNS: usize = 40;
/// KiB that a container of one small program must get along with.
const LEAST_MEMORY: f64 = 512.0;
/// Memory limits are looked for in these steps.
const STEP: u64 = 32 << 10;
const LARGEST: u64 = 64 << 20;
/// A limit holds if this many containers in a row work.
const PROOFS: usize = 5;

/// One runtime with its bundles and its state.
struct Runtime {
    name: &'static str,
    program: PathBuf,
    root: PathBuf,
    bundles: PathBuf,
}

/// A way to use a runtime; everything it leaves is gone when it returns.
type Action = fn(&Runtime) -> Result<()>;

const ACTIONS: &[(&str, Action)] =
    &[("run", Runtime::run), ("create, start, delete", Runtime::life), ("exec", Runtime::exec)];

/// All of it.
pub(crate) fn runtime(workshop: &Workshop) -> Result<Vec<Row>> {
    let runtimes = runtimes(workshop)?;
    let sleeping = Sleeping::start(&runtimes)?;
    // Processes that outlive the command that made them are this one's to wait for, and so to count.
    let this = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(this)).map_err(|errno| anyhow::anyhow!("subreaper: {errno}"))?;
    let mut rows = Vec::new();
    for (what, action) in ACTIONS {
        let mut contestants: Vec<_> =
            runtimes.iter().map(|one| Contestant::action(one.name, || action(one)).restoring(reap)).collect();
        let series = compare(workshop.rounds, &mut contestants)?;
        drop(contestants);
        rows.extend(series[1..].iter().map(|peer| {
            let row = Row::at_most(&format!("`{what}`"), &series[0], peer, 1.0);
            aimed(row, &peer.name)
        }));
        let costs = runtimes.iter().map(|one| processor_time(one, *action)).collect::<Result<Vec<_>>>()?;
        rows.extend(figures(&format!("`{what}`: processor time"), "ms", &series, &costs, 2));
        let calls = runtimes.iter().map(|one| system_calls(one, what)).collect::<Result<Vec<_>>>()?;
        rows.extend(figures(&format!("`{what}`: system calls"), "", &series, &calls, 0));
    }
    drop(sleeping);
    let limits = runtimes.iter().map(smallest_limit).collect::<Result<Vec<_>>>()?;
    let names: Vec<&str> = runtimes.iter().map(|one| one.name).collect();
    let others = compared("smallest memory limit for `run`", "KiB", &names, &limits, 0);
    rows.push(Row::bound("smallest memory limit for `run`", limits[0], "KiB", LEAST_MEMORY, ""));
    rows.extend(others.into_iter().map(|row| Row { target: None, ..row }));
    Ok(rows)
}

fn runtimes(workshop: &Workshop) -> Result<Vec<Runtime>> {
    let ours = workshop.file("skep-runtime");
    if !ours.exists() {
        std::os::unix::fs::symlink(workshop.binary(), &ours)?;
    }
    let mut all = vec![("skep-runtime", ours)];
    all.extend(workshop.peers.runtimes().into_iter().map(|name| (name, PathBuf::from(name))));
    let make = |(name, program): (&'static str, PathBuf)| {
        let bundles = workshop.file(&format!("runtime-{name}"));
        let one = Runtime { name, program, root: workshop.state().join(name), bundles };
        // The same for all, written by one of them.
        let author = if workshop.peers.runtimes().is_empty() { one.program.clone() } else { "crun".into() };
        for (kind, words) in [("true", &["true"][..]), ("sleep", &["sleep", "100000"][..])] {
            bundle(&author.display().to_string(), &one.bundles.join(kind), &workshop.tree(), words)?;
        }
        Ok(one)
    };
    all.into_iter().map(make).collect()
}

impl Runtime {
    /// Of each runtime's own: groups have the names of containers.
    fn id(&self, kind: &str) -> String {
        format!("skep-bench-{}-{}-{kind}", std::process::id(), self.name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(words);
        silence(&mut command);
        command
    }

    fn bundle(&self, kind: &str) -> String {
        self.bundles.join(kind).display().to_string()
    }

    fn run(&self) -> Result<()> {
        finish(&mut self.command(&["run", "--bundle", &self.bundle("true"), &self.id("true")]))
    }

    fn life(&self) -> Result<()> {
        self.life_words()
            .iter()
            .try_for_each(|words| finish(&mut self.command(&words.iter().map(String::as_str).collect::<Vec<_>>())))
    }

    fn life_words(&self) -> Vec<Vec<String>> {
        let id = self.id("life");
        let words = [
            vec!["create".to_owned(), "--bundle".to_owned(), self.bundle("true"), id.clone()],
            vec!["start".to_owned(), id.clone()],
            vec!["delete".to_owned(), "--force".to_owned(), id],
        ];
        words.into()
    }

    fn exec(&self) -> Result<()> {
        finish(&mut self.command(&["exec", &self.id("sleep"), "true"]))
    }

    /// The command line of an action, for a shell.
    fn line(&self, what: &str) -> String {
        let call =
            |words: &[String]| format!("{} --root {} {}", self.program.display(), self.root.display(), words.join(" "));
        match what {
            "run" => call(&["run", "--bundle", &self.bundle("true"), &self.id("true")].map(str::to_owned)),
            "exec" => call(&["exec", &self.id("sleep"), "true"].map(str::to_owned)),
            _ => self.life_words().iter().map(|words| call(words)).collect::<Vec<_>>().join(" && "),
        }
    }
}

/// A container of each runtime, to execute in.
struct Sleeping<'a>(&'a [Runtime]);

impl<'a> Sleeping<'a> {
    fn start(runtimes: &'a [Runtime]) -> Result<Self> {
        let started = Self(runtimes);
        for one in runtimes {
            finish(&mut one.command(&["run", "--detach", "--bundle", &one.bundle("sleep"), &one.id("sleep")]))?;
        }
        Ok(started)
    }
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        for one in self.0 {
            if let Err(error) = finish(&mut one.command(&["delete", "--force", &one.id("sleep")])) {
                eprintln!("a container is left: {error:#}");
            }
        }
    }
}

/// Waits for all that was left to this process, except the containers that sleep.
fn reap() -> Result<()> {
    use rustix::process::{WaitOptions, wait};
    // None is there, or none has ended.
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    Ok(())
}

/// Milliseconds for one action.
fn processor_time(runtime: &Runtime, action: Action) -> Result<f64> {
    let before = children_time()?;
    for _ in 0..RUNS {
        action(runtime)?;
        reap()?;
    }
    Ok((children_time()? - before) / RUNS as f64)
}

/// What the processes cost that this one has waited for, in milliseconds.
fn children_time() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("stat");
    // cutime and cstime, the 16th and the 17th; the first two are cut off.
    Ok((ticks(13)? + ticks(14)?) * 1000.0 / rustix::param::clock_ticks_per_second() as f64)
}

/// The least of three counts: those that wait by polling make more calls on a busy machine.
fn system_calls(runtime: &Runtime, what: &str) -> Result<f64> {
    let counts = (0..3).map(|_| count_calls(runtime, what)).collect::<Result<Vec<_>>>()?;
    reap()?;
    Ok(counts.into_iter().min().unwrap_or(0) as f64)
}

/// The lines of strace but for those of the shell, and for the second halves of interrupted ones.
fn count_calls(runtime: &Runtime, what: &str) -> Result<usize> {
    let log = runtime.bundles.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&log);
    // The shell waits for its last command, too.
    strace.args(["sh", "-c", &format!("{} && :", runtime.line(what))]);
    finish(silence(&mut strace)).context("strace: apt-get install strace")?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    fs::remove_file(&log)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let shell = lines.next().context("strace wrote nothing")?.0.to_owned();
    Ok(lines.filter(|(pid, call)| *pid != shell && !call.trim_start().starts_with("<...")).count())
}

/// The smallest limit that works, in KiB.
fn smallest_limit(runtime: &Runtime) -> Result<f64> {
    let path = runtime.bundles.join("true").join("config.json");
    let whole = fs::read(&path)?;
    let (mut works, mut fails) = (LARGEST, 0);
    while works - fails > STEP {
        let middle = (works + fails) / 2 / STEP * STEP;
        let (middle, limited) = (middle.max(STEP), limited(&whole, middle.max(STEP))?);
        fs::write(&path, limited)?;
        if (0..PROOFS).all(|_| runtime.run().is_ok()) {
            works = middle;
        } else {
            fails = middle;
            clear(runtime);
        }
    }
    fs::write(&path, whole)?;
    Ok((works / 1024) as f64)
}

fn limited(config: &[u8], limit: u64) -> Result<String> {
    let mut config: serde_json::Value = serde_json::from_slice(config)?;
    config["linux"]["resources"]["memory"] = serde_json::json!({"limit": limit});
    Ok(config.to_string())
}

/// What a container that was killed in the making has left.
fn clear(runtime: &Runtime) {
    let _ = finish(&mut runtime.command(&["delete", "--force", &runtime.id("true")]));
    for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(controller.path().join(runtime.id("true")));
    }
}

fn aimed(row: Row, peer: &str) -> Row {
    if peer == "crun" { row } else { Row { target: None, ..row } }
}

/// Rows of a figure of which less is better.
fn figures(what: &str, unit: &str, series: &[Series], values: &[f64], digits: usize) -> Vec<Row> {
    let names: Vec<&str> = series.iter().map(|one| one.name.as_str()).collect();
    compared(what, unit, &names, values, digits)
}

fn compared(what: &str, unit: &str, names: &[&str], values: &[f64], digits: usize) -> Vec<Row> {
    let text = |value: f64| format!("{value:.digits$} {unit}").trim_end().to_owned();
    let rows = names.iter().zip(values).skip(1).map(|(name, value)| {
        let row = Row {
            what: what.to_owned(),
            ours: text(values[0]),
            theirs: format!("{name}: {}", text(*value)),
            result: format!("{:.2} x", values[0] / value),
            target: Some(("at most 1 x".to_owned(), values[0] <= *value)),
        };
        aimed(row, name)
    });
    rows.collect()
}
