//! Linux calls that the libraries lack. The only unsafe code of the workspace.
//!
//! Thin and total: file descriptors and plain values in, an owned result or an errno out, no policy. Nothing here
//! allocates, so that a process that was just cloned may call all of it.
#![no_std]

pub mod bpf;
pub mod descriptors;
pub mod idmap;
pub mod keyring;
pub mod landlock;
pub mod lock;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod process;
pub mod schedule;
pub mod seccomp;
pub mod signal;
pub mod terminal;
pub mod thread;
pub mod title;

mod call;
