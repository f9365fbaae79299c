//! Writing tar archives.
//!
//! ```text
//! member := [extended header "x"] header data padding      archive := member* 1024 zero bytes
//! ```
//!
//! POSIX (pax) archives that Go, GNU tar, libarchive and Docker read alike. The extended header appears only where the
//! plain one cannot say it: names over 100 bytes, numbers beyond octal, fractions of seconds, attributes, holes. What
//! is written depends on the members alone, never on the clock or the machine, so equal trees give equal archives.
//!
//! The `tar` crate's builder is not used: it writes GNU long names, no fractions and no attributes, and opens files by
//! path.

mod attributes;
mod holes;
mod tree;

use std::io::{self, Write};

pub(crate) use attributes::{attributes_of, is_opaque};
pub use tree::{Marks, Source, Tree};

const BLOCK: usize = 512;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A file of this many bytes, which follow.
    File(u64),
    /// A file with holes: the length it unpacks to, and the (offset, length) of what follows.
    Sparse(u64, &'a [(u64, u64)]),
    /// Another name of an earlier member.
    HardLink(&'a [u8]),
    /// A symbolic link with this text.
    Symlink(&'a [u8]),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    CharacterDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
}

/// All that a member's headers say.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Relative, without `.` and `..`.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind<'a>,
    /// Permission bits, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change: seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Extended attributes.
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Member<'a> {
    /// A file as archives of images have them: owned by root, readable by all.
    pub fn plain(path: &'a str, size: u64, modified: i64) -> Self {
        let kind = Kind::File(size);
        Self { path: path.as_bytes(), kind, mode: 0o644, uid: 0, gid: 0, modified: (modified, 0), attributes: &[] }
    }
}

/// An archive being written.
pub struct Writer<'a> {
    output: &'a mut dyn Write,
    /// Bytes of the current member that are still to come.
    missing: u64,
    padding: usize,
}

impl<'a> Writer<'a> {
    /// Begins an archive.
    pub fn new(output: &'a mut dyn Write) -> Self {
        Self { output, missing: 0, padding: 0 }
    }

    /// Writes a member's headers. Its bytes, if any, follow by [`Writer::data`].
    ///
    /// # Errors
    /// The output fails.
    pub fn member(&mut self, member: &Member<'_>) -> io::Result<()> {
        self.end_member()?;
        let (length, map) = match member.kind {
            Kind::File(size) => (size, Vec::new()),
            Kind::Sparse(_, segments) => {
                let map = sparse_map(segments);
                (segments.iter().map(|(_, length)| length).sum::<u64>() + map.len() as u64, map)
            }
            _ => (0, Vec::new()),
        };
        let records = records(member, length);
        if !records.is_empty() {
            let mut header = Header::new(b"PaxHeaders/x", b'x');
            header.number(124, 12, records.len() as u64);
            header.number(100, 8, 0o644);
            self.output.write_all(&header.finish())?;
            self.output.write_all(&records)?;
            self.output.write_all(&ZEROS[..padding(records.len() as u64)])?;
        }
        self.output.write_all(&plain_header(member, length).finish())?;
        self.missing = length;
        self.padding = padding(length);
        self.data(&map)
    }

    /// Writes bytes of the member begun last; more than it has are dropped.
    ///
    /// # Errors
    /// The output fails.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = self.missing.min(bytes.len() as u64);
        self.missing -= length;
        self.output.write_all(&bytes[..usize::try_from(length).unwrap_or(bytes.len())])
    }

    /// How many bytes of the member begun last are still to come.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Writes a whole small file.
    ///
    /// # Errors
    /// The output fails.
    pub fn file(&mut self, path: &str, contents: &[u8], modified: i64) -> io::Result<()> {
        self.member(&Member::plain(path, contents.len() as u64, modified))?;
        self.data(contents)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// The output fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.end_member()?;
        self.output.write_all(&ZEROS)?;
        self.output.write_all(&ZEROS)?;
        self.output.flush()
    }

    /// A file may have become shorter since its header was written: the rest is zeros.
    fn end_member(&mut self) -> io::Result<()> {
        while self.missing > 0 {
            self.data(&ZEROS)?;
        }
        let padding = std::mem::take(&mut self.padding);
        self.output.write_all(&ZEROS[..padding])
    }
}

fn padding(length: u64) -> usize {
    (length.next_multiple_of(BLOCK as u64) - length) as usize
}

/// The map of a sparse member, as pax 1.0 has it: decimal lines before the data, padded to a block.
fn sparse_map(segments: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for (offset, length) in segments {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The name that the plain header of a sparse member has, for readers that do not know holes.
fn sparse_name(path: &[u8]) -> Vec<u8> {
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    [b"GNUSparseFile.0/", base].concat()
}

fn plain_header(member: &Member<'_>, length: u64) -> Header {
    let (kind, link, device) = match member.kind {
        Kind::File(_) | Kind::Sparse(..) => (b'0', &b""[..], None),
        Kind::HardLink(target) => (b'1', target, None),
        Kind::Symlink(text) => (b'2', text, None),
        Kind::CharacterDevice(major, minor) => (b'3', &b""[..], Some((major, minor))),
        Kind::BlockDevice(major, minor) => (b'4', &b""[..], Some((major, minor))),
        Kind::Directory => (b'5', &b""[..], None),
        Kind::Fifo => (b'6', &b""[..], None),
    };
    let mut header = match member.kind {
        Kind::Sparse(..) => Header::new(&sparse_name(member.path), kind),
        Kind::Directory => Header::new(&directory_name(member.path), kind),
        _ => Header::new(member.path, kind),
    };
    header.number(100, 8, u64::from(member.mode & 0o7777));
    header.number(108, 8, u64::from(member.uid));
    header.number(116, 8, u64::from(member.gid));
    header.number(124, 12, length);
    header.number(136, 12, u64::try_from(member.modified.0).unwrap_or(0));
    header.text(157, 100, link);
    if let Some((major, minor)) = device {
        header.number(329, 8, u64::from(major));
        header.number(337, 8, u64::from(minor));
    }
    header
}

fn directory_name(path: &[u8]) -> Vec<u8> {
    if path.ends_with(b"/") { path.to_vec() } else { [path, b"/"].concat() }
}

/// The extended header's records: what the plain header cannot hold.
fn records(member: &Member<'_>, length: u64) -> Vec<u8> {
    let mut records = Vec::new();
    match member.kind {
        Kind::Sparse(real, _) => {
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", member.path);
            record(&mut records, b"GNU.sparse.realsize", real.to_string().as_bytes());
        }
        Kind::Directory if directory_name(member.path).len() > 100 => {
            record(&mut records, b"path", &directory_name(member.path));
        }
        _ if member.path.len() > 100 => record(&mut records, b"path", member.path),
        _ => {}
    }
    if let Kind::HardLink(target) | Kind::Symlink(target) = member.kind
        && target.len() > 100
    {
        record(&mut records, b"linkpath", target);
    }
    if length > octal_limit(12) {
        record(&mut records, b"size", length.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], member.uid), (&b"gid"[..], member.gid)] {
        if u64::from(id) > octal_limit(8) {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    if let Some(time) = extended_time(member.modified) {
        record(&mut records, b"mtime", time.as_bytes());
    }
    for (name, value) in member.attributes {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

/// A time with a fraction, or before 1970, in decimal. Seconds count down below zero, nanoseconds always up.
fn extended_time((seconds, nanoseconds): (i64, u32)) -> Option<String> {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    if total >= 0 && nanoseconds == 0 {
        return None;
    }
    let sign = if total < 0 { "-" } else { "" };
    let (whole, fraction) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    let text = format!("{sign}{whole}.{fraction:09}");
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The largest number that a field holds in octal with a zero behind it.
fn octal_limit(width: u32) -> u64 {
    (1 << (3 * (width - 1))) - 1
}

/// One header block being filled.
struct Header([u8; BLOCK]);

impl Header {
    fn new(path: &[u8], kind: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header.text(0, 100, path);
        header.0[156] = kind;
        header.text(257, 8, b"ustar\x0000");
        header
    }

    /// Writes what fits; the rest is in the extended header.
    fn text(&mut self, start: usize, width: usize, text: &[u8]) {
        let length = text.len().min(width);
        self.0[start..start + length].copy_from_slice(&text[..length]);
    }

    /// Writes a number, or zero where it is in the extended header.
    fn number(&mut self, start: usize, width: usize, number: u64) {
        let number = if number > octal_limit(width as u32) { 0 } else { number };
        let digits = width - 1;
        self.text(start, width, format!("{number:0digits$o}").as_bytes());
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.text(148, 8, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(extended_time((5, 0)), None);
        assert_eq!(extended_time((5, 500_000_000)).as_deref(), Some("5.5"));
        assert_eq!(extended_time((-1, 750_000_000)).as_deref(), Some("-0.25"));
        assert_eq!(extended_time((-20, 0)).as_deref(), Some("-20"));
    }

    #[test]
    fn records_count_their_own_length() {
        for size in [1, 80, 90, 91, 92, 93, 94, 95, 980, 988, 989, 990, 991, 992] {
            let mut records = Vec::new();
            record(&mut records, b"path", &vec![b'x'; size]);
            let text = String::from_utf8(records).unwrap();
            assert_eq!(text.split(' ').next().unwrap(), text.len().to_string(), "{size}");
        }
    }

    #[test]
    fn another_reader_agrees() {
        let long = "d/".repeat(80) + "file";
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.file("short", b"hello", 7).unwrap();
        let attributes = [(b"user.x".to_vec(), b"a=b\n".to_vec())];
        let member = Member {
            path: long.as_bytes(),
            kind: Kind::File(3),
            mode: 0o4755,
            uid: 5_000_000,
            gid: 7,
            modified: (9, 5),
            attributes: &attributes,
        };
        writer.member(&member).unwrap();
        writer.data(b"ab").unwrap();
        writer.member(&Member { kind: Kind::HardLink(b"short"), path: b"hard", attributes: &[], ..member }).unwrap();
        writer.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut contents = String::new();
            io::Read::read_to_string(&mut entry, &mut contents).unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            seen.push((path, contents, header.mode().unwrap(), header.entry_type()));
        }
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0], ("short".into(), "hello".into(), 0o644, tar::EntryType::Regular));
        assert_eq!(seen[1], (long, "ab\0".into(), 0o4755, tar::EntryType::Regular));
        assert_eq!(seen[2].3, tar::EntryType::Link);
    }
}
