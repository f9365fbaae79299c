//! Feeds libFuzzer's inputs to `entries::policy`. One file per target, as cargo-fuzz wants it; what is checked is in
//! entries.rs, which the ordinary tests run over the corpus too.
#![no_main]

#[path = "../entries.rs"]
#[allow(dead_code, reason = "each target uses one of them")]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::policy(bytes));
