//! Immunity: hostile trees, races, leaks of descriptors and privileges, exhaustion. docs/security.md says which attack of
//! the record each test stands for.
//!
//! The host's side is watched by [`witness::Canary`]; the rest is the harness of the end-to-end tests. Races take
//! `SKEP_ROUNDS` times their usual rounds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown only when a test fails, or says what it skipped")]

mod bundles;
mod credentials;
mod descriptors;
mod exposure;
#[path = "../end_to_end"]
mod end_to_end {
    //! The harness of the other binary.
    #![allow(dead_code, unused_imports, reason = "this binary uses a part")]
    pub(crate) mod harness;
}
mod probes;
mod races;
mod record;
mod resources;
mod trees;
mod witness;

use end_to_end::harness;
