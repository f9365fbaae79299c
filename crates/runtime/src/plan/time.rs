//! The clocks of a time namespace: what they differ by from the host's.
//!
//! A new time namespace is for the children of whoever makes it, and its clocks can be set only before anybody lives in it:
//! the child makes it, sets the clocks, and then joins it, which works on every kernel that has time namespaces.

use std::fmt::Write as _;

use failure::{Error, Result};
use oci_spec::runtime::Linux;
use rustix::time::ClockId;

const NANOSECONDS: u32 = 1_000_000_000;
/// Half of what the kernel's clocks count to, in seconds.
const FARTHEST: i64 = i64::MAX / 1_000_000_000 / 2;

/// Lines for `timens_offsets`; empty for clocks as the host's.
pub(crate) type Offsets = String;

/// The offsets of a new time namespace.
pub(super) fn read(linux: &Linux, new: bool) -> Result<Option<Offsets>> {
    let mut wanted: Vec<_> = linux.time_offsets().iter().flatten().collect();
    wanted.sort_by_key(|(clock, _)| *clock);
    if !new {
        return match wanted.is_empty() {
            true => Ok(None),
            false => Err(Error::invalid("`linux.timeOffsets` need a new time namespace; add `time` to the namespaces")),
        };
    }
    let mut text = String::new();
    for (clock, offset) in wanted {
        let refuse = |reason: &str| Error::invalid(format!("the time offset of the clock `{clock}` {reason}"));
        let id = match clock.as_str() {
            "monotonic" => ClockId::Monotonic,
            "boottime" => ClockId::Boottime,
            _ => {
                return Err(Error::invalid(format!("no clock `{clock}` has an offset; use `monotonic` or `boottime`")));
            }
        };
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanoseconds >= NANOSECONDS {
            return Err(refuse("has a second or more in its nanoseconds"));
        }
        if !(-FARTHEST..=FARTHEST).contains(&seconds) {
            return Err(refuse("is more than the kernel can count"));
        }
        if rustix::time::clock_gettime(id).tv_sec.saturating_add(seconds) < 0 {
            return Err(refuse("would set it before its beginning"));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{clock} {seconds} {nanoseconds}");
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn offsets(value: Value, new: bool) -> Result<Option<Offsets>> {
        read(&serde_json::from_value(json!({ "timeOffsets": value })).unwrap(), new)
    }

    #[test]
    fn clocks_are_known_and_stay_positive() {
        let both = json!({"monotonic": {"secs": 5}, "boottime": {"secs": 6, "nanosecs": 7}});
        assert_eq!(offsets(both, true).unwrap().unwrap(), "boottime 6 7\nmonotonic 5 0\n");
        assert_eq!(offsets(json!({}), true).unwrap().unwrap(), "");
        assert_eq!(offsets(json!({}), false).unwrap(), None);
        for wrong in [
            json!({"realtime": {"secs": 1}}),
            json!({"monotonic": {"secs": -4_000_000_000_i64}}),
            json!({"monotonic": {"secs": i64::MAX}}),
            json!({"monotonic": {"nanosecs": 1_000_000_000}}),
        ] {
            assert!(offsets(wrong.clone(), true).is_err(), "{wrong}");
        }
        assert!(offsets(json!({"monotonic": {"secs": 1}}), false).is_err());
    }
}
