//! The files of an image archive, whatever form it has: looked up by name, read when they are needed.
//!
//! - a plain archive that can be read at any place: only its headers are read, files are segments of it;
//! - a compressed archive or a pipe: its files are taken in while they stream by (see `stream`);
//! - a directory: files are opened by name, without following links.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use failure::{Cause, Context, Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use crate::archive::{Archive, Entry, EntryKind, Tape};
use crate::blobs::read_bounded;
use crate::input::Prefixed;
use crate::jobs::{Source, inflate};
use crate::stream::Arrivals;
use crate::{Compression, Digest, Platform, Progress, Staging};

/// The most files an image archive may have, and the memory their names may take.
const MOST_FILES: usize = 100_000;
const MOST_NAME_BYTES: usize = 16 << 20;
/// Links from one name to another are followed so often.
const MOST_LINKS: usize = 4;

/// A file of an image archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A part of the archive's own file.
    Segment { offset: u64, length: u64 },
    /// Staged already, with this digest.
    Staged { digest: Digest, length: u64 },
    /// It was there already, and passed over.
    Passed,
    /// Another name for this path.
    Link(Vec<u8>),
}

/// The files of an image archive.
pub(crate) enum Contents {
    /// An archive.
    Archive { name: String, file: Option<File>, items: BTreeMap<Vec<u8>, Item> },
    /// A directory.
    Directory { name: String, root: OwnedFd },
}

/// What a file of the archive is good for.
pub(crate) struct Located {
    /// Its bytes.
    pub(crate) source: Source,
    /// Its length.
    pub(crate) length: u64,
    /// Its digest, when it is staged.
    pub(crate) staged: Option<Digest>,
}

impl Contents {
    /// Reads an archive's list of files, and (when it cannot be read again) the files.
    pub(crate) fn of_archive(
        file: File,
        name: String,
        staging: &mut Staging<'_>,
        platform: Option<&Platform>,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let stat = fstat(&file).with_context(|| format!("look at {name}"))?;
        let in_archive = |error: io::Error| Error::new(error.cause_kind(), format!("read {name}: {error}"));
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let (compression, input) = match regular {
            true => {
                let mut first = [0; 6];
                let count = file.read_at(&mut first, 0).with_context(|| format!("read {name}"))?;
                (Compression::of_bytes(&first[..count]), None)
            }
            false => {
                let input = Prefixed::new(file.try_clone().with_context(|| format!("read {name}"))?)?;
                (input.compression(), Some(input))
            }
        };
        let compression = compression.with_context(|| format!("read {name}"))?;
        if regular && compression == Compression::None {
            let length = u64::try_from(stat.st_size).unwrap_or(0);
            let items = list(&mut Archive::new(FileTape::new(&file, length))).map_err(in_archive)?;
            return Ok(Self::Archive { name, file: Some(file), items });
        }
        let input = match input {
            Some(input) => input,
            None => Prefixed::new(file).with_context(|| format!("read {name}"))?,
        };
        let mut arrivals = Arrivals { name: &name, staging, platform, progress };
        let items = match compression {
            Compression::None => arrivals.take_in(BufReader::with_capacity(BUFFER, input))?,
            _ => {
                let inflating = inflate(input, compression, arrivals.staging.lease())?;
                let taken = arrivals.take_in(BufReader::with_capacity(BUFFER, &inflating.output));
                // Damaged compression ends the pipe early: its own words are better than "truncated".
                inflating.finish().with_context(|| format!("read {name}"))?;
                taken?
            }
        };
        Ok(Self::Archive { name, file: None, items })
    }

    /// A directory.
    pub(crate) fn of_directory(path: &Path) -> Result<Self> {
        let name = format!("`{}`", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).with_context(|| format!("open {name}"))?;
        Ok(Self::Directory { name, root })
    }

    /// What to call it in messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Archive { name, .. } | Self::Directory { name, .. } => name,
        }
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, path: &str) -> bool {
        match self {
            Self::Archive { items, .. } => items.contains_key(path.as_bytes()),
            Self::Directory { root, .. } => open_beneath(root, path).is_ok(),
        }
    }

    /// Reads a small file whole.
    pub(crate) fn document(&self, path: &str, staging: &Staging<'_>) -> Result<Vec<u8>> {
        let located = self.locate(path, staging)?;
        let reader: Box<dyn Read + '_> = match &located.source {
            Source::Segment { file, offset, length } => Box::new(FileTape::within(file, *offset, *length)),
            Source::Stream(file) => Box::new(file),
        };
        read_bounded(reader).with_context(|| format!("read `{}` of {}", path.escape_debug(), self.name()))
    }

    /// Whether a file is compressed, by its first bytes.
    pub(crate) fn is_compressed(&self, path: &str, staging: &Staging<'_>) -> Result<bool> {
        let Source::Segment { file, offset, length } = self.locate(path, staging)?.source else { return Ok(false) };
        let mut first = [0; 6];
        let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(first.len());
        let count = file.read_at(&mut first[..wanted], offset).with_context(|| format!("read {}", self.name()))?;
        Ok(Compression::of_bytes(&first[..count])? != Compression::None)
    }

    /// Finds a file and opens it.
    pub(crate) fn locate(&self, path: &str, staging: &Staging<'_>) -> Result<Located> {
        let missing = || Error::invalid(format!("{} is damaged: it has no `{}`", self.name(), path.escape_debug()));
        match self {
            Self::Directory { root, name } => {
                let file = open_beneath(root, path).map_err(|error| match error {
                    rustix::io::Errno::NOENT => missing(),
                    error => Error::new(error.cause_kind(), format!("open `{}` of {name}", path.escape_debug()))
                        .with_source(error.into_source()),
                })?;
                let stat = fstat(&file).with_context(|| format!("look at {name}"))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(Error::invalid(format!("`{}` of {name} is not a file", path.escape_debug())));
                }
                let length = u64::try_from(stat.st_size).unwrap_or(0);
                Ok(Located { source: Source::Segment { file, offset: 0, length }, length, staged: None })
            }
            Self::Archive { file, items, .. } => match follow(items, path.as_bytes()).ok_or_else(missing)? {
                Item::Staged { digest, length } => {
                    let source = Source::Segment { file: staging.open_blob(digest)?, offset: 0, length: *length };
                    Ok(Located { source, length: *length, staged: Some(*digest) })
                }
                Item::Segment { offset, length } => {
                    let file = file.as_ref().ok_or_else(missing)?.try_clone().context("copy a descriptor")?;
                    let source = Source::Segment { file, offset: *offset, length: *length };
                    Ok(Located { source, length: *length, staged: None })
                }
                Item::Passed | Item::Link(_) => Err(missing()),
            },
        }
    }
}

const BUFFER: usize = 256 << 10;

fn open_beneath(root: &OwnedFd, path: &str) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).map(File::from)
}

/// The file that a path means, links followed: they are names within the archive, and only that.
fn follow<'a>(items: &'a BTreeMap<Vec<u8>, Item>, path: &[u8]) -> Option<&'a Item> {
    let mut item = items.get(path)?;
    for _ in 0..MOST_LINKS {
        match item {
            Item::Link(target) => item = items.get(target)?,
            found => return Some(found),
        }
    }
    None
}

/// Lists an archive by its headers.
fn list(archive: &mut Archive<impl Tape>) -> io::Result<BTreeMap<Vec<u8>, Item>> {
    let mut items = Items::default();
    while let Some(entry) = archive.next_entry()? {
        let offset = archive.position();
        items.add(&entry, |_| io::Result::Ok(Item::Segment { offset, length: entry.size }))?;
    }
    Ok(items.items)
}

/// An archive's files, as far as they are known.
#[derive(Default)]
pub(crate) struct Items {
    pub(crate) items: BTreeMap<Vec<u8>, Item>,
    name_bytes: usize,
}

impl Items {
    /// Adds an entry. What a file is good for, `file` finds out.
    pub(crate) fn add<E: From<io::Error>>(
        &mut self,
        entry: &Entry,
        file: impl FnOnce(&[u8]) -> Result<Item, E>,
    ) -> Result<(), E> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let path = lexical(b"", &entry.path);
        let item = match &entry.kind {
            EntryKind::File if entry.content != crate::archive::Content::Whole => {
                return Err(invalid(format!("entry `{}` is sparse", entry.path.escape_ascii())).into());
            }
            EntryKind::File => file(&path)?,
            EntryKind::HardLink(target) => Item::Link(lexical(b"", target)),
            // Docker wrote links from one image's layer to another's: `../<id>/layer.tar`.
            EntryKind::Symlink(target) => {
                let directory = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
                Item::Link(lexical(directory, target))
            }
            _ => return Ok(()),
        };
        self.name_bytes += path.len();
        if self.items.len() >= MOST_FILES || self.name_bytes > MOST_NAME_BYTES {
            return Err(invalid(format!("it has more than {MOST_FILES} files, so it is no image archive")).into());
        }
        // Two readers may choose differently between two files of one name.
        let shown = path.escape_ascii().to_string();
        match self.items.insert(path, item) {
            None => Ok(()),
            Some(_) => Err(invalid(format!("`{shown}` is there twice")).into()),
        }
    }
}

/// A path relative to `directory` in its shortest form; `..` at the top stays there.
fn lexical(directory: &[u8], path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let absolute = path.starts_with(b"/");
    let start = if absolute { &b""[..] } else { directory };
    for part in start.split(|byte| *byte == b'/').chain(path.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// A part of a file as a tape: passing over bytes costs nothing.
struct FileTape<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl<'a> FileTape<'a> {
    fn new(file: &'a File, length: u64) -> Self {
        Self::within(file, 0, length)
    }

    fn within(file: &'a File, offset: u64, length: u64) -> Self {
        Self { file, offset, end: offset + length, buffer: Vec::new(), used: 0 }
    }
}

impl Read for FileTape<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for FileTape<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            let length = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX).min(4096);
            self.buffer.resize(length, 0);
            let count = self.file.read_at(&mut self.buffer, self.offset)?;
            self.buffer.truncate(count);
            self.offset += count as u64;
            self.used = 0;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used = (self.used + amount).min(self.buffer.len());
    }
}

impl Tape for FileTape<'_> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let buffered = (self.buffer.len() - self.used) as u64;
        if bytes <= buffered {
            self.consume(usize::try_from(bytes).unwrap_or(usize::MAX));
            return Ok(());
        }
        self.offset = self.offset.saturating_add(bytes - buffered);
        (self.buffer, self.used) = (Vec::new(), 0);
        match self.offset <= self.end {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated")),
        }
    }
}
