//! One record of a log, as Docker's json-file driver writes it, with two keys more where they are needed.
//!
//! ```text
//! {"log":"text\n","stream":"stdout","time":"2026-11-21T09:30:44.123456789Z"}                a line
//! {"log":"long ","stream":"stdout","time":"..."}                                            no \n: the line goes on
//! {"log":"line\n","stream":"stdout","time":"...","continues":true}                          ... in this record
//! {"log":"a\ufffdb\n","stream":"stderr","time":"...","raw":"YYBiCg=="}                      not UTF-8
//! ```
//!
//! `log` is for every reader of Docker's format; where the bytes are no valid UTF-8 it holds U+FFFD for what
//! is not, and `raw` holds the exact bytes in base64. `continues` marks a record that does not begin a line.

use std::borrow::Cow;
use std::io::Write as _;

use jiff::Timestamp;
use serde::Deserialize;

use super::base64;

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// A number for tables of two.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The part of a record after its text, the same for all records of a chunk.
#[derive(Debug, Default)]
pub(super) struct Trailer(Vec<u8>);

impl Trailer {
    /// Makes it anew, in the same memory.
    pub(super) fn set(&mut self, stream: Stream, time: Timestamp) {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        self.0.clear();
        // Writing to memory cannot fail.
        let _ = write!(self.0, r#"","stream":"{stream}","time":"{time:.9}""#);
    }
}

/// Appends a record.
pub(super) fn encode(piece: &[u8], continues: bool, trailer: &Trailer, output: &mut Vec<u8>) {
    output.extend_from_slice(br#"{"log":""#);
    let valid = str::from_utf8(piece).is_ok();
    if valid {
        escape(piece, output);
    } else {
        escape(String::from_utf8_lossy(piece).as_bytes(), output);
    }
    output.extend_from_slice(&trailer.0);
    if continues {
        output.extend_from_slice(br#","continues":true"#);
    }
    if !valid {
        output.extend_from_slice(br#","raw":""#);
        base64::encode(piece, output);
        output.push(b'"');
    }
    output.extend_from_slice(b"}\n");
}

/// A record as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded<'a> {
    pub(super) stream: Stream,
    pub(super) time: Timestamp,
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) continues: bool,
}

impl Decoded<'_> {
    /// Whether the line ends here.
    pub(super) fn ends_line(&self) -> bool {
        self.bytes.last() == Some(&b'\n')
    }
}

/// Reads a line of a log file; `None` if it is no record (cut off by a crash, or damaged).
pub(super) fn decode(line: &[u8]) -> Option<Decoded<'_>> {
    let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
    let stream = match fields.stream {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let bytes = match (fields.raw, fields.log) {
        (None, Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        (None, Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        (Some(raw), _) => {
            let mut bytes = Vec::new();
            base64::decode(raw.as_bytes(), &mut bytes)?;
            Cow::Owned(bytes)
        }
    };
    Some(Decoded { stream, time: fields.time.parse().ok()?, bytes, continues: fields.continues })
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    stream: &'a str,
    time: &'a str,
    #[serde(default)]
    continues: bool,
    #[serde(default)]
    raw: Option<&'a str>,
}

/// Appends text as the inside of a JSON string.
fn escape(text: &[u8], output: &mut Vec<u8>) {
    let mut done = 0;
    for (at, &byte) in text.iter().enumerate() {
        if !NEEDS_ESCAPE[usize::from(byte)] {
            continue;
        }
        output.extend_from_slice(&text[done..at]);
        done = at + 1;
        match byte {
            b'"' => output.extend_from_slice(b"\\\""),
            b'\\' => output.extend_from_slice(b"\\\\"),
            b'\n' => output.extend_from_slice(b"\\n"),
            b'\r' => output.extend_from_slice(b"\\r"),
            b'\t' => output.extend_from_slice(b"\\t"),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
                output.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    output.extend_from_slice(&text[done..]);
}

/// Which bytes a JSON string cannot hold as they are.
const NEEDS_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn record(piece: &[u8], continues: bool) -> String {
        let mut trailer = Trailer::default();
        trailer.set(Stream::Stdout, Timestamp::new(1_700_000_000, 5).unwrap());
        let mut output = Vec::new();
        encode(piece, continues, &trailer, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_line_is_dockers_record() {
        let expect = r#"{"log":"say \"hi\"\t\\\u001b[0m\n","stream":"stdout","time":"2023-11-14T22:13:20.000000005Z"}"#;
        assert_eq!(record(b"say \"hi\"\t\\\x1b[0m\n", false), format!("{expect}\n"));
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for (piece, continues) in
            [(&all[..], false), (b"plain\n", true), (b"", false), ("\u{2028}é\n".as_bytes(), false)]
        {
            let line = record(piece, continues);
            let decoded = decode(line.trim_end().as_bytes()).unwrap();
            assert_eq!(decoded.bytes.as_ref(), piece);
            assert_eq!(decoded.continues, continues);
            assert_eq!(decoded.time, Timestamp::new(1_700_000_000, 5).unwrap());
        }
    }

    #[test]
    fn what_is_not_text_says_so() {
        assert!(
            record(b"a\xffb", false).contains("\"a\u{fffd}b\"")
                && record(b"a\xffb", false).contains("\"raw\":\"Yf9i\"")
        );
    }

    #[test]
    fn damaged_lines_are_no_records() {
        for line in ["", "{", r#"{"log":"x"}"#, r#"{"log":"x","stream":"stdin","time":"2023-11-14T22:13:20Z"}"#] {
            assert_eq!(decode(line.as_bytes()), None);
        }
    }
}
