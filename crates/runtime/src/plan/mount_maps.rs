//! Mounts that show their files with other ids: which map, and how far it reaches.
//!
//! | `uidMappings`, `gidMappings` of the mount | `idmap`, `ridmap` | what is done |
//! |---|---|---|
//! | both | none, or `idmap` | the mount is mapped by them |
//! | both | `ridmap` | the mounts below too |
//! | neither | given | as above, by the container's own map; without a user namespace that is an error |
//! | one of the two | | an error |
//!
//! In these maps `containerID` is what the file system has on disk and `hostID` what it is shown as on the host.

use std::fmt::Write as _;

use failure::{Error, Result};
use oci_spec::runtime::{LinuxIdMapping, Mount};

use super::options::Idmap;

/// The map of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountMap {
    /// How far it reaches.
    pub(crate) reach: Idmap,
    /// Its own; none: the container's.
    pub(crate) maps: Option<MapLines>,
}

/// Maps as the kernel reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapLines {
    pub(crate) users: String,
    pub(crate) groups: String,
}

/// What the specification says of a mount; `container`: whether there is a user namespace whose map can be taken.
///
/// # Errors
/// There is no map, or half of one.
pub(crate) fn read(mount: &Mount, wanted: Option<Idmap>, container: bool) -> Result<Option<MountMap>> {
    let users = mount.uid_mappings().as_deref().unwrap_or_default();
    let groups = mount.gid_mappings().as_deref().unwrap_or_default();
    match (users.is_empty(), groups.is_empty(), wanted) {
        (true, true, None) => Ok(None),
        (true, true, Some(reach)) if container => Ok(Some(MountMap { reach, maps: None })),
        (true, true, Some(_)) => Err(Error::invalid(
            "`idmap` needs `uidMappings` and `gidMappings` of the mount, or a user namespace to take them from",
        )),
        (false, false, wanted) => {
            let maps = MapLines { users: lines(users)?, groups: lines(groups)? };
            Ok(Some(MountMap { reach: wanted.unwrap_or(Idmap::Mount), maps: Some(maps) }))
        }
        _ => Err(Error::invalid("a mount needs both `uidMappings` and `gidMappings`, or none of them")),
    }
}

fn lines(ranges: &[LinuxIdMapping]) -> Result<String> {
    let mut text = String::new();
    for range in ranges {
        let (inside, outside, size) = (range.container_id(), range.host_id(), range.size());
        if size == 0 || inside.checked_add(size - 1).is_none() || outside.checked_add(size - 1).is_none() {
            return Err(Error::invalid(format!("the id mapping `{inside} {outside} {size}` is empty or too long")));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{inside} {outside} {size}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(users: &str, groups: &str) -> Mount {
        let text = format!(r#"{{"destination": "/x", "uidMappings": {users}, "gidMappings": {groups}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn maps_come_in_pairs_or_from_the_container() {
        let range = r#"[{"containerID": 0, "hostID": 1000, "size": 10}]"#;
        let own = read(&mount(range, range), None, false).unwrap().unwrap();
        assert_eq!(own.reach, Idmap::Mount);
        assert_eq!(own.maps.unwrap().users, "0 1000 10\n");
        assert_eq!(read(&mount("[]", "[]"), None, false).unwrap(), None);
        assert_eq!(read(&mount("[]", "[]"), Some(Idmap::Tree), true).unwrap().unwrap().maps, None);
        assert!(read(&mount("[]", "[]"), Some(Idmap::Tree), false).is_err());
        assert!(read(&mount(range, "[]"), Some(Idmap::Mount), true).is_err());
        let long = r#"[{"containerID": 4294967295, "hostID": 0, "size": 2}]"#;
        assert!(read(&mount(long, long), None, false).is_err());
    }
}
