//! Where a group lies: the rules of `linux.cgroupsPath`, resolved once, so that the group is found again from anywhere.
//!
//! | `cgroupsPath`, driver   | the group                                                                     |
//! |---|---|
//! | none, cgroupfs          | `/<id>`; for a user who may make none: none, if there are no limits           |
//! | `/a/b`, cgroupfs        | `/a/b` below the root of every hierarchy                                      |
//! | `a/b`, cgroupfs, v1     | `a/b` below this process's own group, in each hierarchy                       |
//! | `a/b`, cgroupfs, v2     | `a/b` beside this process's own group: it has processes, so nothing with limits can be below it |
//! | `slice:prefix:name`, systemd | the scope `prefix-name.scope` in `slice`                                 |
//! | none, systemd           | `skep-<id>.scope` in `system.slice`, for a user in `user.slice`               |
//!
//! `.` and `..` are resolved as text and end at the root, as runc has it: no path leads out of the hierarchies.

use std::collections::BTreeMap;

use failure::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::systemd::Unit;
use super::{Controller, file, host, systemd};
use crate::nested;

/// The longest path that is taken; the kernel's own bound is 4096 with the mount point.
const LONGEST: usize = 2048;

/// Who makes the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// We do, by the file system.
    #[default]
    Cgroupfs,
    /// systemd does: a transient scope, asked for over D-Bus.
    Systemd,
}

/// By whose rules a group is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rules {
    /// Docker's: only the hierarchies that are needed; a leftover is replaced; a limit that this kernel lacks is left out
    /// with a warning where Docker does so; Docker's lower bounds hold.
    #[default]
    Engine,
    /// The OCI specification's and runc's: every hierarchy; an empty group is used as it is; nothing is left out.
    Runtime,
}

/// Where a group lies. A value to keep: it means the same in every process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// The path below the bases: `/skep/<id>`.
    text: String,
    #[serde(default)]
    pub(super) rules: Rules,
    /// v1, for a relative path: the group that it is below, by controller. Elsewhere it is below the roots.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    bases: BTreeMap<String, String>,
    /// The systemd unit that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Unit>,
    /// Whether the container can do without: nobody asked for a place, and this user may have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    optional: bool,
}

impl Path {
    /// A path from its text: absolute, of plain components.
    ///
    /// # Errors
    /// The text is relative, or has empty, `.`, `..` or strange components, or is too long.
    pub fn new(text: &str) -> Result<Self> {
        match text.strip_prefix('/') {
            Some(rest) if text.len() <= LONGEST && rest.split('/').all(plain) => Ok(Self::below_roots(text.to_owned())),
            _ => Err(Error::invalid(format!("`{text}` is no path of a control group; give one as `/skep/name`"))),
        }
    }

    /// The path of the engine's container of this id: `/skep/<id>`.
    ///
    /// # Errors
    /// The id is no plain component.
    pub fn of_container(id: &str) -> Result<Self> {
        match id.contains('/') {
            false => Self::new(&format!("/skep/{id}")),
            true => Err(Error::invalid(format!("`{id}` is no name of a control group"))),
        }
    }

    /// The path that a specification asks for by `linux.cgroupsPath`. It may need to ask systemd where its units are.
    ///
    /// # Errors
    /// The path is malformed, or leads to the root group, or systemd does not answer.
    pub fn of_specification(cgroups_path: Option<&std::path::Path>, id: &str, driver: Driver) -> Result<Self> {
        let asked = match cgroups_path {
            Some(path) => path.to_str().ok_or_else(|| refused(&path.to_string_lossy(), "it is no UTF-8"))?,
            None => "",
        };
        let path = match driver {
            Driver::Systemd => Self::of_unit(Unit::parse(asked, id)?)?,
            Driver::Cgroupfs => Self::of_file_system(asked, id)?,
        };
        Ok(Self { rules: Rules::Runtime, ..path })
    }

    /// The text below the roots, or below the process that resolved it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path of a group below this one, which the container made or somebody for it: `..` does not lead out.
    ///
    /// # Errors
    /// The text has strange components.
    pub fn below(&self, text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("`{}` is no path of a control group", text.escape_debug()));
        match normal(text) {
            Some(below) => Ok(Self { text: format!("{}{below}", self.text), ..self.clone() }),
            None if text.split('/').all(|component| matches!(component, "" | "." | "..")) => Ok(self.clone()),
            None => Err(wrong()),
        }
    }

    /// The systemd unit that holds the group, if systemd made it.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_ref().map(Unit::name)
    }

    /// Whether a container without limits goes without a group, after a failure of this kind: nobody gave this user a
    /// place to make groups in.
    pub(super) fn may_be_nowhere(&self, failure: Kind) -> bool {
        nested::is_nested() || (self.optional && matches!(failure, Kind::Denied | Kind::NotFound))
    }

    /// The path in one hierarchy.
    pub(super) fn within(&self, controllers: &[Controller]) -> String {
        let base = controllers.iter().find_map(|controller| self.bases.get(controller.name()));
        format!("{}{}", base.map_or("", String::as_str), self.text)
    }

    fn below_roots(text: String) -> Self {
        Self { text, rules: Rules::Engine, bases: BTreeMap::new(), unit: None, optional: false }
    }

    fn of_unit(unit: Unit) -> Result<Self> {
        let text = unit.control_group()?;
        Ok(Self { unit: Some(unit), ..Self::below_roots(text) })
    }

    fn of_file_system(asked: &str, id: &str) -> Result<Self> {
        let text = normal(if asked.is_empty() { id } else { asked }).ok_or_else(|| {
            refused(asked, "it may have no spaces, backslashes or control characters, and must not be the root")
        })?;
        let path = Self::below_roots(text);
        if asked.is_empty() {
            return Ok(Self { optional: !systemd::is_root(), ..path });
        }
        if asked.starts_with('/') {
            return Ok(path);
        }
        let own = file::read("/proc/self/cgroup").unwrap_or_default();
        if host::version()? == host::Version::V2 {
            let parent = host::own_group(&own, "").and_then(|own| own.rsplit_once('/').map(|(parent, _)| parent));
            return Ok(Self { text: format!("{}{}", parent.unwrap_or_default(), path.text), ..path });
        }
        let base = |controller: &Controller| {
            let base = host::group_below_mount(*controller, host::own_group(&own, controller.label())?);
            (base != "/").then(|| (controller.name().to_owned(), base))
        };
        Ok(Self { bases: Controller::ALL.iter().filter_map(base).collect(), ..path })
    }
}

/// An absolute path without `.`, `..` and double slashes; `None` for the root and for strange components.
fn normal(text: &str) -> Option<String> {
    let mut components: Vec<&str> = Vec::new();
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            component => components.push(component),
        }
    }
    let fits = !components.is_empty() && components.iter().all(|component| plain(component));
    Some(format!("/{}", components.join("/"))).filter(|text| fits && text.len() <= LONGEST)
}

fn plain(component: &str) -> bool {
    !matches!(component, "" | "." | "..")
        && component.len() <= 255
        && component.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\'))
}

fn refused(asked: &str, reason: &str) -> Error {
    Error::invalid(format!("cgroupsPath `{}` cannot be used: {reason}", asked.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specified(path: &str) -> Result<Path> {
        Path::of_specification(Some(std::path::Path::new(path)), "abc", Driver::Cgroupfs)
    }

    #[test]
    fn paths_are_plain() {
        assert_eq!(Path::of_container("abc").unwrap().as_str(), "/skep/abc");
        for bad in ["", "/", "skep", "/skep/", "/skep/..", "/./a", "//a", "/a\n", "/a b", "/a\\b", &"/a".repeat(1100)] {
            assert!(Path::new(bad).is_err(), "{bad}");
        }
        assert!(Path::of_container("a/b").is_err());
    }

    #[test]
    fn a_specified_path_stays_below_the_root() {
        let default = Path::of_specification(None, "abc", Driver::Cgroupfs).unwrap();
        assert_eq!((default.as_str(), default.rules), ("/abc", Rules::Runtime));
        assert_eq!(specified("/a//b/./c").unwrap().as_str(), "/a/b/c");
        assert_eq!(specified("/../../etc").unwrap().as_str(), "/etc");
        assert_eq!(specified("/kubepods/burstable/pod1/x:y").unwrap().as_str(), "/kubepods/burstable/pod1/x:y");
        for bad in ["/", "/..", "/a b", "/a\nb", "/a/../..", "/a\\x2d"] {
            assert!(specified(bad).is_err(), "{bad}");
        }
        assert!(specified("../../up").unwrap().as_str().ends_with("/up"));
    }

    #[test]
    fn below_is_below() {
        let path = Path::new("/a").unwrap();
        assert_eq!(path.below("b/c").unwrap().as_str(), "/a/b/c");
        assert_eq!(path.below("/../../b").unwrap().as_str(), "/a/b");
        assert_eq!(path.below("/").unwrap().as_str(), "/a");
        assert!(path.below("b c").is_err());
    }

    #[test]
    fn it_can_be_kept() {
        let path = Path {
            text: "/a".into(),
            rules: Rules::Runtime,
            bases: BTreeMap::from([("memory".into(), "/own".into())]),
            unit: None,
            optional: false,
        };
        assert_eq!(path.within(&[Controller::Memory]), "/own/a");
        assert_eq!(path.within(&[Controller::Cpu, Controller::Cpuacct]), "/a");
        let kept = serde_json::to_string(&path).unwrap();
        assert_eq!(kept, r#"{"text":"/a","rules":"runtime","bases":{"memory":"/own"}}"#);
        assert_eq!(serde_json::from_str::<Path>(&kept).unwrap(), path);
    }
}
