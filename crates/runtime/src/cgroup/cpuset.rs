//! Lists of CPUs and memory nodes (`0-3,8`), kept as ranges: a hostile `0-4000000000` costs nothing.

use failure::{Error, Result};

/// No machine has more CPUs: the kernel's own bound is 8192.
const HIGHEST: u32 = 8191;

/// Ranges with both ends in them, as they were written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct List(Vec<(u32, u32)>);

impl List {
    /// Reads a list; `None` if it is none. An empty text is an empty list.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        text.split(',').map(|part| range(part.trim())).collect::<Option<_>>().map(Self)
    }

    /// First and last of each range.
    pub(crate) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Every number that is small enough to be one of a CPU, of a list that the kernel wrote.
    pub(super) fn numbers(&self) -> Vec<u16> {
        let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        self.0.iter().flat_map(|(first, last)| small(*first)..=small(*last)).collect()
    }

    /// The numbers as bits, least byte first, as systemd wants them. No number above the largest machine's is taken.
    pub(super) fn bits(&self) -> Option<Vec<u8>> {
        let mut bits = Vec::new();
        for (first, last) in &self.0 {
            if *last > HIGHEST {
                return None;
            }
            for number in *first..=*last {
                let byte = number as usize / 8;
                bits.resize(bits.len().max(byte + 1), 0);
                bits[byte] |= 1 << (number % 8);
            }
        }
        Some(bits)
    }

    /// Whether every number of this list is in the other, which the kernel wrote: sorted, without overlaps.
    fn within(&self, other: &Self) -> bool {
        self.0.iter().all(|(first, last)| other.0.iter().any(|(low, high)| low <= first && last <= high))
    }
}

/// Checks what a user asks for against what the parent group has. v1 refuses a CPU that is not there with a bare
/// "invalid argument", and v2 takes it in silence and ignores it: so that both say the same, it is checked before.
///
/// # Errors
/// It is no list, or names what the machine does not have.
pub fn check(option: &str, wanted: &str, available: &str) -> Result<()> {
    let available = available.trim();
    let list = List::parse(wanted)
        .filter(|list| !list.0.is_empty())
        .ok_or_else(|| Error::invalid(format!("{option} `{wanted}` is no list of numbers; give one as in `0-2,4`")))?;
    match List::parse(available) {
        Some(known) if !list.within(&known) => {
            Err(Error::invalid(format!("{option} `{wanted}` is not available; this machine has `{available}`")))
        }
        _ => Ok(()),
    }
}

fn range(part: &str) -> Option<(u32, u32)> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_ranges() {
        assert_eq!(List::parse("0-2,4\n"), Some(List(vec![(0, 2), (4, 4)])));
        assert_eq!(List::parse("0-4000000000"), Some(List(vec![(0, 4_000_000_000)])));
        for bad in ["a", "1-", "-1", "2-1", "1,,2", "+1", "0-99999999999", "0-18446744073709551615"] {
            assert_eq!(List::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn bits_are_bounded() {
        let bits = |text| List::parse(text).unwrap().bits();
        assert_eq!(bits("0-2,9"), Some(vec![0b111, 0b10]));
        assert_eq!(bits(""), Some(Vec::new()));
        assert_eq!(bits("0-4000000000"), None);
        assert_eq!(List::parse("1-3,8").unwrap().numbers(), [1, 2, 3, 8]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(check("cpuset-cpus", "0,1", "0-1").is_ok());
        let message = check("cpuset-cpus", "7", "0-1\n").unwrap_err().to_string();
        assert_eq!(message, "cpuset-cpus `7` is not available; this machine has `0-1`");
        assert!(check("cpuset-cpus", "x", "0-1").is_err());
        assert!(check("cpuset-cpus", "", "0-1").is_err());
    }
}
