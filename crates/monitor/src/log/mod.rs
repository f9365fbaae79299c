//! A container's log: JSON lines, written by its monitor, read by anyone, also while it grows.
//!
//! ```text
//! containers/<id>/log/container.log      the current file       <- Writer appends, one write(2) for each chunk read
//!                     container.log.1    the one before it      <- rotated by rename before it outgrows max-size
//!                     container.log.2    the oldest of three
//!
//! Writer: chunk -> pieces (lines, or parts of at most 16 KiB) -> records -> file
//! Reader: files oldest first -> lines -> records -> tail / since / until -> Assembler -> caller
//! ```
//!
//! `format` draws a record. No lock: a record is one line, a file only grows, and rotation is a rename, which a
//! reader sees by the inode. A record that a crash cut off has no newline: readers leave it out, and the next
//! writer ends the line before its own first record.

mod assembler;
mod base64;
mod files;
mod format;
mod lines;
mod moment;
mod reader;
mod settings;
mod tail;
mod writer;

pub use format::Stream;
pub use moment::parse_time;
pub use reader::{Query, Reader, Record};
pub use settings::{Driver, Settings};
pub use writer::Writer;
