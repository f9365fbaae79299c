//! Sizes: `64m`, `0.5g`, `1GiB`, `512`. All units are of 1024, as Docker reads them.

use super::Parsed;

/// A count of bytes.
pub(crate) fn size(text: &str) -> Parsed<u64> {
    let wrong = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(wrong)? + 1;
    let number = text[..end].trim_end_matches(' ');
    let factor = factor(&text[end..]).ok_or_else(wrong)?;
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(wrong());
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if bytes < 9.2e18 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// `--memory-swap`: a size, or -1 for no limit.
pub(crate) fn swap(text: &str) -> Parsed<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    size(text).and_then(|bytes| i64::try_from(bytes).map_err(|_| format!("invalid size: '{text}'")))
}

fn factor(suffix: &str) -> Option<u64> {
    let suffix = suffix.to_ascii_lowercase();
    let power = match suffix.chars().next() {
        None => return Some(1),
        Some('b') => return (suffix == "b").then_some(1),
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    matches!(&suffix[1..], "" | "b" | "ib").then_some(1 << (10 * power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_sizes() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("1g", 1 << 30),
            ("0.5g", 1 << 29),
            ("32", 32),
            ("32b", 32),
            ("32 k", 32 << 10),
            ("32KiB", 32 << 10),
            ("2MB", 2 << 20),
            ("1T", 1 << 40),
            ("1.5kb", 1536),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "abc", "-1", "1z", "1kbx", "1.2.3m", " ", "k", "9999999p", "1bb", "-64m"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size("abc"), Err("invalid size: 'abc'".into()));
    }

    #[test]
    fn swap_may_be_unlimited() {
        assert_eq!(swap("-1"), Ok(-1));
        assert_eq!(swap("1m"), Ok(1 << 20));
        assert!(swap("-2").is_err());
    }
}
