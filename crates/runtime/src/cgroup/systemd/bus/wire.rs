//! D-Bus on the wire: numbers at multiples of their size, texts with a length in front and a zero behind.
//!
//! | signature | bytes |
//! |---|---|
//! | `y` `b` `u` `t` | 1, 4, 4, 8, aligned to that |
//! | `s` `o` | length `u`, bytes, 0 |
//! | `g` | length `y`, bytes, 0 |
//! | `a...` | length in bytes `u`, padding to the first element, elements |
//! | `(...)` | aligned to 8, members |
//! | `v` | signature `g`, value |
//!
//! Written in this machine's usual order, little end first; read in the order that a message says. What is read came
//! from somebody else: every length is checked, and nothing is allocated by it.

/// A value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Value {
    /// `b`
    Flag(bool),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// Bytes to be sent.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

/// Bytes that came.
#[derive(Clone, Debug)]
pub(in super::super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl Value {
    const fn signature(&self) -> &'static str {
        match self {
            Self::Flag(_) => "b",
            Self::Number(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

impl Writer {
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.number(u32::from(value));
    }

    pub(super) fn text(&mut self, value: &str) {
        self.number(length(value.len()));
        self.0.extend_from_slice(value.as_bytes());
        self.byte(0);
    }

    /// Signatures here are short constants.
    pub(super) fn signature(&mut self, value: &str) {
        self.byte(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(value.as_bytes());
        self.byte(0);
    }

    /// An array whose elements are aligned so; its length is known once they are written.
    pub(super) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let size = length(self.0.len() - start).to_le_bytes();
        self.0[place..place + 4].copy_from_slice(&size);
    }

    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Flag(flag) => self.flag(*flag),
            Value::Number(number) => {
                self.align(8);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, |writer| writer.0.extend_from_slice(bytes)),
            Value::Numbers(numbers) => self.array(4, |writer| numbers.iter().for_each(|number| writer.number(*number))),
            Value::Pairs(pairs) => self.array(8, |writer| {
                for (first, second) in pairs {
                    writer.align(8);
                    writer.text(first);
                    writer.text(second);
                }
            }),
        }
    }

    /// `a(sv)`: how systemd takes properties.
    pub(super) fn properties(&mut self, properties: &[(String, Value)]) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.align(8);
                writer.text(name);
                writer.variant(value);
            }
        });
    }
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], little: bool) -> Self {
        Self { bytes, at: 0, little }
    }

    pub(super) const fn position(&self) -> usize {
        self.at
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(in super::super) fn number(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    pub(in super::super) fn text(&mut self) -> Option<&'a str> {
        let length = self.number()? as usize;
        self.ended(length)
    }

    pub(super) fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()? as usize;
        self.ended(length)
    }

    /// The text in a variant; none if it holds something else.
    pub(in super::super) fn text_in_variant(&mut self) -> Option<&'a str> {
        match self.signature()? {
            "s" | "o" => self.text(),
            _ => None,
        }
    }

    fn ended(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0 && !text.contains('\0')).then_some(text)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_laid_out_as_the_specification_says() {
        let mut writer = Writer::default();
        writer.byte(7);
        writer.number(1);
        writer.text("ab");
        writer.variant(&Value::Number(2));
        assert_eq!(
            writer.finish(),
            [
                7, 0, 0, 0, 1, 0, 0, 0, // y, padding, u
                2, 0, 0, 0, b'a', b'b', 0, // s
                1, b't', 0, 0, 0, 0, 0, 0, 0, // v: g, padding to 8
                2, 0, 0, 0, 0, 0, 0, 0,
            ]
        );
        let mut writer = Writer::default();
        writer
            .properties(&[("P".into(), Value::Pairs(vec![("a".into(), "b".into())])), ("Q".into(), Value::Flag(true))]);
        assert_eq!(
            writer.finish(),
            [
                56, 0, 0, 0, 0, 0, 0, 0, // length, padding to the first struct
                1, 0, 0, 0, b'P', 0, 5, b'a', b'(', b's', b's', b')', 0, 0, 0, 0, // s, v: g, padding
                14, 0, 0, 0, 0, 0, 0, 0, // a: length, padding to its first struct
                1, 0, 0, 0, b'a', 0, 0, 0, 1, 0, 0, 0, b'b', 0, // (ss)
                0, 0, // to the next struct
                1, 0, 0, 0, b'Q', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0,
            ]
        );
    }

    #[test]
    fn what_came_is_read_within_its_bounds() {
        let mut writer = Writer::default();
        writer.text("unit");
        writer.variant(&Value::Text("x".into()));
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes, true);
        assert_eq!((reader.text(), reader.text_in_variant(), reader.byte()), (Some("unit"), Some("x"), None));
        assert_eq!(Reader::new(&[0, 0, 0, 9], false).number(), Some(9));
        for bad in [
            &[255, 255, 255, 255, b'a', 0][..],
            &[1, 0, 0, 0, b'a', 1],
            &[2, 0, 0, 0, b'a', 0, 0],
            &[1, 0, 0],
            &[1, 0, 0, 0, 0xff, 0],
        ] {
            assert_eq!(Reader::new(bad, true).text(), None, "{bad:?}");
        }
    }
}
