//! Sizes as Docker shows them: thousands for images and layers (`1.23MB`), 1024s for memory (`63.4MiB`).

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// `12.34MB`: four digits, units of a thousand.
pub(crate) fn decimal(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, DECIMAL, 4)
}

/// `12.3MB`: three digits, as in tables of images and containers.
pub(crate) fn decimal_short(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, DECIMAL, 3)
}

/// `63.42MiB`: four digits, units of 1024.
pub(crate) fn binary(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, BINARY, 4)
}

fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// `%.Ng` of Go for numbers from 0 to 1024: N digits, no zeros at the end.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_go_units() {
        assert_eq!(decimal(1000), "1kB");
        assert_eq!(decimal(1024), "1.024kB");
        assert_eq!(decimal(1_000_000), "1MB");
        assert_eq!(decimal(1_048_576), "1.049MB");
        assert_eq!(decimal(2_000_000), "2MB");
        assert_eq!(decimal(3_420_000), "3.42MB");
        assert_eq!(decimal(5_372_000_000), "5.372GB");
        assert_eq!(decimal(2_220_000_000_000), "2.22TB");
        assert_eq!(binary(1024), "1KiB");
        assert_eq!(binary(1024 * 1024), "1MiB");
        assert_eq!(binary(1_073_741_824 * 7 / 2), "3.5GiB");
        assert_eq!(binary(0), "0B");
    }

    #[test]
    fn tables_have_three_digits() {
        assert_eq!(decimal_short(4_261_502), "4.26MB");
        assert_eq!(decimal_short(117_012_345), "117MB");
        assert_eq!(decimal_short(999), "999B");
        assert_eq!(decimal_short(0), "0B");
        assert_eq!(decimal_short(10_049), "10kB");
    }
}
