//! Reading small files that others write: bounded, and an error names the file.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use failure::{Context as _, Error, Result};

/// The text of a file; none if there is no such file.
///
/// # Errors
/// It cannot be read, is not text, or is longer than `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open `{}`", path.display())),
    };
    if !file.metadata().with_context(|| format!("look at `{}`", path.display()))?.is_file() {
        return Err(Error::invalid(format!("`{}` is not a file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("read `{}`", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(format!("`{}` is longer than {limit} bytes", path.display())));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Error::invalid(format!("`{}` is not text (UTF-8)", path.display()))),
    }
}

/// The paths in a directory, sorted; none if it is not there.
///
/// # Errors
/// It cannot be read, or has more than `most` entries.
pub(crate) fn list(directory: &Path, most: usize) -> Result<Vec<std::path::PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("open `{}`", directory.display())),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| format!("read `{}`", directory.display()))?.path());
        if paths.len() > most {
            return Err(Error::invalid(format!("`{}` has more than {most} entries", directory.display())));
        }
    }
    paths.sort();
    Ok(paths)
}
