//! The flags that both commands share, and what CRIU is told of them.
//!
//! Every flag is runc's, with its meaning. The numbers are those of the fields of `criu_opts` in CRIU's `rpc.proto`.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use failure::{Error, Result};

use super::message::Message;
use crate::flags::{Flag, Words};
use crate::make::absolute;

pub(super) const IMAGE_PATH: Flag = Flag::value(&["image-path"], "path to the directory of the checkpoint's files");
pub(super) const WORK_PATH: Flag = Flag::value(&["work-path"], "path for CRIU's log and other working files");
pub(super) const TCP_ESTABLISHED: Flag = Flag::plain(&["tcp-established"], "allow open TCP connections");
pub(super) const EXT_UNIX_SK: Flag = Flag::plain(&["ext-unix-sk"], "allow external unix sockets");
pub(super) const SHELL_JOB: Flag = Flag::plain(&["shell-job"], "allow shell jobs");
pub(super) const FILE_LOCKS: Flag = Flag::plain(&["file-locks"], "handle file locks, for safety");
pub(super) const LAZY_PAGES: Flag = Flag::plain(&["lazy-pages"], "use userfaultfd to restore memory pages lazily");
pub(super) const MANAGE_CGROUPS: Flag =
    Flag::value(&["manage-cgroups-mode"], "cgroups mode: soft, full, strict or ignore (default: \"soft\")");
pub(super) const EMPTY_NS: Flag =
    Flag::value(&["empty-ns"], "create a namespace, but don't restore its properties (network)");
pub(super) const AUTO_DEDUP: Flag = Flag::plain(&["auto-dedup"], "enable auto deduplication of memory images");

/// What a log is called, in the working directory.
pub(super) const DUMP_LOG: &str = "dump.log";
pub(super) const RESTORE_LOG: &str = "restore.log";

/// What both commands are told, before anything is opened.
#[derive(Debug)]
pub(super) struct Options {
    /// The directory of images, absolute.
    pub(super) images: PathBuf,
    /// The directory for the log, if another.
    pub(super) work: Option<PathBuf>,
    cgroups: u64,
    empty_network: bool,
    flags: Vec<u32>,
}

impl Options {
    /// Reads them.
    pub(super) fn read(words: &Words) -> Result<Self> {
        let path =
            |name, default: &str| words.value(name).filter(|path| !path.is_empty()).unwrap_or(default).to_owned();
        let work =
            Some(path("work-path", "")).filter(|path| !path.is_empty()).map(|path| absolute(&path)).transpose()?;
        let flag = |(name, field): &(&str, u32)| words.has(name).then_some(*field);
        let empty = words.values("empty-ns").map(network).collect::<Result<Vec<()>>>()?;
        Ok(Self {
            images: absolute(&path("image-path", "checkpoint"))?,
            work,
            cgroups: cgroups(words.value("manage-cgroups-mode").unwrap_or_default())?,
            empty_network: !empty.is_empty(),
            flags: FLAGS.iter().filter_map(flag).collect(),
        })
    }

    /// The message to CRIU, for the rest to be added.
    pub(super) fn message(&self, images: &OwnedFd, work: &OwnedFd, log: &str) -> Result<Message> {
        let mut message = Message::default();
        message.number(1, descriptor(images)?).number(17, descriptor(work)?);
        message.number(9, LOG_LEVEL).bytes(10, log.as_bytes()).number(34, self.cgroups);
        for field in &self.flags {
            message.number(*field, 1);
        }
        if self.empty_network {
            message.number(38, CLONE_NEWNET);
        }
        Ok(message)
    }

    /// Whether the network namespace is left empty.
    pub(super) fn empty_network(&self) -> bool {
        self.empty_network
    }
}

/// Flags that are fields, with those of the fields that need no more.
const FLAGS: [(&str, u32); 6] = [
    ("ext-unix-sk", 4),
    ("tcp-established", 5),
    ("shell-job", 7),
    ("file-locks", 8),
    ("auto-dedup", 16),
    ("lazy-pages", 48),
];

/// Everything but single bytes: what went wrong is found in the log only.
const LOG_LEVEL: u64 = 4;
const CLONE_NEWNET: u64 = 0x4000_0000;

fn cgroups(mode: &str) -> Result<u64> {
    match mode {
        "ignore" => Ok(0),
        "" | "soft" => Ok(3),
        "full" => Ok(4),
        "strict" => Ok(5),
        other => Err(Error::invalid(format!(
            "invalid value `{other}` for --manage-cgroups-mode; give soft, full, strict or ignore"
        ))),
    }
}

fn network(name: &str) -> Result<()> {
    match name {
        "network" => Ok(()),
        other => Err(Error::invalid(format!("namespace `{other}` is not supported by --empty-ns; give network"))),
    }
}

/// A descriptor as a number that the service knows: it inherits it.
pub(super) fn descriptor(file: &OwnedFd) -> Result<u64> {
    u64::try_from(file.as_raw_fd()).map_err(|_| Error::internal("a descriptor is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_criu() {
        assert_eq!(["", "soft", "full", "strict", "ignore"].map(|mode| cgroups(mode).unwrap()), [3, 3, 4, 5, 0]);
        assert!(cgroups("hard").unwrap_err().to_string().contains("--manage-cgroups-mode"));
        assert!(network("pid").is_err());
    }
}
