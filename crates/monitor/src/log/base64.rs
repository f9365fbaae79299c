//! Base64 (RFC 4648, padded), for the rare record that is not text.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the encoding of `bytes`.
pub(super) fn encode(bytes: &[u8], output: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit) & 63) as usize;
            output.push(if digit <= group.len() { ALPHABET[value] } else { b'=' });
        }
    }
}

/// Decodes into `output`, which is emptied first; `None` if it is not base64.
pub(super) fn decode(text: &[u8], output: &mut Vec<u8>) -> Option<()> {
    output.clear();
    for group in text.chunks(4) {
        let digits = group.iter().take_while(|byte| **byte != b'=').count();
        if group.len() != 4 || digits < 2 || group[digits..].iter().any(|byte| *byte != b'=') {
            return None;
        }
        let mut word = 0;
        for byte in &group[..digits] {
            word = word << 6 | value(*byte)?;
        }
        let bytes = (word << (6 * (4 - digits)) << 8).to_be_bytes();
        output.extend_from_slice(&bytes[..digits - 1]);
    }
    Some(())
}

fn value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let mut encoded = Vec::new();
            encode(plain.as_bytes(), &mut encoded);
            assert_eq!(encoded, text.as_bytes());
            let mut decoded = vec![1];
            assert_eq!(decode(text.as_bytes(), &mut decoded), Some(()));
            assert_eq!(decoded, plain.as_bytes());
        }
    }

    #[test]
    fn all_bytes_come_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
        encode(&bytes, &mut encoded);
        decode(&encoded, &mut decoded).unwrap();
        assert_eq!(decoded, bytes);
        assert_eq!(decode(b"Zg=", &mut decoded), None);
        assert_eq!(decode(b"Z===", &mut decoded), None);
        assert_eq!(decode(b"Z-==", &mut decoded), None);
    }
}
