//! What a new tmpfs takes over from the place that it covers: the mode, or everything (`tmpcopyup`).
//!
//! ```text
//!   place in the root --openat2, in root--> directory ---+-- entries, one by one, by descriptor --> tmpfs, attached nowhere yet
//!                                                         +-- a file with several names: linked to its first copy, which has
//!                                                             a second name in a directory of links until all is done
//! ```
//! Nothing is followed and nothing but directories and regular files is opened, each without blocking: the place may be a
//! volume that another container writes to at this very moment. There is no heap here, so that memory is bounded: one buffer for
//! each level of directories, the data moved by the kernel, the table of links a directory of the tmpfs itself.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags, openat,
};
use rustix::io::{Errno, Result};
use sys::mount::Attributes;

use crate::inside;
use crate::step::TakeOver;

/// Deeper trees are refused: every level holds two descriptors.
const DEEPEST: usize = 200;
/// Where files with several names have one more while the copy is made.
const LINKS: &CStr = c".skep-links";
/// Of one file or directory, and of one value: the kernel's own limit for both.
const LONGEST_ATTRIBUTE: usize = 65536;

/// Prepares a file system for the place that it will cover.
pub(crate) fn take_over(root: BorrowedFd<'_>, mount: &OwnedFd, what: TakeOver<'_>) -> Result<()> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = openat(mount, c".", open, Mode::empty())?;
    match inside::look_up(root, what.path, what.strict) {
        Ok(place) => {
            let found = rustix::fs::fstat(&place)?;
            if what.mode {
                rustix::fs::fchmod(&target, Mode::from_raw_mode(found.st_mode & 0o7777))?;
            }
            if what.contents {
                let source = openat(&place, c".", open, Mode::empty())?;
                copy_all(&source, &target)?;
            }
        }
        // A directory that is made for it says nothing.
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let attributes = Attributes { set: what.attributes, ..Attributes::default() };
    if attributes.is_empty() { Ok(()) } else { sys::mount::set_attributes(mount.as_fd(), attributes) }
}

fn copy_all(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    rustix::fs::mkdirat(target, LINKS, Mode::from_raw_mode(0o700))?;
    let links = openat(target, LINKS, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    copy_directory(source, target, links.as_fd(), 0)?;
    remove_links(&links)?;
    rustix::fs::unlinkat(target, LINKS, AtFlags::REMOVEDIR)?;
    dress_directory(source.as_fd(), target.as_fd(), &rustix::fs::fstat(source)?)
}

/// Removing an entry may hide others from a listing that is under way: it starts again until nothing is left.
fn remove_links(links: &OwnedFd) -> Result<()> {
    loop {
        rustix::fs::seek(links, SeekFrom::Start(0))?;
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut entries = RawDir::new(links, &mut buffer);
        let mut removed = false;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !is_dots(entry.file_name()) {
                rustix::fs::unlinkat(links, entry.file_name(), AtFlags::empty())?;
                removed = true;
            }
        }
        if !removed {
            return Ok(());
        }
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn copy_directory(source: &OwnedFd, target: &OwnedFd, links: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(source, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if is_dots(name) {
            continue;
        }
        match rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => copy_entry(source, target, links, name, &found, depth)?,
            // Gone since it was listed.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_entry(
    source: &OwnedFd,
    target: &OwnedFd,
    links: BorrowedFd<'_>,
    name: &CStr,
    found: &Stat,
    depth: usize,
) -> Result<()> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let from = openat(source, name, open, Mode::empty())?;
            rustix::fs::mkdirat(target, name, Mode::from_raw_mode(0o700))?;
            let to = openat(target, name, open, Mode::empty())?;
            copy_directory(&from, &to, links, depth + 1)?;
            dress_directory(from.as_fd(), to.as_fd(), &rustix::fs::fstat(&from)?)?;
            rustix::fs::fchmod(&to, Mode::from_raw_mode(found.st_mode & 0o7777))
        }
        FileType::RegularFile => copy_named(source, target, links, name),
        FileType::Symlink => copy_link(source, target, name, found),
        kind => copy_special(target, name, kind, found),
    }
}

/// A regular file, or one more name of it.
fn copy_named(source: &OwnedFd, target: &OwnedFd, links: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let from = openat(source, name, open, Mode::empty())?;
    let found = rustix::fs::fstat(&from)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Errno::BUSY);
    }
    let mut buffer = [0; 40];
    let key = key(&mut buffer, &found)?;
    if found.st_nlink > 1 {
        match rustix::fs::linkat(links, key, target, name, AtFlags::empty()) {
            Err(Errno::NOENT) => {}
            linked => return linked,
        }
    }
    copy_file(&from, &found, target, name)?;
    if found.st_nlink > 1 { rustix::fs::linkat(target, name, links, key, AtFlags::empty()) } else { Ok(()) }
}

/// `device-inode` in hexadecimal digits.
fn key<'a>(buffer: &'a mut [u8; 40], found: &Stat) -> Result<&'a CStr> {
    let digits = b"0123456789abcdef";
    for (index, place) in buffer.iter_mut().take(33).enumerate() {
        let (number, index) = if index < 16 { (found.st_dev, index) } else { (found.st_ino, index.saturating_sub(17)) };
        let digit = (number >> (60 - 4 * index)) & 15;
        *place = usize::try_from(digit).ok().and_then(|digit| digits.get(digit)).copied().unwrap_or(b'0');
    }
    buffer[16] = b'-';
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::INVAL)
}

fn copy_file(from: &OwnedFd, found: &Stat, target: &OwnedFd, name: &CStr) -> Result<()> {
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(target, name, create, Mode::from_raw_mode(0o600))?;
    let length = u64::try_from(found.st_size).unwrap_or(0);
    rustix::fs::ftruncate(&to, length)?;
    let mut position = 0;
    // From one run of data to the next: holes stay holes.
    while position < length {
        let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => position,
            found => found?,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(length).min(length);
        copy_range(from, &to, start, end)?;
        position = end.max(start + 1);
    }
    give(to.as_fd(), found)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(found.st_mode & 0o7777))?;
    copy_attributes(from.as_fd(), to.as_fd())?;
    rustix::fs::futimens(&to, &times(found))
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    rustix::fs::seek(to, SeekFrom::Start(start))?;
    let mut offset = start;
    while offset < end {
        let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(1 << 20);
        // The file was cut short meanwhile.
        if rustix::fs::sendfile(to, from, Some(&mut offset), wanted)? == 0 {
            return Ok(());
        }
    }
    Ok(())
}

fn copy_link(source: &OwnedFd, target: &OwnedFd, name: &CStr, found: &Stat) -> Result<()> {
    let mut buffer = [0_u8; 4097];
    let length = rustix::fs::readlinkat_raw(source, name, buffer.get_mut(..4096).ok_or(Errno::INVAL)?)?;
    let points_to = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::INVAL)?;
    if points_to.to_bytes().len() != length {
        return Err(Errno::NAMETOOLONG);
    }
    rustix::fs::symlinkat(points_to, target, name)?;
    dress_entry(target, name, found)
}

/// Nodes cannot be made in a user namespace, and are left out there.
fn copy_special(target: &OwnedFd, name: &CStr, kind: FileType, found: &Stat) -> Result<()> {
    let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
    match rustix::fs::mknodat(target, name, kind, Mode::from_raw_mode(0o600), found.st_rdev) {
        Err(Errno::PERM) => return Ok(()),
        made => made?,
    }
    dress_entry(target, name, found)?;
    // By name: the file system is seen by nobody else yet.
    rustix::fs::chmodat(target, name, mode, AtFlags::empty())
}

fn dress_entry(target: &OwnedFd, name: &CStr, found: &Stat) -> Result<()> {
    let (uid, gid) = owner(found);
    mapped(rustix::fs::chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    rustix::fs::utimensat(target, name, &times(found), AtFlags::SYMLINK_NOFOLLOW)
}

fn dress_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, found: &Stat) -> Result<()> {
    give(to, found)?;
    copy_attributes(from, to)?;
    rustix::fs::futimens(to, &times(found))
}

/// To whom it belonged, unless nobody here has that id.
fn give(file: BorrowedFd<'_>, found: &Stat) -> Result<()> {
    let (uid, gid) = owner(found);
    mapped(rustix::fs::fchown(file, uid, gid))
}

fn owner(found: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))
}

fn mapped(given: Result<()>) -> Result<()> {
    match given {
        Err(Errno::INVAL | Errno::OVERFLOW) => Ok(()),
        given => given,
    }
}

fn times(found: &Stat) -> Timestamps {
    let time =
        |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    }
}

/// Those that the tmpfs and this process's ids can have; what it cannot is left out.
#[inline(never)]
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut names = [0_u8; LONGEST_ATTRIBUTE];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(Errno::OPNOTSUPP) | Ok(0) => return Ok(()),
        length => length?,
    };
    let mut value = [0_u8; LONGEST_ATTRIBUTE];
    for name in crate::step::strings(names.get(..length).unwrap_or_default()) {
        let length = match rustix::fs::fgetxattr(from, name, &mut value) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
            length => length?,
        };
        match rustix::fs::fsetxattr(to, name, value.get(..length).unwrap_or_default(), XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn a_key_is_the_device_and_the_inode() {
        let mut found = rustix::fs::stat("/").unwrap();
        (found.st_dev, found.st_ino) = (0x1f, 0xabc);
        let mut buffer = [0; 40];
        assert_eq!(key(&mut buffer, &found).unwrap(), c"000000000000001f-0000000000000abc");
    }
}
