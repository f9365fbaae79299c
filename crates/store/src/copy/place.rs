//! Where a copy ends up and what it is called there: Docker's table.
//!
//! | destination | source is a file | source is a directory |
//! |---|---|---|
//! | a directory | in it, under the source's name | the same; with `SRC/.` its contents |
//! | a file | replaces it | refused |
//! | nothing there | is called so; refused with a trailing `/` | is called so, with its contents |
//! | its parent is not there | refused | refused |

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use failure::{Error, Result};
use rustix::fs::FileType;

/// A place to copy to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) path: PathBuf,
    /// What is there now.
    pub(super) kind: Option<Existing>,
}

/// What is at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Directory,
    File,
}

impl Destination {
    pub(super) fn existing(path: PathBuf, kind: FileType) -> Result<Self> {
        let kind = match kind {
            FileType::Directory => Existing::Directory,
            FileType::RegularFile => Existing::File,
            _ => {
                let message = format!("destination `{}` must be a directory or a regular file", path.display());
                return Err(Error::invalid(message));
            }
        };
        Ok(Self { path, kind: Some(kind) })
    }
}

/// The directory to unpack into, and what the copy is called in it (`.` for a directory's contents).
pub(super) fn place(
    source_is_directory: bool,
    source: &Path,
    destination: &Destination,
) -> Result<(PathBuf, OsString)> {
    let path = &destination.path;
    match (destination.kind, source_is_directory) {
        (Some(Existing::Directory), _) => Ok((path.clone(), last_name(source).to_owned())),
        (Some(Existing::File), true) => {
            let (source, path) = (source.display(), path.display());
            Err(Error::invalid(format!("cannot copy directory `{source}` over the file `{path}`")))
        }
        (None, false) if asserts_directory(path) => {
            Err(Error::not_found(format!("no such directory `{}`", path.display())))
        }
        _ => Ok((parent(path), last_name(path).to_owned())),
    }
}

/// Whether a path says that it means a directory.
pub(super) fn asserts_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.is_empty() || bytes.ends_with(b"/") || bytes == b"." || bytes.ends_with(b"/.")
}

/// What a copy of a path is called: its last component; `.` where it has none or asks for the contents.
pub(super) fn last_name(path: &Path) -> &OsStr {
    let bytes = path.as_os_str().as_bytes();
    if bytes == b"." || bytes.ends_with(b"/.") {
        return OsStr::new(".");
    }
    match path.components().next_back() {
        Some(Component::Normal(name)) => name,
        _ => OsStr::new("."),
    }
}

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_end_up_where_docker_puts_them() {
        use Existing::{Directory, File};
        let cases = [
            ("/etc/passwd", false, "/tmp", Some(Directory), Ok(("/tmp", "passwd"))),
            ("/etc/passwd", false, "/tmp/x", Some(File), Ok(("/tmp", "x"))),
            ("/etc/passwd", false, "/tmp/x", None, Ok(("/tmp", "x"))),
            ("/etc/passwd", false, "x", None, Ok((".", "x"))),
            ("/etc/passwd", false, "/tmp/x/", None, Err("no such directory `/tmp/x/`")),
            ("/etc", true, "/tmp", Some(Directory), Ok(("/tmp", "etc"))),
            ("/etc/", true, "/tmp", Some(Directory), Ok(("/tmp", "etc"))),
            ("/etc/.", true, "/tmp", Some(Directory), Ok(("/tmp", "."))),
            ("/", true, "/tmp", Some(Directory), Ok(("/tmp", "."))),
            ("/etc", true, "/tmp/x", Some(File), Err("cannot copy directory `/etc` over the file `/tmp/x`")),
            ("/etc/.", true, "/tmp/x", None, Ok(("/tmp", "x"))),
            ("/etc", true, "/tmp/x/", None, Ok(("/tmp", "x"))),
        ];
        for (source, directory, destination, kind, expected) in cases {
            let destination = Destination { path: destination.into(), kind };
            let seen = place(directory, Path::new(source), &destination);
            let seen = seen.map(|(path, name)| (path.display().to_string(), name.into_string().unwrap()));
            match (seen, expected) {
                (Ok(seen), Ok((path, name))) => assert_eq!(seen, (path.to_owned(), name.to_owned())),
                (Err(error), Err(message)) => assert_eq!(error.message(), message),
                (seen, expected) => panic!("{source} {destination:?}: {seen:?}, not {expected:?}"),
            }
        }
    }
}
