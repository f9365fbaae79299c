//! Linux calls that the libraries lack. The only unsafe code of the workspace.
#![no_std]

pub mod lock;
pub mod memory;
