//! The lowest layer of every container: the places that something is always mounted on.
//!
//! ```text
//!   <root>/skeleton/dev/ proc/ sys/ etc/hosts etc/hostname etc/resolv.conf      empty, shared, never written
//! ```
//! Whatever an image has of these hides them. Without them, a start would have to make them in the writable layer, and
//! `diff` would tell of changes, and `commit` would keep files, that nobody in the container made.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use failure::{Context as _, Result};

use crate::Store;

/// Its name in the store.
const NAME: &str = "skeleton";
const DIRECTORIES: [&str; 4] = ["dev", "proc", "sys", "etc"];
const FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Where it is; made if it is not there yet.
pub(super) fn ensure(store: &Store) -> Result<PathBuf> {
    let place = store.root().join(NAME);
    if rustix::fs::lstat(&place).is_err()
        && let Err(error) = make(store.root(), &place)
        // Who came first may have taken the leavings of who came second from under his hands.
        && rustix::fs::lstat(&place).is_err()
    {
        return Err(error).with_context(|| format!("make `{}`", place.display()));
    }
    Ok(place)
}

/// Made aside and renamed, so that a half of it is never seen; who comes second throws his away.
fn make(directory: &Path, place: &Path) -> io::Result<()> {
    let aside = directory.join(format!(".{NAME}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&aside);
    let make_directory = |path: &Path| {
        DirBuilder::new().mode(0o755).create(path)?;
        // Whatever mask the caller has.
        fs::set_permissions(path, Permissions::from_mode(0o755))
    };
    make_directory(&aside)?;
    for name in DIRECTORIES {
        make_directory(&aside.join(name))?;
    }
    for name in FILES {
        let path = aside.join(name);
        File::create(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    // The same in every store, so that exports of equal containers are equal.
    for name in FILES.iter().chain(&DIRECTORIES).chain(&["."]) {
        File::open(aside.join(name))?.set_modified(SystemTime::UNIX_EPOCH)?;
    }
    match fs::rename(&aside, place) {
        Err(_) if place.exists() => {}
        renamed => renamed?,
    }
    remove_leftovers(directory)
}

/// What makers left that were killed or came second.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!(".{NAME}-")) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
