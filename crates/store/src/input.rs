//! Where an archive comes from, and how it is compressed.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

use failure::{Context, Error, Result};
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{FileType, fstat};

/// An archive to read.
#[derive(Debug)]
pub enum Input {
    /// A file by its path.
    Path(PathBuf),
    /// An open file or pipe and what to call it in messages: `Open(file, "standard input".into())`.
    Open(File, String),
}

impl Input {
    /// Opens it, and says what to call it.
    pub(crate) fn open(self) -> Result<(File, String)> {
        match self {
            Self::Open(file, name) => Ok((file, name)),
            Self::Path(path) => {
                let name = format!("`{}`", path.display());
                let file = File::open(&path).with_context(|| format!("open {name}"))?;
                let stat = fstat(&file).with_context(|| format!("look at {name}"))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    return Err(Error::invalid(format!("{name} is a directory; an OCI layout is named `oci:PATH`")));
                }
                Ok((file, name))
            }
        }
    }
}

/// How bytes are compressed, told by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    None = 0,
    /// gzip, with any number of members.
    Gzip = 1,
    /// zstd, with any number of frames.
    Zstd = 2,
}

impl Compression {
    /// Looks at the first bytes.
    pub(crate) fn of(reader: &mut impl BufRead) -> Result<Self> {
        let bytes = reader.fill_buf().context("read the archive")?;
        Self::of_bytes(bytes)
    }

    /// Looks at the first bytes (six are enough).
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self> {
        let unsupported = |name: &str, tool: &str| {
            Err(Error::unsupported(format!(
                "the archive is compressed with {name}; decompress it with `{tool} -d` first"
            )))
        };
        match bytes {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame: seekable zstd begins with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => unsupported("xz", "xz"),
            [b'B', b'Z', b'h', ..] => unsupported("bzip2", "bzip2"),
            _ => Ok(Self::None),
        }
    }
}

/// What comes out of a compressed stream.
pub(crate) fn decompress<'a>(reader: impl BufRead + 'a, compression: Compression) -> Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader).context("start zstd")?),
    })
}

/// A file whose first bytes were taken to look at: it gives them again.
pub(crate) struct Prefixed {
    prefix: Vec<u8>,
    given: usize,
    file: File,
}

impl Prefixed {
    /// Takes as many as six bytes.
    pub(crate) fn new(file: File) -> Result<Self> {
        let mut prefix = Vec::new();
        (&file).take(6).read_to_end(&mut prefix).context("read the archive")?;
        Ok(Self { prefix, given: 0, file })
    }

    /// How it is compressed.
    pub(crate) fn compression(&self) -> Result<Compression> {
        Compression::of_bytes(&self.prefix)
    }
}

impl AsRawFd for Prefixed {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Read for Prefixed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.prefix[self.given..];
        if rest.is_empty() {
            return self.file.read(buffer);
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}
