//! The systemd driver: a group is a transient scope, which systemd makes and which is delegated to us.
//!
//! So far a scope has its name and its place; making it comes next.

#[allow(dead_code, reason = "the driver itself comes next")]
mod unit;

pub(super) use unit::Unit;
