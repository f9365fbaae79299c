//! Paths inside the container's root. Nothing else in this crate opens one.
//!
//! Every look-up is openat2 with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS from a descriptor of the root: `..`, absolute
//! links and links swapped meanwhile stay inside, because the kernel resolves them there.

use core::ffi::CStr;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use crate::step::{Missing, Target};

/// The longest path that is taken.
const LONGEST: usize = 4096;
/// How many dangling links are followed to make what they point to.
const MOST_LINKS: usize = 16;
/// How often a path is tried whose names change meanwhile.
const MOST_TRIES: u32 = 100_000;

/// Opens a path for reference only.
pub(crate) fn look_up(root: BorrowedFd<'_>, path: &CStr, strict: bool) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH, strict)
}

/// Opens a directory for reference only.
pub(crate) fn look_up_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY, false)
}

/// Opens a path for reference, and makes it first if it is missing, with the directories above it.
pub(crate) fn look_up_or_make(root: BorrowedFd<'_>, target: Target<'_>) -> Result<OwnedFd> {
    match look_up(root, target.path, target.strict) {
        Err(Errno::NOENT) => make(root, target),
        found => found,
    }
}

fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, strict: bool) -> Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if strict {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    // A rename somewhere makes the kernel give up with EAGAIN. Who renames without end may delay this, not stop it.
    for _ in 0..MOST_TRIES {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// A path that changes while links are followed, with room for the zero that C wants.
struct Path {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Path {
    fn new(text: &[u8]) -> Result<Self> {
        let mut path = Self { bytes: [0; LONGEST], length: 0 };
        path.push(text)?;
        Ok(path)
    }

    fn push(&mut self, text: &[u8]) -> Result<()> {
        let end = self.length + text.len();
        // One byte stays for the zero.
        if end >= LONGEST {
            return Err(Errno::NAMETOOLONG);
        }
        self.bytes.get_mut(self.length..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(text);
        self.length = end;
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Does something with the bytes of `start..end` as a C string.
    fn with_part<T>(&mut self, start: usize, end: usize, action: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
        let place = self.bytes.get_mut(end).ok_or(Errno::NAMETOOLONG)?;
        let kept = core::mem::replace(place, 0);
        let text = CStr::from_bytes_with_nul(self.bytes.get(start..=end).unwrap_or_default());
        let result = text.map_err(|_| Errno::INVAL).and_then(action);
        if let Some(place) = self.bytes.get_mut(end) {
            *place = kept;
        }
        result
    }

    /// Where the component that begins at or after `start` begins and ends.
    fn component(&self, start: usize) -> Option<(usize, usize)> {
        let rest = self.as_bytes().get(start..)?;
        let begin = start + rest.iter().position(|byte| *byte != b'/')?;
        let length = self.as_bytes().get(begin..)?.iter().position(|byte| *byte == b'/');
        Some((begin, length.map_or(self.length, |length| begin + length)))
    }
}

/// Walks the path component by component, makes what is missing, and follows links that point to nothing yet.
fn make(root: BorrowedFd<'_>, target: Target<'_>) -> Result<OwnedFd> {
    let mut path = Path::new(target.path.to_bytes())?;
    for _ in 0..MOST_LINKS {
        if let Some(made) = make_along(root, &mut path, target)? {
            return Ok(made);
        }
    }
    Err(Errno::LOOP)
}

/// None: a link was met, and the path now says what it points to.
fn make_along(root: BorrowedFd<'_>, path: &mut Path, target: Target<'_>) -> Result<Option<OwnedFd>> {
    let mut parent = open(root, c"/", OFlags::PATH | OFlags::DIRECTORY, false)?;
    let mut position = 0;
    while let Some((begin, end)) = path.component(position) {
        parent = match path.with_part(0, end, |prefix| look_up(root, prefix, target.strict)) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                let last = path.component(end).is_none();
                let missing = if last { target.missing } else { Missing::Directory };
                match path.with_part(begin, end, |name| make_one(&parent, name, missing))? {
                    Some(made) => made,
                    None if target.strict => return Err(Errno::LOOP),
                    None => {
                        *path = redirect(&parent, path, begin, end)?;
                        return Ok(None);
                    }
                }
            }
            Err(errno) => return Err(errno),
        };
        position = end;
    }
    Ok(Some(parent))
}

/// Makes one entry of a directory; none if a link that points to nothing has its name.
fn make_one(parent: &OwnedFd, name: &CStr, missing: Missing) -> Result<Option<OwnedFd>> {
    let made = match missing {
        Missing::Directory => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Missing::File | Missing::Device { .. } => {
            rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from_raw_mode(0o755), 0)
        }
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&entry)?.st_mode);
    Ok(if kind == FileType::Symlink { None } else { Some(entry) })
}

/// The path with the link at `begin..end` replaced by what it points to.
fn redirect(parent: &OwnedFd, path: &mut Path, begin: usize, end: usize) -> Result<Path> {
    let mut link = [0_u8; LONGEST];
    let length = path.with_part(begin, end, |name| rustix::fs::readlinkat_raw(parent, name, &mut link))?;
    let points_to = link.get(..length).unwrap_or_default();
    let bytes = path.as_bytes();
    let above: &[u8] = if points_to.first() == Some(&b'/') { b"" } else { bytes.get(..begin).unwrap_or_default() };
    let mut next = Path::new(above)?;
    next.push(points_to)?;
    next.push(bytes.get(end..).unwrap_or_default())?;
    Ok(next)
}
