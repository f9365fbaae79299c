//! Automation: benchmarks, release, generated files.

fn main() {}
