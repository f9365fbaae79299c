//! Where saved images go: members of a tar, or files of a directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use failure::{Context, Error, Result};

use crate::tarball::{Kind, Member, Writer};

/// A tree being written, one file after the other.
pub(super) trait Target {
    /// Makes a directory.
    fn directory(&mut self, path: &str) -> Result<()>;
    /// Begins a file of this many bytes, which follow.
    fn begin(&mut self, path: &str, size: u64) -> Result<()>;
    /// Bytes of the file that was begun last.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;
}

/// A tar.
pub(super) struct ArchiveTarget<'a> {
    writer: Writer<'a>,
}

impl<'a> ArchiveTarget<'a> {
    pub(super) fn new(output: &'a mut dyn Write) -> Self {
        Self { writer: Writer::new(output) }
    }

    pub(super) fn finish(self) -> Result<()> {
        self.writer.finish().context(CANNOT_WRITE)
    }
}

const CANNOT_WRITE: &str = "write the archive";

impl Target for ArchiveTarget<'_> {
    fn directory(&mut self, path: &str) -> Result<()> {
        let member = Member { kind: Kind::Directory, mode: 0o755, ..Member::plain(path, 0, 0) };
        self.writer.member(&member).context(CANNOT_WRITE)
    }

    fn begin(&mut self, path: &str, size: u64) -> Result<()> {
        self.writer.member(&Member::plain(path, size, 0)).context(CANNOT_WRITE)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.data(bytes).context(CANNOT_WRITE)
    }
}

/// A directory, made under another name beside its own.
pub(super) struct DirectoryTarget {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
}

impl DirectoryTarget {
    pub(super) fn new(path: &Path) -> Result<Self> {
        match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => {
                let reason = "is not empty; give another one, or remove what is in it";
                return Err(Error::conflict(format!("directory `{}` {reason}", path.display())));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(|| cannot_make(path)),
            _ => {}
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        DirBuilder::new().mode(0o755).create(&temporary).with_context(|| cannot_make(path))?;
        Ok(Self { path: path.to_owned(), temporary, file: None })
    }

    /// Gives the directory its name. An empty one makes room for it.
    pub(super) fn finish(mut self) -> Result<()> {
        self.file = None;
        fs::rename(&self.temporary, &self.path).with_context(|| cannot_make(&self.path))
    }

    fn failed(&self) -> String {
        cannot_make(&self.path)
    }
}

impl Drop for DirectoryTarget {
    fn drop(&mut self) {
        // Renamed, if all went well.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

impl Target for DirectoryTarget {
    fn directory(&mut self, path: &str) -> Result<()> {
        let made = DirBuilder::new().mode(0o755).create(self.temporary.join(path));
        made.with_context(|| self.failed())
    }

    fn begin(&mut self, path: &str, _: u64) -> Result<()> {
        let path = self.temporary.join(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
        self.file = Some(file.with_context(|| self.failed())?);
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(ErrorKind::InvalidInput.into()),
        };
        written.with_context(|| self.failed())
    }
}

fn cannot_make(path: &Path) -> String {
    format!("make the directory `{}`", path.display())
}
