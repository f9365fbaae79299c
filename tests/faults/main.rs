//! Every effect of every command fails once, and is once the last thing that its process does.
//!
//! The real binary runs under a supervisor (see [`supervisor`]) that stops each system call with an effect. For every
//! N, the N-th effect of a command fails, or the process about to make it is killed, or the whole command is; then
//! ordinary commands must find a consistent state, and in the end nothing may be left. A fault may make a command
//! fail with a message or change nothing that matters; it never loses a container and never leaves what the next
//! command does not clear.
//!
//! ```text
//! SKEP_FAULTS unset                  a sample, another one each time: `make test`
//! SKEP_FAULTS=all                    every N of every command: some minutes each
//! SKEP_FAULTS=run                    every N of one command
//! SKEP_FAULTS=run:kill:17            one fault; the kinds are fail, kill, killall
//! SKEP_FAULTS=run:kill:renameat.2    at the second `renameat`: what a failure prints
//! SKEP_FAULTS=run:list               no fault, but the list of effects
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

#[path = "../end_to_end/harness/archive.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod archive;
mod calls;
mod runtime;
mod scenario;
mod scene;
mod supervisor;

use runtime::RUNTIME;
use scenario::{ENGINE, Scenario};
use scene::{Check, Scene};
use std::io::Write as _;
use supervisor::{Fault, Injection, Place, Watched, name_of, watch};

/// In a sample, the faults of one kind and command.
const SAMPLE: usize = 3;
/// Faults between two looks at what has been left on disk.
const BATCH: usize = 80;
/// A command with as many problems needs no more.
const ENOUGH: usize = 12;

/// One sweep over one command.
struct Sweep {
    scenario: &'static Scenario,
    scene: Scene,
    runs_in_batch: usize,
    effects: usize,
    failures: usize,
    kills: usize,
    inconsistent: Vec<String>,
    leaks: Vec<String>,
}

impl Sweep {
    fn new(scenario: &'static Scenario) -> Self {
        let scene = Scene::new();
        let (inconsistent, leaks) = (Vec::new(), Vec::new());
        Self { scenario, scene, runs_in_batch: 0, effects: 0, failures: 0, kills: 0, inconsistent, leaks }
    }

    /// One run without a fault, which must be perfect: how many effects there are.
    fn count(&mut self) {
        self.inject(&Injection { fault: Fault::Fail, at: Place::None });
    }

    /// One run with a fault. False: the command has fewer effects.
    fn inject(&mut self, injection: &Injection) -> bool {
        let scenario = self.scenario;
        if let Err(problem) = (scenario.prepare)(&self.scene) {
            self.inconsistent.push(format!("{injection:?}: cannot prepare: {problem}"));
            self.renew();
            return true;
        }
        let words = (scenario.words)(&self.scene);
        let mut watched = watch(self.scene.command(&words, "broken"), scene::binary(), injection.clone());
        if scenario.ends && watched.status.is_some() {
            watched.wait_for_all();
        }
        watched.is_over();
        let effects = watched.effects();
        let what = name_fault(scenario, injection.fault, &effects, watched.injected());
        self.effects = self.effects.max(effects.len());
        if watched.injected().is_some() {
            match injection.fault {
                Fault::Fail => self.failures += 1,
                Fault::Kill | Fault::KillAll => self.kills += 1,
            }
        }
        self.scene.note(watched.ids(), &what);
        if injection.at == Place::None && std::env::var("SKEP_FAULTS").is_ok_and(|wish| wish.ends_with(":list")) {
            let numbered = effects.iter().zip(1..).map(|(effect, number)| format!("{number:4} {effect}\n"));
            say(&numbered.collect::<String>());
        }
        if let Err(problem) = self.judge(&watched, injection.fault) {
            self.inconsistent.push(format!("{what}: {problem}"));
            self.renew();
        }
        self.runs_in_batch += 1;
        if self.runs_in_batch >= BATCH {
            self.close_batch();
        }
        match injection.at {
            Place::Number(number) => number <= effects.len(),
            Place::Named(..) | Place::None => true,
        }
    }

    fn judge(&self, watched: &Watched, fault: Fault) -> Check {
        let Some(status) = watched.status else { return Err("it hangs".to_owned()) };
        let output = self.scene.output("broken", status.code().unwrap_or(-1));
        if output.stderr.contains("panicked") {
            return Err(output.stderr);
        }
        let killed = fault != Fault::Fail && watched.injected().is_some();
        match status.code() {
            Some(0) => {
                (self.scenario.done)(&self.scene).map_err(|problem| format!("it says it succeeded: {problem}"))?
            }
            Some(_) if killed => {}
            Some(code) => clear_words(code, &output.stderr)?,
            None if killed => {}
            None => return Err(format!("the command died: {status}")),
        }
        if watched.injected().is_none() && status.code() != Some(0) {
            return Err(format!("without a fault it fails: {}", output.stderr));
        }
        (self.scenario.after)(&self.scene)
    }

    /// Looks at what is left on disk, and goes on in a new place.
    fn close_batch(&mut self) {
        let old = std::mem::replace(&mut self.scene, Scene::new());
        self.leaks.extend(old.close());
        self.runs_in_batch = 0;
    }

    /// After a problem: what it left is no fault of the next.
    fn renew(&mut self) {
        std::mem::replace(&mut self.scene, Scene::new()).wipe();
        self.runs_in_batch = 0;
    }

    /// The summary, and the verdict.
    fn finish(mut self) {
        self.close_batch();
        self.scene.wipe();
        let Self { scenario, effects, failures, kills, inconsistent, leaks, .. } = self;
        let mut problems = String::new();
        for problem in inconsistent.iter().chain(&leaks) {
            problems.push_str(&format!("  {problem}\n"));
        }
        let counts = format!("{effects} effects, {failures} failing runs injected, {kills} kills");
        let verdict = format!("{} inconsistent, {} leaks", inconsistent.len(), leaks.len());
        say(&format!("{}: {counts}, {verdict}\n", scenario.name));
        assert!(problems.is_empty(), "{}:\n{problems}", scenario.name);
    }

    fn has_enough(&self) -> bool {
        self.inconsistent.len() + self.leaks.len() >= ENOUGH
    }
}

/// Past the capture of test output: these lines are what the test is for.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// A failure is said in words, in one line.
fn clear_words(code: i32, stderr: &str) -> Check {
    let lines = stderr.trim_end().lines().count();
    if lines == 1 { Ok(()) } else { Err(format!("code {code} with {lines} lines of words: {stderr:?}")) }
}

fn kind(fault: Fault) -> &'static str {
    match fault {
        Fault::Fail => "fail",
        Fault::Kill => "kill",
        Fault::KillAll => "killall",
    }
}

const FAULTS: [Fault; 3] = [Fault::Fail, Fault::Kill, Fault::KillAll];

fn sweep(scenario: &'static Scenario) {
    let wish = std::env::var("SKEP_FAULTS").unwrap_or_default();
    let mut parts = wish.split(':');
    let (name, fault, number) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if !["", "all", scenario.name].contains(&name) {
        return;
    }
    let mut sweep = Sweep::new(scenario);
    sweep.count();
    for chosen in FAULTS.into_iter().filter(|one| fault.is_none_or(|fault| fault == kind(*one))) {
        match number {
            Some(place) => drop(sweep.inject(&Injection { fault: chosen, at: parse(place) })),
            None if name.is_empty() => sample(&mut sweep, chosen),
            None => {
                let mut number = 1;
                while !sweep.has_enough() && sweep.inject(&Injection { fault: chosen, at: Place::Number(number) }) {
                    number += 1;
                }
            }
        }
    }
    sweep.finish();
}

/// `17` or `renameat.2`.
fn parse(place: &str) -> Place {
    match place.split_once('.') {
        Some((name, number)) => Place::Named(name.to_owned(), number.parse().unwrap()),
        None => Place::Number(place.parse().unwrap()),
    }
}

/// `run:kill:renameat.2 (renameat /…)`: which fault it was, in the form that repeats it.
fn name_fault(scenario: &Scenario, fault: Fault, effects: &[String], injected: Option<usize>) -> String {
    let Some(index) = injected else { return format!("{} without a fault", scenario.name) };
    let name = name_of(&effects[index]);
    let number = effects[..=index].iter().filter(|effect| name_of(effect) == name).count();
    format!("{}:{}:{name}.{number} ({})", scenario.name, kind(fault), effects[index])
}

/// A few effects, evenly spread, and others the next time.
fn sample(sweep: &mut Sweep, fault: Fault) {
    let stride = (sweep.effects / SAMPLE).max(1);
    let first = 1 + (std::process::id() as usize) % stride;
    for number in (first..=sweep.effects).step_by(stride).take(SAMPLE) {
        sweep.inject(&Injection { fault, at: Place::Number(number) });
    }
}

fn named(name: &str) -> &'static Scenario {
    ENGINE.iter().chain(RUNTIME).find(|scenario| scenario.name == name).unwrap()
}

macro_rules! commands {
    ($($test:ident $name:literal)*) => { $(#[test] fn $test() { sweep(named($name)); })* };
}

commands! {
    create "create"
    start "start"
    run "run"
    run_first "run-first"
    run_all "run-all"
    run_host "run-host"
    run_to_end "run-to-end"
    run_rm "run-rm"
    exec "exec"
    stop "stop"
    rm "rm"
    rm_created "rm-created"
    cp_in "cp-in"
    cp_out "cp-out"
    commit "commit"
    load "load"
    runtime_create "runtime-create"
    runtime_start "runtime-start"
    runtime_run "runtime-run"
    runtime_run_detached "runtime-run-detached"
    runtime_exec "runtime-exec"
    runtime_kill "runtime-kill"
    runtime_delete "runtime-delete"
}
