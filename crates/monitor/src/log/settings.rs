//! Where a container's output goes: `--log-driver` and `--log-opt`.
//!
//! Docker's json-file driver with its options `max-size` and `max-file`, but rotated by default (10 MB, 3 files), so
//! that no container fills the disk; `max-size=-1` is Docker's way to say "never rotate". And `none`.

use failure::{Error, Result};
use serde::{Deserialize, Serialize};

/// What keeps the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// JSON lines in rotated files.
    #[default]
    JsonFile,
    /// Nothing keeps it.
    None,
}

/// How output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What keeps it.
    pub driver: Driver,
    /// A file is rotated away before it grows beyond this many bytes; `None`: never.
    pub max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { driver: Driver::JsonFile, max_size: Some(10 << 20), max_files: 3 }
    }
}

impl Settings {
    /// Reads `--log-driver` (empty: the default) and the `key=value` pairs of `--log-opt`.
    ///
    /// # Errors
    /// The driver or an option is unknown, or a value is wrong.
    pub fn parse<'a>(driver: &str, options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let driver = match driver {
            "" | "json-file" => Driver::JsonFile,
            "none" => Driver::None,
            other => {
                let line = format!("log driver `{other}` is not known; use `json-file` or `none`");
                return Err(Error::unsupported(line));
            }
        };
        let mut settings = Self { driver, ..Self::default() };
        for (key, value) in options {
            match (driver, key) {
                (Driver::JsonFile, "max-size") => settings.max_size = parse_size(value)?,
                (Driver::JsonFile, "max-file") => settings.max_files = parse_files(value)?,
                (Driver::JsonFile, "mode") if value == "blocking" => {}
                (Driver::JsonFile, _) => {
                    let line = format!("log option `{key}={value}` is not known; use `max-size` and `max-file`");
                    return Err(Error::unsupported(line));
                }
                (Driver::None, _) => {
                    return Err(Error::invalid(format!("log option `{key}`: log driver `none` takes no options")));
                }
            }
        }
        Ok(settings)
    }

    /// The name of the driver.
    pub fn driver_name(&self) -> &'static str {
        match self.driver {
            Driver::JsonFile => "json-file",
            Driver::None => "none",
        }
    }

    /// The options in the form that [`Settings::parse`] reads, for `inspect`.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        match self.driver {
            Driver::None => Vec::new(),
            Driver::JsonFile => {
                let size = self.max_size.map_or_else(|| "-1".to_owned(), print_size);
                vec![("max-size", size), ("max-file", self.max_files.to_string())]
            }
        }
    }
}

/// Docker's sizes: a number (with a fraction), a unit of 1024s (b k m g t, or with `b` or `ib`), or -1.
fn parse_size(text: &str) -> Result<Option<u64>> {
    let wrong =
        || Error::invalid(format!("log option `max-size={text}` is no size; use one like `10m`, or -1 for no limit"));
    if text == "-1" {
        return Ok(None);
    }
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic() || character == ' ');
    let shift = match lower[digits.len()..].trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * (1_u64 << shift) as f64;
    if bytes.is_finite() && (1.0..9e18).contains(&bytes) { Ok(Some(bytes as u64)) } else { Err(wrong()) }
}

fn print_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
        if bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn parse_files(text: &str) -> Result<u32> {
    let wrong = || Error::invalid(format!("log option `max-file={text}` is no number of files; use 1 to 1000"));
    text.parse().ok().filter(|files| (1..=1000).contains(files)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_options_are_read() {
        let settings = Settings::parse("json-file", [("max-size", "1.5k"), ("max-file", "7")]).unwrap();
        assert_eq!((settings.max_size, settings.max_files), (Some(1536), 7));
        assert_eq!(Settings::parse("", []).unwrap(), Settings::default());
        assert_eq!(Settings::parse("", [("max-size", "-1")]).unwrap().max_size, None);
        assert_eq!(Settings::parse("none", []).unwrap().driver, Driver::None);
    }

    #[test]
    fn wrong_values_are_named() {
        for (driver, option) in [
            ("syslog", ("a", "b")),
            ("", ("max-size", "ten")),
            ("", ("max-size", "0")),
            ("", ("max-size", "1e999g")),
            ("", ("max-file", "0")),
            ("", ("compress", "true")),
            ("none", ("max-size", "1m")),
        ] {
            assert!(Settings::parse(driver, [option]).is_err(), "{driver} {option:?}");
        }
    }

    #[test]
    fn options_are_printed_as_they_are_read() {
        let settings = Settings { max_size: Some(1537), ..Settings::default() };
        let options = settings.options();
        let read = Settings::parse("", options.iter().map(|(key, value)| (*key, value.as_str()))).unwrap();
        assert_eq!(read, settings);
        assert_eq!(Settings::default().options()[0].1, "10m");
    }
}
