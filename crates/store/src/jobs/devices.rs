//! Device nodes of layers: an unpacker, in a user namespace of its own, cannot make them, and asks.
//!
//! ```text
//!   unpacker                                            parent
//!   ask: kind:u8 major:u32 minor:u32 path ---report---> makes it below the layer's tree: root's, no rights for anyone
//!                                         <--socket---- errno:u32, 0 for none
//!   owner, rights, time
//! ```
//! What a broken unpacker gets by asking is what an archive gets by saying so: a node in a store where none can be opened.

use std::cell::Cell;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, makedev, mknodat, openat2};
use rustix::io::{Errno, Result, read, retry_on_intr};
use rustix::net::{SendFlags, send};

use super::report;

/// The side of the process that unpacks.
pub(super) struct Asking<'a> {
    pub(super) report: BorrowedFd<'a>,
    pub(super) answers: OwnedFd,
}

/// The side of its parent.
pub(super) struct Making {
    tree: OwnedFd,
    answers: OwnedFd,
    /// How many were made: a limit, as on all entries.
    made: Cell<u32>,
}

/// More device nodes than any image has.
const MOST: u32 = 10_000;

impl crate::unpack::Devices for Asking<'_> {
    fn make(&self, path: &[u8], kind: FileType, (major, minor): (u32, u32)) -> Result<()> {
        let mut question = vec![u8::from(kind == FileType::BlockDevice)];
        question.extend(major.to_le_bytes());
        question.extend(minor.to_le_bytes());
        question.extend(path);
        report::send(self.report, report::DEVICE, &question)?;
        let mut answer = [0; 4];
        let mut filled = 0;
        while filled < answer.len() {
            match retry_on_intr(|| read(&self.answers, &mut answer[filled..]))? {
                0 => return Err(Errno::PIPE),
                count => filled += count,
            }
        }
        match i32::from_le_bytes(answer) {
            0 => Ok(()),
            number => Err(Errno::from_raw_os_error(number)),
        }
    }
}

impl Making {
    /// Makes nodes below `tree`, and answers by `answers`.
    pub(super) fn new(tree: OwnedFd, answers: OwnedFd) -> Self {
        Self { tree, answers, made: Cell::new(0) }
    }

    /// Does what is asked for, as far as it may be.
    pub(super) fn answer(&self, question: &[u8]) {
        let number = self.make(question).err().map_or(0, Errno::raw_os_error);
        // An asker that is gone needs no answer.
        let _ = send(&self.answers, &number.to_le_bytes(), SendFlags::NOSIGNAL);
    }

    fn make(&self, question: &[u8]) -> Result<()> {
        let (kind, [major, minor], path) = parse(question).ok_or(Errno::INVAL)?;
        self.made.set(self.made.get() + 1);
        if self.made.get() > MOST {
            return Err(Errno::NOSPC);
        }
        let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b"."[..], path),
        };
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = loop {
            match openat2(&self.tree, directory, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => break other?,
            }
        };
        mknodat(directory, name, kind, Mode::empty(), makedev(major, minor))
    }
}

fn parse(question: &[u8]) -> Option<(FileType, [u32; 2], &[u8])> {
    let (kind, rest) = question.split_first()?;
    let (major, rest) = rest.split_first_chunk()?;
    let (minor, path) = rest.split_first_chunk()?;
    let kind = if *kind == 1 { FileType::BlockDevice } else { FileType::CharacterDevice };
    Some((kind, [u32::from_le_bytes(*major), u32::from_le_bytes(*minor)], path))
}
