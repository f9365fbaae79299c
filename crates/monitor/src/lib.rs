//! The process beside each container: it owns the container's stdio, writes its log and records its end.
//!
//! ```text
//!                     skep run / attach / start -a                    skep logs      skep ps
//!                            | client                                    | log::Reader  | state::observe
//!                            | protocol (unix stream socket)             |              |
//!  container  -- pipes/pty --+-- Monitor -- log::Writer --> container.log(.1 .2)    state.json + a held lock
//! ```
//!
//! One thread, one epoll loop, no runtime: a monitor at rest costs less than 300 kB. It knows nothing of images,
//! names or networks; the engine decides what starts and what happens after the end. The client half lives here
//! too, because both ends of a protocol are one idea: [`client`] pumps a terminal or pipes to a monitor, and
//! [`stdio`] does the same for `exec`, where no monitor is between.

pub mod client;
pub mod exit;
mod input;
pub mod keys;
pub mod log;
pub mod process;
pub mod protocol;
mod sink;
mod socket;
pub mod state;
pub mod stdio;
mod supervisor;

pub use exit::Exit;
pub use supervisor::{FirstClient, Monitor, Setup, Streams};
