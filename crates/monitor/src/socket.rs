//! The monitor's socket in its run directory: `<run>/<id>/monitor.sock`.
//!
//! The kernel takes no more than 107 bytes as the name of a socket. Below a longer run directory, the name goes through
//! /proc/self/fd of the opened directory.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use failure::{Context, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

const NAME: &str = "monitor.sock";
/// `sun_path` without its final zero.
const LONGEST: usize = 107;

/// Makes the socket; one that a dead monitor left is replaced.
pub(crate) fn listen(run: &Path) -> Result<UnixListener> {
    let (path, _directory) = address(run)?;
    let failed = || format!("make socket `{}`", run.join(NAME).display());
    let listener = match UnixListener::bind(&path) {
        Err(error) if error.raw_os_error() == Some(Errno::ADDRINUSE.raw_os_error()) => {
            remove(run);
            UnixListener::bind(&path)
        }
        other => other,
    };
    let listener = listener.with_context(failed)?;
    // Its directory is closed to others already.
    rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR).with_context(failed)?;
    Ok(listener)
}

/// Connects to the monitor; `None` if there is none.
pub(crate) fn connect(run: &Path) -> Result<Option<UnixStream>> {
    let Ok((path, _directory)) = address(run) else { return Ok(None) };
    match UnixStream::connect(&path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if [Errno::NOENT, Errno::CONNREFUSED].map(|e| Some(e.raw_os_error())).contains(&error.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("connect to `{}`", run.join(NAME).display())),
    }
}

/// Takes the socket's name away: nobody connects any more.
pub(crate) fn remove(run: &Path) {
    let _ = unlinkat(CWD, run.join(NAME), AtFlags::empty());
}

/// A name for the socket that is short enough, and the directory that must stay open while it is used.
fn address(run: &Path) -> Result<(PathBuf, Option<OwnedFd>)> {
    let path = run.join(NAME);
    if path.as_os_str().as_bytes().len() <= LONGEST {
        return Ok((path, None));
    }
    let directory = openat(CWD, run, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = directory.with_context(|| format!("open `{}`", run.display()))?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd())), Some(directory)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_long_run_directory_is_no_obstacle() {
        let scratch = std::env::temp_dir().join(format!("skep-socket-test-{}", std::process::id()));
        let run = scratch.join("x".repeat(120));
        std::fs::create_dir_all(&run).unwrap();
        assert!(connect(&run).unwrap().is_none());
        let listener = listen(&run).unwrap();
        assert_eq!(std::fs::metadata(run.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(connect(&run).unwrap().is_some());
        drop(listener);
        assert!(connect(&run).unwrap().is_none());
        let _second = listen(&run).unwrap();
        assert!(connect(&run).unwrap().is_some());
        remove(&run);
        assert!(connect(&run).unwrap().is_none());
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
