//! `-l`, `--label-file`, `--annotation`: `KEY=VALUE`, or `KEY` for an empty value.

use super::{Parsed, environment};
use failure::{Error, Result};

/// One label.
pub(crate) fn label(text: &str) -> Parsed<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    Ok((key.into(), value.into()))
}

/// The labels of a file, a line each.
pub(crate) fn file(path: &str) -> Result<Vec<(String, String)>> {
    let text = environment::read(path)?;
    let lines = environment::lines(&text, |_| Some(String::new()));
    let labels = lines.and_then(|lines| lines.iter().map(|line| label(line)).collect());
    labels.map_err(|reason: String| Error::invalid(format!("`{path}`: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(label("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert_eq!(label("a"), Ok(("a".into(), String::new())));
        assert!(label("=x").is_err());
    }
}
