//! `--filter NAME=VALUE`.

use crate::values::Parsed;

/// One filter.
pub(super) fn filter(text: &str) -> Parsed<(String, String)> {
    let pair = text.split_once('=').map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()));
    pair.ok_or_else(|| "bad format of filter (expected name=value)".into())
}
