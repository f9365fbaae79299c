//! The place where measurements happen: compiled helpers, the image in every engine's store, and the clean-up.

use super::image;
use super::peers::Peers;
use super::stopwatch::{finish, output, silence};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The image's name in skep's store.
pub(crate) const IMAGE: &str = "skep-bench-small:1";

/// Everything that a section needs; removed when dropped.
pub(crate) struct Workshop {
    pub(crate) rounds: usize,
    pub(crate) directory: PathBuf,
    pub(crate) peers: Peers,
    skep: PathBuf,
    run_directory: PathBuf,
    keep: bool,
}

impl Workshop {
    /// Compiles the floor, makes the image and loads it.
    pub(crate) fn open(skep: PathBuf, place: &Path, rounds: usize, keep: bool) -> Result<Self> {
        let id = std::process::id();
        let directory = place.join(format!("bench-{id}"));
        fs::create_dir_all(&directory)?;
        let directory = directory.canonicalize()?;
        let run_directory = PathBuf::from(format!("/run/skep-bench-{id}"));
        let peers = Peers::find(&directory);
        let workshop = Self { rounds, directory, peers, skep, run_directory, keep };
        image::small_tree(&workshop.tree())?;
        image::small_archive(&workshop.tree(), &workshop.file("small.tar"))?;
        workshop.compile("floor", Path::new("xtask/floor.c"), &[])?;
        let hello = workshop.file("hello.c");
        fs::write(&hello, "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n")?;
        workshop.compile("hello", &hello, &["-static"])?;
        finish(silence(workshop.skep().args(["load", "-q", "-i"]).arg(workshop.file("small.tar"))))?;
        Ok(workshop)
    }

    /// The binary under test with the data directory of this run.
    pub(crate) fn skep(&self) -> Command {
        let mut command = Command::new(&self.skep);
        command.env("SKEP_ROOT", self.data()).env("SKEP_RUN", &self.run_directory);
        command
    }

    /// The binary with these arguments.
    pub(crate) fn skep_with(&self, arguments: &[&str]) -> Command {
        let mut command = self.skep();
        command.args(arguments);
        command
    }

    /// The binary under test.
    pub(crate) fn binary(&self) -> &Path {
        &self.skep
    }

    /// Where states go that do not outlive the machine.
    pub(crate) fn state(&self) -> &Path {
        &self.run_directory
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The unpacked image: floor's lower directory, crun's root.
    pub(crate) fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// A file of the run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The floor program over the image's tree, writing where skep writes.
    pub(crate) fn floor(&self, options: &[&str]) -> Command {
        let mut command = Command::new(self.file("floor"));
        command.args(options).arg("--work").arg(&self.directory).arg(self.tree());
        command
    }

    /// Removes every container of skep.
    pub(crate) fn remove_all(&self) -> Result<()> {
        let ids = output(&mut self.skep_with(&["ps", "-aq", "--no-trunc"]))?;
        if ids.is_empty() {
            return Ok(());
        }
        finish(silence(self.skep_with(&["rm", "-f"]).args(ids.lines())))
    }

    fn compile(&self, name: &str, source: &Path, flags: &[&str]) -> Result<()> {
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-o"]).arg(self.file(name)).args(flags).arg(source);
        finish(&mut compiler).context("a C compiler is needed: apt-get install gcc libc6-dev")
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = self.remove_all() {
            eprintln!("containers are left: {error:#}");
        }
        self.peers.stop();
        if self.keep {
            eprintln!("kept: {}", self.directory.display());
            return;
        }
        for directory in [&self.directory, &self.run_directory] {
            if let Err(error) = fs::remove_dir_all(directory) {
                eprintln!("{} is left: {error}", directory.display());
            }
        }
    }
}
