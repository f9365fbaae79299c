//! An entry's path as the unpacker walks it: relative, without `.` and empty parts, never upwards.

use failure::{Cause, Error};
use rustix::io::Errno;

use crate::archive::Entry;

/// How deep a layer's tree may be: each level is an open directory while the unpacker is below it.
const DEEPEST: usize = 512;
/// The longest name of a directory entry.
const LONGEST_NAME: usize = 255;

/// Parts joined by single slashes; empty for the root of the tree itself. A leading slash means that root, as for
/// every archiver; `..` is refused, because what it means depends on links that only the unpacked tree knows.
pub(crate) fn normalize(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut normalized = Vec::with_capacity(path.len());
    let mut depth = 0;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err("the path goes upwards (`..`)"),
            part if part.len() > LONGEST_NAME => return Err("a name in the path is longer than 255 bytes"),
            part if part.contains(&0) => return Err("the path has a zero byte"),
            _ => {}
        }
        depth += 1;
        if depth > DEEPEST {
            return Err("the path is more than 512 directories deep");
        }
        if !normalized.is_empty() {
            normalized.push(b'/');
        }
        normalized.extend_from_slice(part);
    }
    Ok(normalized)
}

/// The directory part and the name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// What an entry's name says about the layers below, in the form that archives use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Marker<'a> {
    /// An entry like any other.
    None,
    /// `.wh.NAME`: NAME is deleted.
    Whiteout(&'a [u8]),
    /// `.wh..wh..opq`: nothing below shows through this directory.
    Opaque,
    /// Other `.wh..wh.` names: bookkeeping of AUFS, not part of the tree.
    Bookkeeping,
}

impl<'a> Marker<'a> {
    pub(crate) fn of(name: &'a [u8]) -> Result<Self, &'static str> {
        match name.strip_prefix(b".wh.") {
            None => Ok(Self::None),
            Some(b".wh..opq") => Ok(Self::Opaque),
            Some(rest) if rest.starts_with(b".wh.") => Ok(Self::Bookkeeping),
            Some(b"" | b"." | b"..") => Err("the whiteout names nothing"),
            Some(rest) => Ok(Self::Whiteout(rest)),
        }
    }
}

/// A failure about one entry: its name in front.
pub(super) fn refuse(entry: &Entry, reason: &str) -> Error {
    Error::invalid(format!("entry `{}`: {reason}", shown(&entry.path)))
}

/// A failure of the system, with what was being done in front.
pub(super) fn failed(error: Errno, doing: String) -> Error {
    Error::new(error.cause_kind(), doing).with_source(error.into_source())
}

/// A path as a message shows it: one line, of bounded length.
pub(crate) fn shown(path: &[u8]) -> String {
    match path.len() {
        0..=200 => path.escape_ascii().to_string(),
        _ => format!("{}...", path[..200].escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(normalize(b"./a//b/./c/").unwrap(), b"a/b/c");
        assert_eq!(normalize(b"/etc/passwd").unwrap(), b"etc/passwd");
        assert_eq!(normalize(b"./").unwrap(), b"");
        for wrong in [&b".."[..], b"a/../b", b"a/..", b"/..", b"a\0b"] {
            assert!(normalize(wrong).is_err(), "{}", wrong.escape_ascii());
        }
        assert!(normalize(&[b'a'; 256]).is_err());
        assert!(normalize(&b"a/".repeat(513)).is_err());
    }

    #[test]
    fn whiteouts_are_told_by_their_names() {
        assert_eq!(Marker::of(b"a"), Ok(Marker::None));
        assert_eq!(Marker::of(b".wh.a"), Ok(Marker::Whiteout(b"a")));
        assert_eq!(Marker::of(b".wh..wh..opq"), Ok(Marker::Opaque));
        assert_eq!(Marker::of(b".wh..wh.plnk"), Ok(Marker::Bookkeeping));
        for wrong in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(Marker::of(wrong).is_err());
        }
    }
}
