//! The client against a server that answers what each test says, on loopback.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod authorization;
mod mirrors;
mod policy;
mod pull;
mod push;
mod referrers;
mod server;
mod settings;
mod tls;
