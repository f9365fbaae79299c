//! `skep.toml`: what the engine does without being asked. Optional; every key has a default.
//!
//! ```text
//! /etc/skep/skep.toml      [images]                      (with SKEP_CONFIG in that directory instead)
//!                          collect = true                # delete garbage after commands that add images, at most hourly
//!                          dangling_after = "7d"         # images that lost their last name, this long after
//!                          named_after = "none"          # images with a name that no container uses, this long after they came
//!                          resume_for = "1d"             # how long what a cut-off pull had fetched waits for the next
//!                          free_space = "10%"            # less than this (at most 10GiB where it is a part): all garbage at once
//! ```
//! A key that nobody knows is an error with its line: a typing mistake must not switch off what it was to set.

use std::path::Path;
use std::time::Duration;

use failure::{Context as _, Error, Result};
use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A part of a large disk is more than anybody wants to keep free.
const MOST_FREE: u64 = 10 << 30;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether garbage is collected without being asked for.
    pub collect: bool,
    /// When images without a name go; none: never.
    pub dangling_after: Option<Duration>,
    /// When images with a name go that no container uses; none: never.
    pub named_after: Option<Duration>,
    /// How long what a cut-off pull had fetched is kept.
    pub resume_for: Duration,
    /// How much of the disk should be free.
    pub free_space: FreeSpace,
}

/// A part of the disk, or a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeSpace {
    /// Hundredths of the file system.
    Percent(u64),
    /// Bytes.
    Bytes(u64),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            collect: true,
            dangling_after: Some(7 * DAY),
            named_after: None,
            resume_for: DAY,
            free_space: FreeSpace::Percent(10),
        }
    }
}

impl FreeSpace {
    /// The bytes that should be free on a file system of this size.
    pub fn wanted(self, size: u64) -> u64 {
        match self {
            Self::Percent(percent) => (size / 100).saturating_mul(percent).min(MOST_FREE),
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    images: Images,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Images {
    collect: Option<bool>,
    dangling_after: Option<String>,
    named_after: Option<String>,
    resume_for: Option<String>,
    free_space: Option<String>,
}

impl Settings {
    /// Reads a file; the defaults if there is none.
    ///
    /// # Errors
    /// It cannot be read, or says something that is not understood.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read `{}`", path.display())),
        }
    }

    fn parse(text: &str, name: &str) -> Result<Self> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Error::invalid(format!("`{name}`, line {line}: {}", error.message().replace('\n', " ")))
        })?;
        let default = Self::default();
        let images = document.images;
        let age = |key: &str, text: Option<String>, default| match text.as_deref() {
            None => Ok(default),
            Some("none") => Ok(None),
            Some(text) => duration(text).map(Some).ok_or_else(|| wrong(name, key, text, "`7d`, `12h`, `none`")),
        };
        let resume_for = age("resume_for", images.resume_for, Some(default.resume_for))?;
        let free_space = match images.free_space.as_deref() {
            None => default.free_space,
            Some("none") => FreeSpace::Bytes(0),
            Some(text) => space(text).ok_or_else(|| wrong(name, "free_space", text, "`10%`, `20GB`, `none`"))?,
        };
        Ok(Self {
            collect: images.collect.unwrap_or(default.collect),
            dangling_after: age("dangling_after", images.dangling_after, default.dangling_after)?,
            named_after: age("named_after", images.named_after, default.named_after)?,
            resume_for: resume_for.unwrap_or_default(),
            free_space,
        })
    }

    /// What is collected, in a few words for people.
    pub fn summary(&self) -> String {
        if !self.collect {
            return "off".to_owned();
        }
        let age = |age: Option<Duration>| age.map_or_else(|| "never".to_owned(), |age| format!("after {}", shown(age)));
        let free = match self.free_space {
            FreeSpace::Percent(percent) => format!("{percent}%"),
            FreeSpace::Bytes(bytes) => format!("{bytes}B"),
        };
        let (dangling, named) = (age(self.dangling_after), age(self.named_after));
        format!("dangling images {dangling}, unused named images {named}, all garbage below {free} of free space")
    }
}

fn wrong(file: &str, key: &str, text: &str, examples: &str) -> Error {
    Error::invalid(format!(
        "`{file}`: `{key} = \"{}\"` is not understood; write one as {examples}",
        text.escape_debug()
    ))
}

const UNITS: [(&str, u64); 5] = [("w", 7 * 86_400), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// `7d`, `12h`, `30m`.
fn duration(text: &str) -> Option<Duration> {
    let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    number.checked_mul(*seconds).map(Duration::from_secs)
}

fn shown(age: Duration) -> String {
    let seconds = age.as_secs();
    let fits = |(_, unit): &&(&str, u64)| seconds.is_multiple_of(*unit) && seconds >= *unit;
    // Weeks are written by few, and read by fewer.
    let (unit, length) = UNITS[1..].iter().find(fits).copied().unwrap_or(("s", 1));
    format!("{}{unit}", seconds / length)
}

/// `10%`, `20GB`, `512MiB`, bytes.
fn space(text: &str) -> Option<FreeSpace> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.trim().parse().ok().filter(|percent| *percent <= 100).map(FreeSpace::Percent);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).map(FreeSpace::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings> {
        Settings::parse(text, "skep.toml")
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        assert_eq!(parse("").unwrap(), Settings::default());
        let text = "[images]\ncollect = false\ndangling_after = \"36h\"\nnamed_after = \"4w\"\nresume_for = \"none\"\n\
                    free_space = \"20GB\"\n";
        let expected = Settings {
            collect: false,
            dangling_after: Some(Duration::from_secs(36 * 3600)),
            named_after: Some(28 * DAY),
            resume_for: Duration::ZERO,
            free_space: FreeSpace::Bytes(20_000_000_000),
        };
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn what_nobody_knows_is_an_error_with_its_line() {
        let error = parse("[images]\ncollect = true\ndangling = \"7d\"\n").unwrap_err().to_string();
        assert!(error.starts_with("`skep.toml`, line 3: unknown field `dangling`"), "{error}");
        assert!(parse("[image]\n").unwrap_err().to_string().contains("line 1"));
        assert!(parse("[images]\ncollect = 1\n").unwrap_err().to_string().contains("line 2"));
        for line in ["dangling_after = \"7 moons\"", "free_space = \"101%\"", "free_space = \"ten\""] {
            let error = parse(&format!("[images]\n{line}")).unwrap_err().to_string();
            assert!(error.contains(line) && error.contains("write one as"), "{error}");
        }
    }

    #[test]
    fn a_part_of_a_large_disk_is_bounded() {
        assert_eq!(FreeSpace::Percent(10).wanted(50_000_000_000), 5_000_000_000);
        assert_eq!(FreeSpace::Percent(10).wanted(10 << 40), 10 << 30);
        assert_eq!(FreeSpace::Bytes(5).wanted(1), 5);
    }

    #[test]
    fn it_is_told_in_a_few_words() {
        let all = "dangling images after 7d, unused named images never, all garbage below 10% of free space";
        assert_eq!(Settings::default().summary(), all);
        assert_eq!(parse("[images]\ncollect = false").unwrap().summary(), "off");
    }
}
