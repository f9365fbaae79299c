//! The maps of a user namespace: checked before the kernel sees them, and looked up to say who somebody is on the host.
//!
//! User 0 need not be mapped. Then the user of the process makes the mounts instead of root: in a namespace of its own it has
//! every capability whoever it is, but what nobody's id is mapped to cannot be the owner of anything.

use std::fmt::Write as _;

use failure::{Error, Result};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder, User};

/// The kernel takes no more extents, and no more text than fits on a page.
const MOST_RANGES: usize = 340;
const LONGEST_TEXT: usize = 4095;

/// The maps of a user namespace, as the kernel reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) users: String,
    pub(crate) groups: String,
    /// Who makes what the container starts with: user 0, or the user of the process where 0 is not mapped.
    pub(crate) uid: u32,
    /// The group of that.
    pub(crate) gid: u32,
    /// Who that is on the host.
    pub(crate) root_uid: u32,
    /// The group of that on the host.
    pub(crate) root_gid: u32,
    user_ranges: Vec<LinuxIdMapping>,
    group_ranges: Vec<LinuxIdMapping>,
}

impl IdMaps {
    /// Those of a new user namespace.
    pub(crate) fn read(linux: &Linux, user: &User) -> Result<Self> {
        let users = linux.uid_mappings().as_deref().unwrap_or_default();
        let groups = linux.gid_mappings().as_deref().unwrap_or_default();
        check("user", users)?;
        check("group", groups)?;
        Self::of_ranges(users.to_vec(), groups.to_vec(), user)
    }

    /// Those of a namespace that exists, as its files in proc show them.
    pub(crate) fn parse(users: &str, groups: &str, user: &User) -> Result<Self> {
        Self::of_ranges(ranges(users)?, ranges(groups)?, user)
    }

    fn of_ranges(users: Vec<LinuxIdMapping>, groups: Vec<LinuxIdMapping>, user: &User) -> Result<Self> {
        let owner = |ranges: &[LinuxIdMapping], what, own| {
            let (id, host) = match (host_id(ranges, 0), host_id(ranges, own)) {
                (Some(host), _) => (0, host),
                (None, Some(host)) => (own, host),
                (None, None) => {
                    let line = format!("the id mappings lack the {what} {own} of the process; map it, or {what} 0");
                    return Err(Error::invalid(line));
                }
            };
            Ok((id, host))
        };
        let (uid, root_uid) = owner(&users, "user", user.uid())?;
        let (gid, root_gid) = owner(&groups, "group", user.gid())?;
        let (user_ranges, group_ranges) = (users, groups);
        let (users, groups) = (lines(&user_ranges), lines(&group_ranges));
        Ok(Self { users, groups, uid, gid, root_uid, root_gid, user_ranges, group_ranges })
    }

    /// Whether these are the mappings that a specification gives, if it gives any.
    pub(crate) fn agree_with(&self, linux: &Linux) -> bool {
        let same = |given: &Option<Vec<LinuxIdMapping>>, own: &[LinuxIdMapping]| match given.as_deref() {
            None | Some([]) => true,
            Some(given) => given == own,
        };
        same(linux.uid_mappings(), &self.user_ranges) && same(linux.gid_mappings(), &self.group_ranges)
    }

    /// What a user of the container is on the host.
    pub(crate) fn host_user(&self, id: u32) -> Option<u32> {
        host_id(&self.user_ranges, id)
    }

    /// What a group of the container is on the host.
    pub(crate) fn host_group(&self, id: u32) -> Option<u32> {
        host_id(&self.group_ranges, id)
    }
}

fn check(what: &str, ranges: &[LinuxIdMapping]) -> Result<()> {
    let refuse = |reason: &str| Err(Error::invalid(format!("the {what} id mappings {reason}")));
    if ranges.is_empty() {
        return refuse("are missing: a new user namespace needs them");
    }
    if ranges.len() > MOST_RANGES || lines(ranges).len() > LONGEST_TEXT {
        return refuse("are more than the kernel takes: 340 ranges, on one page of text");
    }
    for (index, range) in ranges.iter().enumerate() {
        let ends = [range.container_id(), range.host_id()].map(|first| first.checked_add(range.size()));
        if range.size() == 0 || ends.contains(&None) {
            return refuse("have a range that is empty or goes beyond the last id");
        }
        let overlap = |first: u32, other: u32, size: u32| first < other + size && other < first + range.size();
        let hits = |other: &LinuxIdMapping| {
            overlap(range.container_id(), other.container_id(), other.size())
                || overlap(range.host_id(), other.host_id(), other.size())
        };
        if ranges.iter().take(index).any(hits) {
            return refuse("have ranges that overlap");
        }
    }
    Ok(())
}

fn lines(ranges: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for range in ranges {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", range.container_id(), range.host_id(), range.size());
    }
    text
}

/// `         0  268435456      65536`, a line each.
fn ranges(text: &str) -> Result<Vec<LinuxIdMapping>> {
    let wrong = || Error::internal("cannot read the maps of a user namespace");
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|word| word.parse::<u32>().map_err(|_| wrong()));
        let mut next = || numbers.next().unwrap_or_else(|| Err(wrong()));
        let range = LinuxIdMappingBuilder::default().container_id(next()?).host_id(next()?).size(next()?);
        range.build().map_err(|_| wrong())
    };
    text.lines().map(range).collect()
}

fn host_id(ranges: &[LinuxIdMapping], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id())?;
        (offset < range.size()).then(|| range.host_id().checked_add(offset))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container_id: u32, host_id: u32, size: u32) -> LinuxIdMapping {
        LinuxIdMappingBuilder::default().container_id(container_id).host_id(host_id).size(size).build().unwrap()
    }

    #[test]
    fn ids_are_looked_up_in_ranges() {
        let ranges = [range(0, 100_000, 10), range(10, 500, 1)];
        assert_eq!(host_id(&ranges, 9), Some(100_009));
        assert_eq!(host_id(&ranges, 10), Some(500));
        assert_eq!(host_id(&ranges, 11), None);
        assert_eq!(lines(&ranges), "0 100000 10\n10 500 1\n");
        assert_eq!(
            super::ranges("         0     100000         10\n        10        500          1\n").unwrap(),
            ranges
        );
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_before() {
        let wrong = [
            vec![],
            vec![range(0, 100, 0)],
            vec![range(0, u32::MAX, 2)],
            vec![range(0, 100, 10), range(9, 500, 1)],
            vec![range(0, 100, 10), range(10, 105, 1)],
            (0..341).map(|number| range(number, number, 1)).collect(),
        ];
        for ranges in wrong {
            assert!(check("user", &ranges).is_err(), "{ranges:?}");
        }
        let many: Vec<_> = (0..340).map(|number| range(number, number, 1)).collect();
        assert!(check("user", &many).is_ok());
    }

    #[test]
    fn without_a_root_the_process_makes_its_mounts() {
        let mut user = User::default();
        user.set_uid(1000);
        user.set_gid(50);
        let maps = IdMaps::of_ranges(vec![range(1000, 7, 1)], vec![range(0, 9, 51)], &user).unwrap();
        assert_eq!((maps.uid, maps.gid, maps.root_uid, maps.root_gid), (1000, 0, 7, 9));
        user.set_uid(1);
        let message = IdMaps::of_ranges(vec![range(1000, 7, 1)], vec![range(0, 9, 51)], &user).unwrap_err().to_string();
        assert_eq!(message, "the id mappings lack the user 1 of the process; map it, or user 0");
    }
}
