//! Registries, end to end: what is pushed and pulled, through which walls, against which lies, beside which other tools.
//!
//! Each test has a [`scene::Scene`]: a mount and a process namespace in which its registries, tools and its own skep run,
//! with a configuration of their own. Registries that do as they should are Debian's `docker-registry`; those that do
//! not are made here, of `std::net` and threads. A tool that is not there is skipped, in words: `make test` fetches all.
//!
//! ```text
//! skep, skopeo, podman, docker, ctr ──> [cutting proxy] ──> docker-registry ──> its data directory
//!        │      └── who may?  token server, htpasswd, credential helper          └─> its access log
//!        └────────────────────────> lying registry, mirrors
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]

mod accounts;
#[path = "../end_to_end/harness/archive.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod archive;
mod engines;
mod harness;
mod lies;
mod login;
mod mirrors;
#[path = "../engines/place.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod place;
mod policy;
mod pushes;
mod resume;
mod selftests;
mod sharing;
mod short_names;
mod transport;
