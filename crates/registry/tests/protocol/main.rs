//! The client against a server that answers what each test says, on loopback.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod pull;
mod server;
