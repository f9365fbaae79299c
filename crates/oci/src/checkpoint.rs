//! The seam for `checkpoint` and `restore`: to freeze a container into files, and to make it again from them.
//!
//! Both are CRIU's work (`--criu`), in the words of runc's flags. Until that is written they say so, before anything is done.

use failure::{Error, Result};

use crate::command::Command;
use crate::flags::{Order, Words};
use crate::global::Global;

pub(crate) static CHECKPOINT: Command = Command {
    name: "checkpoint",
    about: "checkpoint a running container",
    usage: "<container-id>",
    description: "Not part of this version.",
    flags: &[],
    order: Order::Mixed,
    words: (0, usize::MAX),
    run: refuse,
};

pub(crate) static RESTORE: Command = Command {
    name: "restore",
    about: "restore a container from a previous checkpoint",
    usage: "<container-id>",
    description: "Not part of this version.",
    flags: &[],
    order: Order::Mixed,
    words: (0, usize::MAX),
    run: refuse,
};

fn refuse(global: &Global, _: &Words) -> Result<u8> {
    let program = &global.criu;
    Err(Error::unsupported(format!("checkpoint and restore by `{program}` are not part of this version")))
}
