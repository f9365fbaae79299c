//! Every input that fuzzing found worth keeping, through the same functions as under the fuzzer: see fuzz/entries.rs.
//!
//! No root, no libFuzzer, no instrumentation: what crashed once, or reached code that nothing else reaches, is read
//! again by every ordinary test run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]
#![allow(clippy::print_stdout, reason = "shown when an input fails")]

#[path = "../fuzz/entries.rs"]
mod entries;

use std::fs;
use std::path::Path;

#[test]
fn every_input_of_the_corpus_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, entry) in entries::ALL {
        let inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|input| input.unwrap().path()).collect();
        assert!(inputs.len() >= 5, "`{name}` has no corpus");
        for input in inputs {
            println!("{}", input.display());
            entry(&fs::read(&input).unwrap());
        }
    }
}

#[test]
fn every_target_is_in_the_table() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets");
    let mut targets: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    targets.sort();
    let mut known: Vec<_> = entries::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(targets, known);
}
