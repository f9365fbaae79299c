//! Paths inside the container, as the specification names them: made absolute and plain before anything uses them.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use failure::{Error, Result};

/// The path with `.`, `..` and double slashes taken out, as text alone: links are the kernel's matter, later.
///
/// # Errors
/// It is relative, or holds a zero byte.
pub(crate) fn plain(path: &Path) -> Result<CString> {
    if !path.is_absolute() {
        return Err(Error::invalid(format!("`{}` is not an absolute path of the container", path.display())));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.as_bytes()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let mut text = Vec::with_capacity(path.as_os_str().len() + 1);
    for part in parts {
        text.push(b'/');
        text.extend_from_slice(part);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    CString::new(text).map_err(|_| Error::invalid(format!("`{}` holds a zero byte", path.display())))
}

/// As [`plain`]; a relative path starts at the root, as specifications of old have it.
///
/// # Errors
/// It holds a zero byte.
pub(crate) fn destination(path: &Path) -> Result<CString> {
    plain(&Path::new("/").join(path))
}

/// The directory and the name of an entry; none for the root.
pub(crate) fn split(path: &CString) -> Option<(CString, CString)> {
    let bytes = path.as_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/')?;
    let (above, name) = (bytes.get(..slash)?, bytes.get(slash + 1..).filter(|name| !name.is_empty())?);
    let above = if above.is_empty() { b"/" } else { above };
    Some((CString::new(above).ok()?, CString::new(name).ok()?))
}

/// Whether no symbolic link may be on the way: in the places of the kernel's own file systems. `/proc/net` is a link of the
/// kernel's.
pub(crate) fn is_strict(path: &CString) -> bool {
    !is_within(path, "/proc/net") && ["/proc", "/sys", "/dev"].iter().any(|directory| is_within(path, directory))
}

/// Whether the path is `directory` or below it.
pub(crate) fn is_within(path: &CString, directory: &str) -> bool {
    let rest = path.as_bytes().strip_prefix(directory.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// The name of an entry directly in `directory`.
pub(crate) fn entry_of<'a>(path: &'a CString, directory: &str) -> Option<&'a [u8]> {
    let rest = path.as_bytes().strip_prefix(directory.as_bytes())?.strip_prefix(b"/")?;
    (!rest.is_empty() && !rest.contains(&b'/')).then_some(rest)
}

/// A string of the specification for the kernel.
///
/// # Errors
/// It holds a zero byte.
pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("`{}` holds a zero byte", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        let text = |path: &str| plain(Path::new(path)).map(|path| path.into_string().unwrap_or_default());
        assert_eq!(text("/proc//sys/").unwrap(), "/proc/sys");
        assert_eq!(text("/a/./b/../c").unwrap(), "/a/c");
        assert_eq!(text("/../..").unwrap(), "/");
        assert!(text("proc").is_err());
    }

    #[test]
    fn relative_destinations_start_at_the_root() {
        assert_eq!(destination(Path::new("data/./x")).unwrap().as_c_str(), c"/data/x");
        assert_eq!(destination(Path::new("../../x")).unwrap().as_c_str(), c"/x");
        assert_eq!(destination(Path::new("/x")).unwrap().as_c_str(), c"/x");
    }

    #[test]
    fn entries_have_a_directory_and_a_name() {
        let parts = |text: &str| split(&CString::new(text).unwrap());
        assert_eq!(parts("/dev/snd/a"), Some((c"/dev/snd".to_owned(), c"a".to_owned())));
        assert_eq!(parts("/a"), Some((c"/".to_owned(), c"a".to_owned())));
        assert_eq!(parts("/"), None);
    }

    #[test]
    fn below_means_components() {
        let path = |text: &str| CString::new(text).unwrap();
        assert!(is_within(&path("/proc"), "/proc"));
        assert!(is_within(&path("/proc/sys"), "/proc"));
        assert!(!is_within(&path("/process"), "/proc"));
        assert_eq!(entry_of(&path("/dev/shm"), "/dev"), Some(&b"shm"[..]));
        assert_eq!(entry_of(&path("/dev/a/b"), "/dev"), None);
    }
}
