//! Reading tar: a stream of bytes becomes a stream of checked [`Entry`]s. No file is touched here.
//!
//! POSIX (ustar, pax) and GNU archives, with long names, sparse files in all four forms, attributes and numbers
//! beyond octal. Our own and not the tar crate's, because two readers of one archive must never disagree on where
//! an entry begins: what is ambiguous (sizes on entries that have no data, a map that does not add up, a lone
//! block of zeros) is refused, where libraries guess. Everything is bounded: see the constants.
//!
//! ```text
//! archive := (extension* header data padding)* zeros      extension := long name | long link | pax | pax global
//! ```

mod header;
mod pax;

use std::fmt;
use std::io::{self, BufRead};

use self::header::{BLOCK, Header, Type};
use self::pax::{Extension, MOST_SEGMENTS};

/// The longest extended header or long name, as Go's reader has it.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// How many of them may stand in a row.
const MOST_EXTENSIONS: usize = 16;
/// The longest path: the kernel's.
const LONGEST_PATH: usize = 4096;

/// What is wrong with an archive; becomes a line with the archive's and the entry's name further up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault(String);

impl Fault {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// A moment, in seconds since 1970 and nanoseconds after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999, added to the seconds.
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A file, `Entry::size` long.
    File,
    /// Another name of the entry with this path.
    HardLink(Vec<u8>),
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    CharacterDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
}

/// A range of a file: offset and length.
pub(crate) type Segment = (u64, u64);

/// Where an entry's bytes are in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// All of them follow each other.
    Whole,
    /// Only these ranges (offset, length) have data, in this order; between them are holes.
    Sparse(Vec<Segment>),
}

/// An entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The path as the archive has it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was changed.
    pub modified: Time,
    /// A file's length, holes included.
    pub size: u64,
    /// The bytes that the archive holds for it.
    pub stored: u64,
    /// How they are spread.
    pub content: Content,
    /// Extended attributes.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A source of bytes that can pass over some of them.
pub(crate) trait Tape: BufRead {
    /// Passes over `bytes`; the default reads them. To pass beyond the end is an error, here or at the next read.
    ///
    /// # Errors
    /// The source fails or ends.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let mut rest = bytes;
        while rest > 0 {
            let length = self.fill_buf()?.len() as u64;
            if length == 0 {
                return Err(truncated());
            }
            let step = length.min(rest);
            self.consume(usize::try_from(step).unwrap_or(usize::MAX));
            rest -= step;
        }
        Ok(())
    }
}

impl Tape for &[u8] {}

impl<R: io::Read> Tape for io::BufReader<R> {}

/// Reads an archive entry by entry.
pub(crate) struct Archive<T> {
    tape: T,
    /// Bytes read or passed over so far.
    position: u64,
    /// Data of the current entry that was not read yet, and the padding after it.
    data_left: u64,
    padding: u64,
    global: Extension,
    ended: bool,
}

impl<T: Tape> Archive<T> {
    /// An archive that begins where the tape stands.
    pub(crate) fn new(tape: T) -> Self {
        Self { tape, position: 0, data_left: 0, padding: 0, global: Extension::default(), ended: false }
    }

    /// Where the tape stands, from the archive's beginning.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; what was not read of the last one's data is passed over. None at the end.
    ///
    /// # Errors
    /// The source fails, or the archive is damaged.
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        self.skip(self.data_left + self.padding)?;
        (self.data_left, self.padding) = (0, 0);
        let mut extension = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        for count in 0..=MOST_EXTENSIONS {
            let mut block = [0; BLOCK];
            let extended = count > 0;
            let first = self.position == 0;
            let no_archive = |error: io::Error| match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData if first => {
                    Fault::new("it is not a tar archive").into()
                }
                _ => error,
            };
            if self.ended || !self.read_block(&mut block, !extended).map_err(no_archive)? {
                return Ok(None);
            }
            let Some(header) = Header::parse(&block).map_err(|fault| no_archive(fault.into()))? else {
                if extended {
                    return Err(Fault::new("the archive ends after an extended header").into());
                }
                return self.end().map(|()| None);
            };
            match header.kind()? {
                Type::GnuLongName => long_name = Some(self.long_text(&header)?),
                Type::GnuLongLink => long_link = Some(self.long_text(&header)?),
                Type::PaxNext => extension.read(&self.extension(&header)?)?,
                Type::PaxGlobal => {
                    let records = self.extension(&header)?;
                    self.global.read_global(&records)?;
                    extension.read_global(&records)?;
                }
                Type::VolumeLabel => self.skip(padded(header.size()?)?)?,
                kind => {
                    extension.path = extension.path.or(long_name);
                    extension.link = extension.link.or(long_link);
                    return self.entry(kind, &header, extension).map(Some);
                }
            }
        }
        Err(Fault::new("too many extended headers stand in a row").into())
    }

    /// The next bytes of the current entry's data, as many as are at hand; empty at its end. Say how many were used
    /// with [`Archive::consume`].
    ///
    /// # Errors
    /// The source fails, or ends within the data.
    pub(crate) fn data(&mut self) -> io::Result<&[u8]> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        let bytes = self.tape.fill_buf()?;
        if bytes.is_empty() {
            return Err(truncated());
        }
        let length = usize::try_from(self.data_left).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[..length])
    }

    /// Passes over bytes that [`Archive::data`] showed.
    pub(crate) fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
        self.tape.consume(bytes);
        self.data_left -= bytes as u64;
        self.position += bytes as u64;
    }

    /// Reads what follows the end of the archive, so that a digest covers it.
    ///
    /// # Errors
    /// The source fails.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        loop {
            let length = self.tape.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.tape.consume(length);
            self.position += length as u64;
        }
    }

    fn entry(&mut self, kind: Type, header: &Header<'_>, extension: Extension) -> io::Result<Entry> {
        let path = extension.path.unwrap_or_else(|| header.path());
        // Before POSIX, a directory was a file whose name (the whole of it) ends with a slash.
        let kind = if kind == Type::File && path.ends_with(b"/") { Type::Directory } else { kind };
        let in_entry = |fault: Fault, path: &[u8]| Fault::new(format!("entry `{}`: {fault}", path.escape_ascii()));
        let stored = match extension.size {
            Some(size) => size,
            None => header.size().map_err(|fault| in_entry(fault, &path))?,
        };
        let mut entry = Entry {
            kind: EntryKind::File,
            mode: header.mode().map_err(|fault| in_entry(fault, &path))?,
            uid: owner(extension.uid.map_or_else(|| header.uid(), Ok)).map_err(|fault| in_entry(fault, &path))?,
            gid: owner(extension.gid.map_or_else(|| header.gid(), Ok)).map_err(|fault| in_entry(fault, &path))?,
            modified: extension
                .modified
                .map_or_else(|| header.modified(), Ok)
                .map_err(|fault| in_entry(fault, &path))?,
            size: stored,
            stored,
            content: Content::Whole,
            attributes: extension.attributes,
            path,
        };
        let link = extension.link.unwrap_or_else(|| header.link());
        match kind {
            Type::File | Type::GnuSparse => self.file(kind, header, extension.sparse, &mut entry)?,
            other => {
                entry.kind = special(other, link, header).map_err(|fault| in_entry(fault, &entry.path))?;
                // Readers disagree whether such data is there; a hard link's size is its target's.
                if entry.stored > 0 && other != Type::HardLink {
                    return Err(in_entry(Fault::new("only files have data"), &entry.path).into());
                }
                (entry.size, entry.stored) = (0, 0);
            }
        }
        if entry.path.len() > LONGEST_PATH {
            let front = entry.path[..64].escape_ascii();
            return Err(Fault::new(format!("entry `{front}...`: the path is longer than {LONGEST_PATH} bytes")).into());
        }
        Ok(entry)
    }

    /// Sets up the data of a file: where it ends, and how it is spread.
    fn file(&mut self, kind: Type, header: &Header<'_>, sparse: pax::Sparse, entry: &mut Entry) -> io::Result<()> {
        let end = self.position.checked_add(padded(entry.stored)?).ok_or_else(too_large)?;
        self.data_left = entry.stored;
        self.padding = end - self.position - entry.stored;
        let (segments, real_size) = if kind == Type::GnuSparse {
            self.gnu_map(header)?
        } else if sparse.is_present() {
            let real_size = sparse.real_size;
            if let Some(name) = &sparse.name {
                entry.path.clone_from(name);
            }
            (self.pax_map(sparse)?, real_size.ok_or_else(damaged_map)?)
        } else {
            return Ok(());
        };
        entry.stored = self.data_left;
        entry.size = real_size;
        check_map(&segments, entry.stored, real_size)?;
        entry.content = Content::Sparse(segments);
        Ok(())
    }

    /// The map of a file of type `S`: in the header, and in blocks between it and the data.
    fn gnu_map(&mut self, header: &Header<'_>) -> io::Result<(Vec<Segment>, u64)> {
        let (mut segments, mut more, real_size) = header.gnu_sparse()?;
        while more {
            let mut block = [0; BLOCK];
            self.read_block(&mut block, false)?;
            let (next, again) = header::sparse_continuation(&block)?;
            segments.extend(next);
            more = again;
            if segments.len() > MOST_SEGMENTS {
                return Err(damaged_map().into());
            }
        }
        Ok((segments, real_size))
    }

    /// The map of a POSIX archive: from the extended header, or (version 1.0) in front of the data.
    fn pax_map(&mut self, sparse: pax::Sparse) -> io::Result<Vec<Segment>> {
        let numbers = match (sparse.major.unwrap_or(0), sparse.minor.unwrap_or(0)) {
            (0, 0 | 1) => sparse.numbers,
            (1, 0) => self.leading_map()?,
            _ => return Err(Fault::new("a sparse file's map has an unknown version").into()),
        };
        if !numbers.len().is_multiple_of(2) || numbers.len() > 2 * MOST_SEGMENTS {
            return Err(damaged_map().into());
        }
        if sparse.count.is_some_and(|count| count != numbers.len() as u64 / 2) {
            return Err(damaged_map().into());
        }
        Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// Decimal numbers, a line each: how many segments, then their offsets and lengths; padded to whole blocks.
    fn leading_map(&mut self) -> io::Result<Vec<u64>> {
        let before = self.data_left;
        let count = self.decimal_line()?;
        if count > MOST_SEGMENTS as u64 {
            return Err(damaged_map().into());
        }
        let mut numbers = Vec::new();
        for _ in 0..2 * count {
            numbers.push(self.decimal_line()?);
        }
        let mut rest = padded(before - self.data_left)? - (before - self.data_left);
        while rest > 0 {
            let length = (self.data()?.len() as u64).min(rest);
            if length == 0 {
                return Err(damaged_map().into());
            }
            self.consume(usize::try_from(length).unwrap_or(usize::MAX));
            rest -= length;
        }
        Ok(numbers)
    }

    fn decimal_line(&mut self) -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            let byte = *self.data()?.first().ok_or_else(damaged_map)?;
            self.consume(1);
            if byte == b'\n' {
                return Ok(pax::decimal(&digits)?);
            }
            digits.push(byte);
            if digits.len() > 20 {
                return Err(damaged_map().into());
            }
        }
    }

    /// The text of a GNU long name: up to its zero.
    fn long_text(&mut self, header: &Header<'_>) -> io::Result<Vec<u8>> {
        let mut text = self.extension(header)?;
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Ok(text)
    }

    /// The data of a header that extends the next one.
    fn extension(&mut self, header: &Header<'_>) -> io::Result<Vec<u8>> {
        let size = header.size()?;
        if size > LONGEST_EXTENSION {
            return Err(Fault::new("an extended header is longer than 1 MB").into());
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read_exactly(&mut bytes)?;
        self.skip(padded(size)? - size)?;
        Ok(bytes)
    }

    /// The archive ends with two blocks of zeros. One followed by anything else is no end to some readers.
    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        let mut block = [0; BLOCK];
        if self.read_block(&mut block, true)? && block.iter().any(|byte| *byte != 0) {
            return Err(Fault::new("a block of zeros stands between two entries").into());
        }
        Ok(())
    }

    /// Reads a block; false at the end of the source, where that is allowed.
    fn read_block(&mut self, block: &mut [u8; BLOCK], may_end: bool) -> io::Result<bool> {
        if self.tape.fill_buf()?.is_empty() && may_end {
            return Ok(false);
        }
        self.read_exactly(block)?;
        Ok(true)
    }

    fn read_exactly(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.tape.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => truncated(),
            _ => error,
        })?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > 0 {
            self.tape.skip(bytes)?;
            self.position += bytes;
        }
        Ok(())
    }
}

/// Reads a whole archive and its data and throws it away; how many entries there were. What fuzzing starts from.
///
/// # Errors
/// The archive is damaged.
pub fn drain(bytes: &[u8]) -> io::Result<u64> {
    let mut archive = Archive::new(bytes);
    let mut entries = 0;
    while archive.next_entry()?.is_some() {
        entries += 1;
        loop {
            let length = archive.data()?.len();
            if length == 0 {
                break;
            }
            archive.consume(length);
        }
    }
    archive.drain()?;
    Ok(entries)
}

fn special(kind: Type, link: Vec<u8>, header: &Header<'_>) -> Result<EntryKind, Fault> {
    Ok(match kind {
        Type::HardLink => EntryKind::HardLink(link),
        Type::Symlink if link.is_empty() => return Err(Fault::new("the symbolic link has no target")),
        Type::Symlink if link.len() >= LONGEST_PATH => return Err(Fault::new("the symbolic link is too long")),
        Type::Symlink => EntryKind::Symlink(link),
        Type::Directory => EntryKind::Directory,
        Type::Fifo => EntryKind::Fifo,
        Type::CharacterDevice | Type::BlockDevice => {
            let (major, minor) = header.device()?;
            match kind {
                Type::CharacterDevice => EntryKind::CharacterDevice(major, minor),
                _ => EntryKind::BlockDevice(major, minor),
            }
        }
        _ => return Err(Fault::new("entry type is not supported")),
    })
}

/// Ids are 32 bits; the last one means "no change" to the kernel.
fn owner(id: Result<u64, Fault>) -> Result<u32, Fault> {
    match u32::try_from(id?) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Fault::new("the owner's id is out of range")),
    }
}

/// Segments in order, within the file, and together as long as what is stored.
fn check_map(segments: &[Segment], stored: u64, real_size: u64) -> Result<(), Fault> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (offset, length) in segments {
        if *offset < end {
            return Err(damaged_map());
        }
        end = offset.checked_add(*length).ok_or_else(damaged_map)?;
        sum += length;
    }
    if end > real_size || sum != stored || i64::try_from(real_size).is_err() {
        return Err(damaged_map());
    }
    Ok(())
}

fn padded(size: u64) -> Result<u64, Fault> {
    size.checked_next_multiple_of(BLOCK as u64).filter(|size| *size <= i64::MAX as u64).ok_or_else(too_large)
}

fn too_large() -> Fault {
    Fault::new("an entry's size is out of range")
}

fn damaged_map() -> Fault {
    Fault::new("a sparse file's map is damaged")
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, Fault::new("the archive is truncated"))
}

#[cfg(test)]
mod tests;
