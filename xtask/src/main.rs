//! Automation: `cargo xtask bench` measures skep against the kernel's floor and its peers, `cargo xtask conformance` makes
//! the table of the specification's fields.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for a person at a terminal")]

mod bench;
mod conformance;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask conformance
       cargo xtask bench [SECTION...] [--rounds N] [--skep PATH] [--directory D] [--keep]

sections (default: all): run exec version runtime crowd memory ps load images
  --rounds N   pairs of each timing (default 25)
  --skep PATH  the binary to measure (default target/skep, made by `make build`)
  --directory D where images and containers go (default target/): what a file system costs falls on all alike
  --keep       leave the working directory in place";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("bench") => bench::run(&bench::Options::parse(arguments)?),
        Some("conformance") => conformance::run(),
        Some("--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}
