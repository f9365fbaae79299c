//! A container's log: JSON lines, written by its monitor, read by anyone.

mod moment;
mod reader;
mod settings;
mod writer;

pub use moment::parse_time;
pub use reader::{Query, Reader, Record, Stream};
pub use settings::{Driver, Settings};
pub use writer::Writer;
