//! Ranges of user ids: every container gets 65,536 of its own, so that root in it is nobody outside.
//!
//! ```text
//! ids/<n> -> <id>      claims the host's ids  BASE + n * 65,536 .. + 65,535;  symlink(2) fails if n is taken
//! ```
//! The ranges lie where systemd puts its own containers' (0x1000_0000 to 0x6fff_ffff), far above users of the machine.
//! The search begins at a hash of the id, so that parallel creations rarely meet. A range is given up only after the
//! container's last process is gone. Files on disk never carry these ids (they are shifted as they are mounted), so a
//! range can be used again at once.

use failure::{Context as _, Error, Result};
use runtime::ContainerId;
use rustix::fs as rfs;
use rustix::io::Errno;

use crate::Home;

/// The first host id of range 0.
pub const BASE: u32 = 0x1000_0000;
/// Ids in a range.
pub const SIZE: u32 = 65_536;
/// How many ranges there are.
pub const RANGES: u32 = 24_575;

/// The host's id of root in range `n`.
pub fn first_id(range: u32) -> u32 {
    BASE + range * SIZE
}

/// Claims a free range for the container.
pub(crate) fn claim(home: &Home, id: &ContainerId) -> Result<u32> {
    let start = starting_point(id);
    for offset in 0..RANGES {
        let range = (start + offset) % RANGES;
        match rfs::symlink(id.as_ref(), home.range(range)) {
            Ok(()) => return Ok(range),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).context("claim a range of user ids"),
        }
    }
    Err(Error::new(
        failure::Kind::Unavailable,
        format!("all {RANGES} ranges of user ids are in use; remove containers with `skep container prune`"),
    ))
}

/// Claims a certain range for the container that has it already, should the claim be lost.
pub(crate) fn claim_exactly(home: &Home, id: &ContainerId, range: u32) -> Result<()> {
    match rfs::symlink(id.as_ref(), home.range(range)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).context("claim a range of user ids"),
    }
}

/// Gives the range up, if it is the container's.
pub(crate) fn release(home: &Home, id: &ContainerId, range: u32) -> Result<()> {
    match rfs::readlink(home.range(range), Vec::new()) {
        Ok(owner) if owner.as_bytes() == id.as_ref().as_bytes() => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno).context("read the claim of a range of user ids"),
    }
    match rfs::unlink(home.range(range)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).context("give up a range of user ids"),
    }
}

/// Where the search for a range begins: the id's own digits, which are random.
fn starting_point(id: &ContainerId) -> u32 {
    id.as_ref().get(8..16).and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0) % RANGES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_range_ends_where_systemds_ends() {
        assert_eq!(u64::from(first_id(RANGES - 1)) + u64::from(SIZE) - 1, 0x6ffe_ffff);
    }

    #[test]
    fn the_search_begins_inside() {
        for _ in 0..100 {
            assert!(starting_point(&ContainerId::random()) < RANGES);
        }
    }
}
