//! `SOURCE_DATE_EPOCH`: when what is made counts as made, so that it comes out the same again.

use failure::{Error, Result};

const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The seconds since 1970 that the environment gives, if it does.
///
/// # Errors
/// It gives something else: that would be meant, and missed.
pub(crate) fn epoch() -> Result<Option<i64>> {
    std::env::var_os(VARIABLE).map_or(Ok(None), |value| parse(&value.to_string_lossy()))
}

fn parse(text: &str) -> Result<Option<i64>> {
    match text.parse::<u32>() {
        _ if text.is_empty() => Ok(None),
        Ok(seconds) => Ok(Some(seconds.into())),
        Err(_) => {
            let shown = text.escape_debug();
            Err(Error::invalid(format!("{VARIABLE} is `{shown}`; it must be seconds since 1970, or not set")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seconds_are_taken() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("1700000000").unwrap(), Some(1_700_000_000));
        for wrong in ["now", "-1", "1.5", " 1", "99999999999"] {
            assert!(parse(wrong).unwrap_err().to_string().contains("SOURCE_DATE_EPOCH"), "{wrong}");
        }
    }
}
