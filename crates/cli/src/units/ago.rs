//! Spans of time as Docker shows them: `About a minute`, `3 weeks ago`.

use jiff::Timestamp;

/// `5 minutes`, from a count of seconds.
pub(crate) fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds as f64 / 3600.0 + 0.5) as i64;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `5 minutes ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.as_second() - then.as_second()))
}

/// A moment in the caller's time zone, as Go prints it: `2026-11-21 09:19:36 +0000 UTC`.
pub(crate) fn local(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_go_units() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (MINUTE, "About a minute"),
            (3 * MINUTE, "3 minutes"),
            (35 * MINUTE + 40, "35 minutes"),
            (HOUR, "About an hour"),
            (89 * MINUTE, "About an hour"),
            (90 * MINUTE, "2 hours"),
            (3 * HOUR, "3 hours"),
            (24 * HOUR, "24 hours"),
            (2 * DAY, "2 days"),
            (7 * DAY, "7 days"),
            (13 * DAY + 5 * HOUR, "13 days"),
            (2 * 7 * DAY, "2 weeks"),
            (35 * DAY, "5 weeks"),
            (2 * 30 * DAY, "2 months"),
            (24 * 30 * DAY, "24 months"),
            (3 * 365 * DAY, "3 years"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }
}
