//! The speed table: skep beside the kernel's floor and beside its peers, on this machine, in one run.
//!
//! Absolute figures move with the machine and its neighbours, so each comparison runs its contestants in turn
//! (A B A B, 100 ms apart) and the table quotes ratios of medians. Every section is one function that returns
//! [`Row`]s; a peer that is not installed is left out and named at the end.

mod crowd;
mod image;
mod images;
mod load;
mod peers;
mod registry;
mod report;
mod runtime;
mod start;
mod stopwatch;
mod workshop;

use anyhow::{Context, Result, bail};
use report::Row;
use std::path::PathBuf;
use workshop::Workshop;

/// What the command line asked for.
pub(crate) struct Options {
    sections: Vec<String>,
    rounds: usize,
    skep: PathBuf,
    keep: bool,
    /// Where the data of all contestants goes.
    directory: PathBuf,
}

type Section = fn(&Workshop) -> Result<Vec<Row>>;

const SECTIONS: &[(&str, Section)] = &[
    ("run", start::run),
    ("exec", start::exec),
    ("version", start::version),
    ("runtime", runtime::runtime),
    ("crowd", crowd::start_and_remove),
    ("memory", crowd::memory),
    ("ps", crowd::list),
    ("load", load::load),
    ("images", images::images),
];

impl Options {
    /// Reads the words after `bench`.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            sections: Vec::new(),
            rounds: 25,
            skep: PathBuf::from("target/skep"),
            keep: false,
            directory: PathBuf::from("target"),
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--rounds" => options.rounds = words.next().context("--rounds needs a number")?.parse()?,
                "--skep" => options.skep = words.next().context("--skep needs a path")?.into(),
                "--directory" => options.directory = words.next().context("--directory needs a path")?.into(),
                "--keep" => options.keep = true,
                section if SECTIONS.iter().any(|(name, _)| *name == section) => options.sections.push(word),
                other => bail!("`{other}` is no section and no flag\n{}", crate::USAGE),
            }
        }
        Ok(options)
    }

    fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|name| name == section)
    }
}

/// Measures the sections that were asked for and prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the benchmarks start containers: run them as root");
    }
    if !in_own_mount_namespace() {
        return in_new_mount_namespace();
    }
    let skep = options.skep.canonicalize().with_context(|| format!("no `{}`: make build", options.skep.display()))?;
    let workshop = Workshop::open(skep, &options.directory, options.rounds, options.keep)?;
    let mut rows = Vec::new();
    for (name, section) in SECTIONS.iter().filter(|(name, _)| options.wants(name)) {
        eprintln!("measuring {name} ...");
        rows.extend(section(&workshop).with_context(|| format!("section {name}"))?);
    }
    print!("{}", report::render(&rows, options.rounds, &workshop.peers.missing()));
    Ok(())
}

/// Set for the second self, so that there is no third.
const MARK: &str = "SKEP_BENCH_NAMESPACE";

fn in_own_mount_namespace() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs this program again in a mount namespace of its own, without the cgroup2 mount that hybrid machines have beside
/// v1: crun refuses such machines as soon as a controller is on it. All contestants see the same.
fn in_new_mount_namespace() -> Result<()> {
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
    let status = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .status()
        .context("unshare")?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}
