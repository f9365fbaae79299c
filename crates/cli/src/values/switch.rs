//! Booleans as Go reads them: `1 t T TRUE true True`, `0 f F FALSE false False`.

use super::Parsed;

/// `--flag=VALUE`
pub(crate) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        assert_eq!((boolean("true"), boolean("F")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err());
    }
}
