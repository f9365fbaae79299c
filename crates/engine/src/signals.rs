//! Signals by name and number, as Docker takes them: `SIGTERM`, `term`, `15`, `RTMIN+3`.

use failure::{Error, Result};

/// The names of signals 1 to 31, without `SIG`, at index number - 1 (x86 and ARM alike).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// SIGKILL's number.
pub const KILL: i32 = 9;
/// SIGTERM's number.
pub const TERM: i32 = 15;
/// SIGCONT's number.
pub const CONT: i32 = 18;

/// The number of a signal.
///
/// # Errors
/// No signal is called so.
pub fn parse(text: &str) -> Result<i32> {
    let upper = text.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) { Ok(number) } else { Err(unknown(text)) };
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|candidate| *candidate == name) {
        return Ok(i32::try_from(index + 1).unwrap_or(TERM));
    }
    match name {
        "IOT" => Ok(6),
        "CLD" => Ok(17),
        "POLL" => Ok(29),
        _ => realtime(name).ok_or_else(|| unknown(text)),
    }
}

/// The name of a signal with `SIG`, or its number.
pub fn name(number: i32) -> String {
    match usize::try_from(number - 1).ok().and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => number.to_string(),
    }
}

fn realtime(name: &str) -> Option<i32> {
    let number = match name {
        "RTMIN" => RTMIN,
        "RTMAX" => RTMAX,
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(offset), _) => RTMIN.checked_add(offset.parse::<u8>().ok()?.into())?,
            (_, Some(offset)) => RTMAX.checked_sub(offset.parse::<u8>().ok()?.into())?,
            _ => return None,
        },
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

fn unknown(text: &str) -> Error {
    Error::invalid(format!("no signal is called `{text}`; give a name such as `TERM` or a number from 1 to {RTMAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("sigkill", 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("SYS", 31)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "-1", "NOPE", "RTMIN+99", "RTMAX-99"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_has_its_name() {
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(name(34), "34");
    }
}
