//! docs/security.md names tests: they exist, and their number is the one that it states.
//!
//! Rows of its table are the record of known attacks: `| attacks | how | answer |`, where the answer has names of tests
//! (`file::function`), or begins with "not applicable" or "later".

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => sources(&path, found),
            Some("rs") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn the_tests_that_the_record_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut files = Vec::new();
    ["crates", "tests"].iter().for_each(|directory| sources(&root.join(directory), &mut files));
    let table = text.split("## The record").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| attack"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let (mut covered, mut later, mut not_applicable) = (0, 0, 0);
    for row in &rows {
        let answer = row[2];
        let names: Vec<_> = answer.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
        for name in &names {
            let (file, function) = name.rsplit_once("::").unwrap();
            // `crates/failure/src/lib.rs` goes by the crate's name.
            let is_it = |path: &&PathBuf| {
                let path = path.to_string_lossy();
                path.ends_with(&format!("/{file}.rs")) || path.ends_with(&format!("/{file}/src/lib.rs"))
            };
            let has = |path: &PathBuf| fs::read_to_string(path).unwrap().contains(&format!("fn {function}("));
            assert!(files.iter().filter(is_it).any(has), "`{name}` does not exist");
        }
        match () {
            () if answer.starts_with("later") => later += 1,
            () if answer.starts_with("not applicable") => not_applicable += 1,
            () => {
                assert!(!names.is_empty(), "no test: {row:?}");
                covered += 1;
            }
        }
    }
    let stated =
        format!("{} rows: {covered} with tests, {not_applicable} not applicable, {later} for later", rows.len());
    assert!(text.contains(&stated), "docs/security.md should say: {stated}");
}
