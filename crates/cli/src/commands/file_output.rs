//! `-o FILE`: an archive to a file that is there only when it is whole, or to stdout unless that is a terminal.

use crate::exit::{Outcome, Stop};
use crate::output::{Output, to_terminal};
use failure::{Context as _, Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Writes an archive where `-o` says.
pub(super) fn write(path: Option<PathBuf>, produce: impl FnOnce(&mut dyn Write) -> Result<()>) -> Outcome {
    let Some(path) = path else {
        if to_terminal() {
            let line = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
            return Err(Stop::Arguments(line.into()));
        }
        let mut out = Quiet { out: Output::new(), closed: false };
        let produced = produce(&mut out);
        if out.closed {
            return Ok(0);
        }
        produced?;
        return out.out.done();
    };
    let failed = || format!("write `{}`", path.display());
    let whole = |file: &File| file.metadata().map(|metadata| metadata.is_file());
    if path.is_dir() {
        return Err(Error::invalid(format!("`{}` is a directory", path.display())).into());
    }
    // A device or pipe is written as it is; a file comes to be under another name.
    if path.exists() && !whole(&File::open(&path).with_context(failed)?).with_context(failed)? {
        let mut file = BufWriter::new(File::options().write(true).open(&path).with_context(failed)?);
        produce(&mut file)?;
        file.flush().with_context(failed)?;
        return Ok(0);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = Temporary(path.with_file_name(name));
    let mut file = BufWriter::with_capacity(128 << 10, File::create(&temporary.0).with_context(failed)?);
    produce(&mut file)?;
    file.flush().with_context(failed)?;
    fs::rename(&temporary.0, &path).with_context(failed)?;
    Ok(0)
}

/// A file that goes if it was not renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Stdout that remembers that its reader went away.
struct Quiet {
    out: Output,
    closed: bool,
}

impl Write for Quiet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.closed |= written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.out)
    }
}
