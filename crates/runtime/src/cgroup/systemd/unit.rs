//! The names of a scope: `slice:prefix:name` of a specification, and where systemd puts such a unit.
//!
//! ```text
//!   system.slice:docker:1234    ->  unit docker-1234.scope, group /system.slice/docker-1234.scope
//!   a-b.slice:podman:1234       ->  unit podman-1234.scope, group /a.slice/a-b.slice/podman-1234.scope
//!   of a user's manager         ->  the same below /user.slice/user-1000.slice/user@1000.service
//! ```

use failure::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest name of a unit that systemd takes.
const LONGEST_NAME: usize = 255;

/// A scope to be, or that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Unit {
    /// `prefix-name.scope`.
    name: String,
    /// As a unit, not as a path: `a-b.slice`.
    slice: String,
    /// Whether it is of the user's own manager, not the machine's.
    #[serde(default)]
    user: bool,
}

impl Unit {
    /// Reads `slice:prefix:name`; nothing at all stands for a scope of this id in the usual slice.
    pub(in super::super) fn parse(asked: &str, id: &str) -> Result<Self> {
        let user = !is_root();
        let usual = if user { "user.slice" } else { "system.slice" };
        let parts: Vec<&str> = asked.split(':').collect();
        let (slice, prefix, name) = match parts[..] {
            [""] => (usual, "skep", id),
            [slice, prefix, name] if !name.is_empty() => (if slice.is_empty() { usual } else { slice }, prefix, name),
            _ => return Err(refused(asked, "for the systemd driver it is `slice:prefix:name`")),
        };
        if name.ends_with(".slice") {
            return Err(refused(asked, "a slice has no processes of its own; name a scope"));
        }
        let unit = Self { name: format!("{prefix}-{name}.scope"), slice: slice.to_owned(), user };
        if !is_name(&unit.name) {
            return Err(refused(asked, "a unit's name has letters, digits and `:-_.\\@`, at most 255"));
        }
        if expand(&unit.slice).is_none() {
            return Err(refused(asked, "the slice is named as in `parent-child.slice`"));
        }
        Ok(unit)
    }

    /// The unit's name.
    pub(in super::super) fn name(&self) -> &str {
        &self.name
    }

    /// The slice that it is in.
    pub(super) fn slice(&self) -> &str {
        &self.slice
    }

    /// Whether the user's own manager has it.
    pub(super) fn is_of_user(&self) -> bool {
        self.user
    }

    /// Its group, below that of its manager.
    pub(super) fn path_below_manager(&self) -> String {
        format!("{}/{}", expand(&self.slice).unwrap_or_default(), self.name)
    }
}

/// `a-b.slice` to `/a.slice/a-b.slice`; the root slice `-.slice` to nothing.
fn expand(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice").filter(|_| is_name(slice))?;
    if name == "-" {
        return Some(String::new());
    }
    let mut path = String::new();
    for (index, letter) in name.char_indices() {
        if letter == '-' {
            path.push_str(&format!("/{}.slice", &name[..index]));
        }
    }
    path.push_str(&format!("/{slice}"));
    (!name.is_empty() && name.split('-').all(|part| !part.is_empty())).then_some(path)
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    text.len() <= LONGEST_NAME && text.bytes().all(plain)
}

/// Whether this process is root of the machine, and not of a user namespace alone.
pub(in super::super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
        && super::super::file::read("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

fn refused(asked: &str, reason: &str) -> Error {
    Error::invalid(format!("cgroupsPath `{}` cannot be used: {reason}", asked.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_places() {
        let unit = Unit::parse("a-b-c.slice:docker:1234", "x").unwrap();
        assert_eq!(unit.name(), "docker-1234.scope");
        assert_eq!(unit.path_below_manager(), "/a.slice/a-b.slice/a-b-c.slice/docker-1234.scope");
        assert_eq!(Unit::parse("-.slice:p:n", "x").unwrap().path_below_manager(), "/p-n.scope");
        let default = Unit::parse("", "x").unwrap();
        assert_eq!(default.name(), "skep-x.scope");
        assert!(matches!(default.slice(), "system.slice" | "user.slice"));
        assert_eq!(Unit::parse(":p:n", "x").unwrap().slice(), default.slice());
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        let long = format!("system.slice:p:{}", "n".repeat(255));
        for bad in [
            "system.slice",
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "-a.slice:b:c",
            "a--b.slice:b:c",
            ".slice:b:c",
            "a/b.slice:c:d",
            "a.slice:b/c:d",
            "a.slice:b:c d",
            "a.slice:b:c\n",
            "a.slice:b:c.slice",
            "a.scope:b:c",
            &long,
        ] {
            assert!(Unit::parse(bad, "x").is_err(), "{bad}");
        }
    }
}
