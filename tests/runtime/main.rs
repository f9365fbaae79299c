//! runc's command line, by its callers' eyes: outputs, exit codes, words, files. One file per topic.
//!
//! The bundles and the binary are the conformance tests' (`tests/conformance/harness.rs`); what a container may ask for is
//! tested there. Where runc is installed, its outputs are the measure of ours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]
#![allow(clippy::print_stdout, reason = "says what it skipped")]

#[path = "../conformance/harness.rs"]
mod harness;

mod console;
mod crash;
mod descriptors;
mod exec;
mod lifecycle;
mod limits;
mod outputs;
mod words;
