//! `--cpus`: a decimal or a fraction, as billionths of a core.

use super::Parsed;

const CORE: u128 = 1_000_000_000;

/// Billionths of a core, exact.
pub(crate) fn cpus(text: &str) -> Parsed<u64> {
    let (above, below) = match text.split_once('/') {
        Some((above, below)) => (decimal(above), decimal(below)),
        None => (decimal(text), Some((1, 1))),
    };
    let ((a, a_scale), (b, b_scale)) = above
        .zip(below)
        .filter(|(_, (b, _))| *b > 0)
        .ok_or_else(|| format!("failed to parse {text} as a rational number"))?;
    let (above, below) = (a * b_scale * CORE, b * a_scale);
    if above % below != 0 {
        return Err("value is too precise".into());
    }
    u64::try_from(above / below).map_err(|_| format!("failed to parse {text} as a rational number"))
}

/// The digits as a whole number, and ten to the power of how many stand behind the point.
fn decimal(text: &str) -> Option<(u128, u128)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let plain =
        text.len() <= 18 && text.bytes().any(|b| b.is_ascii_digit()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain {
        return None;
    }
    let number = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    Some((number, 10_u128.pow(u32::try_from(fraction.len()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_billionths() {
        for (text, nano) in [
            ("1", 1_000_000_000),
            ("0.5", 500_000_000),
            ("1.50", 1_500_000_000),
            (".25", 250_000_000),
            ("1/4", 250_000_000),
            ("0", 0),
        ] {
            assert_eq!(cpus(text), Ok(nano), "{text}");
        }
        assert_eq!(cpus("0.0000000001"), Err("value is too precise".into()));
        assert_eq!(cpus("1/3"), Err("value is too precise".into()));
        for text in ["x", "", "-1", "1/0", "1..2", ".", "1e3000", "99999999999999999999"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }
}
