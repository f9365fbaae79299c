//! Signals by name or number, and as data for a command that waits for a container in the foreground.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use failure::{Context as _, Error, Result};
use sys::signal::{LAST, Set};

/// Names of 1 to 31, as the kernel's headers have them for x86 and arm.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
const OTHER_NAMES: [(&str, i32); 5] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("RTMIN", 34), ("RTMAX", LAST)];

/// SIGKILL.
pub(crate) const KILL: i32 = 9;
const WINDOW_CHANGED: i32 = 28;
/// About this process, or not to be caught: ILL, TRAP, BUS, FPE, KILL, SEGV, PIPE, CHLD, STOP, URG, SYS.
const OWN: [i32; 11] = [4, 5, 7, 8, KILL, 11, 13, 17, 19, 23, 31];

/// The number of a signal: `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let unknown = || Error::invalid(format!("unknown signal \"{text}\""));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=LAST).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = (1..).zip(NAMES).find_map(|(number, known)| (known == name).then_some(number)) {
        return Ok(number);
    }
    let (base, offset) = match name.find(['+', '-']) {
        Some(at) if name.starts_with("RT") => name.split_at(at),
        _ => (name, "+0"),
    };
    let base = OTHER_NAMES.iter().find(|(known, _)| *known == base).map(|(_, number)| *number);
    let number = base.zip(offset.parse::<i32>().ok()).map(|(base, offset)| base.saturating_add(offset));
    number.filter(|number| (1..=LAST).contains(number)).ok_or_else(unknown)
}

/// What arrives as data instead of ending this process.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks all that can be passed on. A new process starts with nothing blocked.
    pub(crate) fn block() -> Result<Self> {
        // 32 and 33 are the C library's own.
        let passed = (1..=31).chain(34..=LAST).filter(|signal| !OWN.contains(signal));
        let set = passed.fold(Set::EMPTY, Set::with);
        let descriptor = sys::descriptors::of_signals(set).context("cannot receive signals")?;
        sys::signal::add_to_mask(set).context("cannot block signals")?;
        Ok(Self(descriptor))
    }

    /// The next that arrived.
    pub(crate) fn next(&self) -> Option<Arrived> {
        let mut information = [0_u8; 128];
        match rustix::io::read(&self.0, &mut information) {
            Ok(128) => {
                let number = i32::from_ne_bytes([information[0], information[1], information[2], information[3]]);
                Some(if number == WINDOW_CHANGED { Arrived::WindowChanged } else { Arrived::Other(number) })
            }
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The terminal has another size.
    WindowChanged,
    /// Any other, to be passed on.
    Other(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sighup", 1),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("0", 0),
            ("SYS", 31),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "FOO", "-9", "65", "RTMIN+31", "KILL+1", "SIG"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
