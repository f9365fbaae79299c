//! The times people give to `--since` and `--until`, in all of Docker's forms.
//!
//! ```text
//! 2026-11-21T09:30:44.5+01:00   2026-11-21T09:30:44Z   2026-11-21Z     RFC 3339 and parts of it
//! 2026-11-21T09:30:44   2026-11-21T09:30   2026-11-21                 the same in local time
//! 1700000000   1700000000.5                                           seconds since 1970
//! 10m   1h30m   2.5s   1d                                             that long before now
//! ```

use failure::{Error, Result};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads a time in one of the forms above.
///
/// # Errors
/// The text is none of these.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let text = text.trim();
    seconds(text).or_else(|| before(text, now)).or_else(|| date(text)).ok_or_else(|| {
        let line =
            format!("`{text}` is no time; use one like `2026-01-31T23:59:59`, `1700000000` or `10m` (before now)");
        Error::invalid(line)
    })
}

/// Seconds since 1970, with a fraction of up to nine digits that count.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or((1, whole), |digits| (-1, digits));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || !all_digits(digits) || !all_digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9.9}").parse::<i32>().ok()?;
    Timestamp::new(digits.parse::<i64>().ok()? * i64::from(sign), nanoseconds * sign).ok()
}

/// Numbers with units, one after the other, before `now`.
fn before(text: &str, now: Timestamp) -> Option<Timestamp> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    let duration = (!text.is_empty()).then(|| SignedDuration::try_from_secs_f64(total).ok())??;
    now.checked_sub(duration).ok()
}

/// A date, perhaps with a time, perhaps with a zone.
fn date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let (local, zone) = match text.strip_suffix('Z') {
        Some(local) => (local, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    // A bare hour or minute is a time that the parser wants with a colon.
    let civil = match local.parse::<DateTime>() {
        Ok(time) => time,
        Err(_) => local.parse::<Date>().ok()?.at(0, 0, 0, 0),
    };
    Some(civil.to_zoned(zone).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let time = parse_time(text, now).map(|time| time.to_string()).unwrap_or_else(|error| error.to_string());
        assert_eq!(time, expect, "{text}");
    }

    #[test]
    fn dates() {
        check("2026-11-21T09:30:44.5+01:00", "2026-11-21T08:30:44.5Z");
        check("2026-11-21T09:30:44Z", "2026-11-21T09:30:44Z");
        check("2026-11-21Z", "2026-11-21T00:00:00Z");
        check("2026-11-21T09:30Z", "2026-11-21T09:30:00Z");
    }

    #[test]
    fn seconds_since_1970() {
        check("1700000000", "2023-11-14T22:13:20Z");
        check("1700000000.25", "2023-11-14T22:13:20.25Z");
        check("0", "1970-01-01T00:00:00Z");
    }

    #[test]
    fn durations_before_now() {
        check("10m", "2026-11-21T11:50:00Z");
        check("1h30m", "2026-11-21T10:30:00Z");
        check("2.5s", "2026-11-21T11:59:57.5Z");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "m", "10x", "yesterday", "1.2.3", "10m ago", "99999999999999999999", "2026-13-01"] {
            assert!(parse_time(text, Timestamp::now()).is_err(), "{text}");
        }
    }

    #[test]
    fn local_time_is_read() {
        assert!(parse_time("2026-11-21T09:30:44", Timestamp::now()).is_ok());
        assert!(parse_time("2026-11-21", Timestamp::now()).is_ok());
    }
}
