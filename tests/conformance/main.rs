//! A test per field of the OCI runtime specification 1.3, through the binary's own `runtime` command line.
//!
//! Each test makes a bundle with a root of busybox, changes one thing in a plain configuration, runs it, and lets the
//! container itself report what it sees. What the specification demands of impossible values is tested too: an error, and
//! nothing made. The tests run natively and, by `make test-v2`, in a VM with cgroup v2; what both report is
//! docs/conformance.md (`cargo xtask conformance`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends at the first surprise"
)]

mod harness;

mod checkpoint;
mod devices;
mod hooks;
mod mounts;
mod namespaces;
mod process;
mod program;
mod resources;
mod root;
mod seccomp;
