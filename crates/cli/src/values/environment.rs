//! `-e` and `--env-file`.
//!
//! `NAME=value` sets a variable. `NAME` alone takes the caller's own; where the caller has none, `-e NAME` removes what the
//! image sets, and a line of a file does nothing. Lines of a file: white space before is skipped, `#` begins a
//! comment, nothing is unquoted.

use super::Parsed;
use failure::{Context as _, Error, Result};

/// One `-e`, resolved.
pub(crate) fn variable(text: &str) -> Parsed<String> {
    resolve(text, |name| std::env::var(name).ok())
}

fn resolve(text: &str, own: impl Fn(&str) -> Option<String>) -> Parsed<String> {
    match text.split_once('=') {
        _ if text.starts_with('=') || text.is_empty() => Err(format!("invalid environment variable: {text}")),
        Some(_) => Ok(text.into()),
        None => Ok(own(text).map_or_else(|| text.to_owned(), |value| format!("{text}={value}"))),
    }
}

/// The variables of an environment file.
pub(crate) fn file(path: &str) -> Result<Vec<String>> {
    let text = read(path)?;
    lines(&text, |name| std::env::var(name).ok()).map_err(|reason| Error::invalid(format!("`{path}`: {reason}")))
}

/// A text file; a byte order mark is dropped.
pub(super) fn read(path: &str) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("open `{path}`"))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::invalid(format!("`{path}` is not UTF-8 text")))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The variables of a file's text; `own` gives the values of names without one.
pub(super) fn lines(text: &str, own: impl Fn(&str) -> Option<String>) -> Parsed<Vec<String>> {
    let mut variables = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, own(line)),
        };
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        variables.extend(value.map(|value| format!("{name}={value}")));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn one_variable() {
        assert_eq!(resolve("A=b=c", own), Ok("A=b=c".into()));
        assert_eq!(resolve("A=", own), Ok("A=".into()));
        assert_eq!(resolve("HOME", own), Ok("HOME=/root".into()));
        assert_eq!(resolve("NONE", own), Ok("NONE".into()));
        assert!(resolve("=x", own).is_err() && resolve("", own).is_err());
    }

    #[test]
    fn a_file() {
        let text = "# comment\nA=1\n  B='two words' # kept\n\nHOME\nNONE\nC=\n\tD=x\t\r\n";
        assert_eq!(lines(text, own).unwrap(), ["A=1", "B='two words' # kept", "HOME=/root", "C=", "D=x\t"]);
        assert_eq!(lines("=x", own), Err("no variable name on line '=x'".into()));
        assert_eq!(lines("a b=x", own), Err("variable 'a b' contains whitespaces".into()));
    }
}
