//! The id of a container: 64 hexadecimal digits when made here, a plain file name when given.

use std::fmt;
use std::str::FromStr;

use failure::{Error, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

/// The longest id that is taken.
const LONGEST: usize = 128;
/// What a directory entry may have.
const LONGEST_FILE_NAME: usize = 255;

/// Names a container for ever. Always safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// A new id of 64 hexadecimal digits. Its first twelve are not all decimal, so that the short form (which is also
    /// the default host name) cannot be taken for a number.
    #[must_use]
    pub fn random() -> Self {
        loop {
            let mut bytes = [0_u8; 32];
            if getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {
                continue;
            }
            let mut text = String::with_capacity(64);
            for byte in bytes {
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
            if text.bytes().take(12).any(|byte| !byte.is_ascii_digit()) {
                return Self(text);
            }
        }
    }

    /// An id by the wider rule of OCI runtimes: letters, digits, `_`, `+`, `-` and `.` in any order, but no path.
    ///
    /// # Errors
    /// It is another.
    pub fn of_runtime(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
        if matches!(text, "" | "." | "..") || text.len() > LONGEST_FILE_NAME || !text.bytes().all(plain) {
            return Err(Error::invalid(format!(
                "invalid container ID format: `{}`; it may have letters, digits, `_`, `+`, `-` and `.`, at most \
                 {LONGEST_FILE_NAME}",
                text.escape_debug()
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The first twelve characters, as lists show them.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    /// An id from its text: letters, digits, `_`, `.` and `-`, of which the first is a letter or digit.
    fn from_str(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let first_plain = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first_plain && text.len() <= LONGEST && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(format!(
            "invalid container id `{}`; it may have letters, digits, `_`, `.` and `-`, at most {LONGEST}",
            text.escape_debug()
        )))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl AsRef<str> for ContainerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_64_digits_and_differ() {
        let (one, other) = (ContainerId::random(), ContainerId::random());
        assert_ne!(one, other);
        assert_eq!(one.as_ref().len(), 64);
        assert_eq!(one.short().len(), 12);
        assert_eq!(one.as_ref().parse::<ContainerId>().unwrap(), one);
    }

    #[test]
    fn what_is_no_file_name_is_no_id() {
        for bad in ["", ".", "..", "a/b", "-a", ".a", "a b", "a\n", "é"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "..", "a/b", "../a", "a b", "a\0", "@a", &"a".repeat(256)] {
            assert!(ContainerId::of_runtime(bad).is_err(), "{bad:?}");
        }
        for good in ["-a", ".a", "a+b", "_", "...", "A-1_2.c"] {
            assert_eq!(ContainerId::of_runtime(good).unwrap().as_ref(), good);
        }
        assert!("a".repeat(LONGEST + 1).parse::<ContainerId>().is_err());
        assert!("web-1.x_y".parse::<ContainerId>().is_ok());
    }
}
