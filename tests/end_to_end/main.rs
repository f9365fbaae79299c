//! End to end: the real binary, real archives, a real kernel. One file per topic that a user would name.
//!
//! Every test makes its own [`harness::Skep`], may run beside any other, holds no clock to account, and fails if it
//! leaves a mount, a cgroup, a process or a file behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first surprise")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "shown only when a test fails, or says what it skipped")]

mod check;
mod crash;
mod disk_usage;
mod exit_codes;
mod filesystem;
mod harness;
mod hostile;
mod image_mount;
mod images;
mod images_crash;
mod isolation;
mod lifecycle;
mod limits;
mod messages;
mod reproducible;
mod run_flags;
mod terminal;
