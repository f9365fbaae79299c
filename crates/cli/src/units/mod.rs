//! Numbers for people: sizes and times in Docker's words.

mod ago;
mod bytes;

pub(crate) use ago::{ago, duration, local};
pub(crate) use bytes::{binary, decimal, decimal_short};
