//! `cargo xtask conformance`: docs/conformance.md from what the conformance tests themselves say.
//!
//! ```text
//!   tests/conformance, natively        ---- field, test, outcome ----+
//!   the same binary in the VM (v2)     ---- field, test, outcome ----+--> one row for each field of fields.txt
//! ```
//! A field without a test, or with one that failed, is an error: the table cannot be made then.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const FIELDS: &str = "tests/conformance/fields.txt";
const TABLE: &str = "docs/conformance.md";
const HEAD: &str = "\
# Conformance with the OCI runtime specification 1.3

Every field of config.md and config-linux.md that concerns Linux, with the tests that cover it and their outcome natively
(cgroup v1) and in a VM (Debian's 6.1 kernel, cgroup v2, systemd). Made from the tests' own output by `cargo xtask
conformance`; the tests are in tests/conformance/.

*works*: the container, or the kernel, was seen to have it. *refused*: this machine lacks what the field needs, and the
request was seen to fail in words, with nothing made.

| field | tests | v1 | v2 |
|---|---|---|---|
";

/// What the tests said of one field.
#[derive(Default)]
struct Row {
    tests: Vec<String>,
    outcomes: Vec<String>,
}

/// Runs the tests in both places and writes the table.
pub(crate) fn run() -> Result<()> {
    let binary = test_binary()?;
    let (native, machine) = (natively(&binary)?, in_the_machine(&binary)?);
    let text = table(&fs::read_to_string(FIELDS)?, &native, &machine)?;
    fs::write(TABLE, text)?;
    println!("wrote {TABLE}");
    Ok(())
}

fn test_binary() -> Result<PathBuf> {
    let words = ["test", "--quiet", "--no-run", "--message-format", "json", "--test", "conformance"];
    let output = Command::new(env!("CARGO")).args(words).output()?;
    ensure!(output.status.success(), "the conformance tests do not build");
    let text = String::from_utf8(output.stdout)?;
    let binary = text.lines().filter(|line| line.contains(r#""name":"conformance""#)).find_map(|line| {
        let (_, rest) = line.split_once(r#""executable":""#)?;
        Some(rest.split('"').next()?.into())
    });
    binary.context("cargo does not name the test binary")
}

fn natively(binary: &Path) -> Result<BTreeMap<String, Row>> {
    let report = std::env::current_dir()?.join("target/conformance.v1");
    let _ = fs::remove_file(&report);
    let skep = fs::canonicalize("target/skep").context("no `target/skep`; make it with `make build`")?;
    let status = Command::new(binary).env("SKEP_CONFORMANCE", &report).env("SKEP_BIN", skep).status()?;
    ensure!(status.success(), "a conformance test fails here");
    rows(&fs::read_to_string(report)?)
}

fn in_the_machine(binary: &Path) -> Result<BTreeMap<String, Row>> {
    let directory = Path::new("target/conformance");
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory)?;
    fs::copy("target/skep", directory.join("skep"))?;
    let test = directory.join("tests");
    let stripped = Command::new("strip").args(["--strip-debug", "-o"]).arg(&test).arg(binary).status()?;
    ensure!(stripped.success(), "cannot strip the test binary");
    let script = "export SKEP_BIN=/work/skep SKEP_CONFORMANCE=/work/report; ./tests >log 2>&1 || { tail -n 50 log; exit 1; }; cat report";
    let output = Command::new("tests/vm/lane.sh").args(["--systemd"]).arg(directory).arg(script).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("the conformance tests fail in the VM:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    rows(&text)
}

fn rows(report: &str) -> Result<BTreeMap<String, Row>> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in report.lines() {
        let mut parts = line.split('\t');
        let (Some(field), Some(test), Some(outcome), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("`{line}` is no line of a report");
        };
        let row = rows.entry(field.to_owned()).or_default();
        row.tests.push(test.to_owned());
        row.outcomes.push(outcome.to_owned());
    }
    Ok(rows)
}

fn table(fields: &str, native: &BTreeMap<String, Row>, machine: &BTreeMap<String, Row>) -> Result<String> {
    let mut text = HEAD.to_owned();
    for field in fields.lines().filter(|line| !line.starts_with('#')) {
        let (Some(here), Some(there)) = (native.get(field), machine.get(field)) else {
            bail!("no test covers `{field}`");
        };
        let mut tests: Vec<_> = here.tests.iter().chain(&there.tests).map(|test| format!("`{test}`")).collect();
        tests.sort();
        tests.dedup();
        writeln!(text, "| {field} | {} | {} | {} |", tests.join(" "), outcome(field, here)?, outcome(field, there)?)?;
    }
    Ok(text)
}

/// `works` if any test saw it work; else why it could only be refused.
fn outcome(field: &str, row: &Row) -> Result<String> {
    ensure!(!row.outcomes.iter().any(|outcome| outcome == "failed"), "a test of `{field}` failed");
    let works = row.outcomes.iter().find(|outcome| *outcome == "works");
    works.or(row.outcomes.first()).cloned().context("a field without an outcome")
}
