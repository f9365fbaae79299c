//! Becoming the final user: groups, ids, and the five sets of capabilities.
//!
//! Order matters. The bounding set shrinks while CAP_SETPCAP is there. PR_SET_KEEPCAPS carries the permitted set over the
//! change of user; the effective set is set again after it. The ambient set is last, for it must be within permitted and
//! inheritable, and a change of user clears it.

use rustix::io::{Errno, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use crate::step::Credentials;

/// Takes a user and a group of a user namespace in which this process has every capability, and no other group if it may be `alone`: its root,
/// as a rule. Capabilities are kept: only who stops being root loses them.
pub(crate) fn become_owner(uid: u32, gid: u32, alone: bool) -> Result<()> {
    if alone {
        rustix::thread::set_thread_groups(&[])?;
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Becomes the user, with these capabilities.
pub(crate) fn assume(credentials: &Credentials<'_>) -> Result<()> {
    drop_bounding(credentials.bounding)?;
    rustix::thread::set_keep_capabilities(true)?;
    if let Some(groups) = credentials.groups {
        rustix::thread::set_thread_groups(groups)?;
    }
    let (uid, gid) = (Uid::from_raw(credentials.uid), Gid::from_raw(credentials.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    set_capabilities(credentials, credentials.until_exec)?;
    raise_ambient(credentials.ambient)
}

/// Gives up what was kept for setting up: for a process that does not exec.
pub(crate) fn settle(credentials: &Credentials<'_>) -> Result<()> {
    set_capabilities(credentials, 0)
}

fn set_capabilities(credentials: &Credentials<'_>, extra: u64) -> Result<()> {
    let set = CapabilitySet::from_bits_retain;
    let sets = CapabilitySets {
        effective: set(credentials.effective | extra),
        permitted: set(credentials.permitted | extra),
        inheritable: set(credentials.inheritable),
    };
    rustix::thread::set_capabilities(None, sets)
}

/// A number that this kernel does not know ends the list.
fn drop_bounding(kept: u64) -> Result<()> {
    for number in 0..u64::BITS {
        let bit = 1 << number;
        if kept & bit == 0 {
            match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
                Err(Errno::INVAL) => break,
                result => result?,
            }
        }
    }
    Ok(())
}

fn raise_ambient(ambient: u64) -> Result<()> {
    for number in 0..u64::BITS {
        let bit = 1 << number;
        if ambient & bit != 0 {
            rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(bit), true)?;
        }
    }
    Ok(())
}
