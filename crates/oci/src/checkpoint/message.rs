//! The few protocol buffers that CRIU's service speaks, written and read by hand.
//!
//! ```text
//!   message   field ...              field   key varint (number << 3 | form), then
//!   form 0    a varint: 7 bits a byte, the lowest first, the top bit says that more follow
//!   form 2    a length as varint, and so many bytes: text, or a message
//! ```
//! Fields of other forms do not occur in this protocol; unknown ones are passed over. Numbers are those of `rpc.proto`.

use failure::{Error, Result};

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A number, an enumeration's or a descriptor's.
    pub(crate) fn number(&mut self, field: u32, value: u64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    /// A truth; what is false is left out.
    pub(crate) fn flag(&mut self, field: u32, value: bool) -> &mut Self {
        if value { self.number(field, 1) } else { self }
    }

    /// Text or bytes.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message in the message.
    pub(crate) fn part(&mut self, field: u32, value: &Self) -> &mut Self {
        self.bytes(field, &value.0)
    }

    /// As it is sent.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The number; zero of bytes.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Number(value) => value,
            Self::Bytes(_) => 0,
        }
    }

    /// The text; empty of a number.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Number(_) => String::new(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// The fields of a message.
///
/// # Errors
/// It ends in the middle of a field, or has one of another form.
pub(crate) fn fields(mut bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| malformed())?;
                let (value, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return Err(malformed()),
        };
        fields.push((u32::try_from(key >> 3).map_err(|_| malformed())?, value));
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed())
}

fn malformed() -> Error {
    Error::internal("criu has answered with something that is no message of its protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_protocol_buffers_write_them() {
        let mut part = Message::default();
        part.bytes(1, b"abc");
        let mut message = Message::default();
        message.number(1, 150).flag(2, false).flag(3, true).part(25, &part);
        assert_eq!(message.as_bytes(), b"\x08\x96\x01\x18\x01\xca\x01\x05\x0a\x03abc");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut message = Message::default();
        message.number(34, u64::MAX).bytes(10, b"dump.log");
        let read = fields(message.as_bytes()).unwrap();
        assert_eq!(read, [(34, Value::Number(u64::MAX)), (10, Value::Bytes(b"dump.log"))]);
    }

    #[test]
    fn what_is_cut_off_or_strange_is_an_error() {
        for bytes in [&b"\x08"[..], b"\x0a\x05ab", b"\x0d\x01\x02\x03\x04", &[0xff; 12]] {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
    }
}
