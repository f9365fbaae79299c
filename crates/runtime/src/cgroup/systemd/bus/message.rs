//! D-Bus messages: a fixed part, header fields, padding to 8, the body.
//!
//! ```text
//!   'l' type flags 1 | length of the body | serial | a(yv): 1 path 2 interface 3 member 4 error 5 reply to
//!                                                           6 destination 7 sender 8 signature | padding | body
//! ```

use super::wire::{Reader, Writer};

/// The part of a message that says how long the rest is.
pub(super) const FIXED: usize = 16;
/// No message that is waited for here is longer; the protocol's own bound is 128 MiB.
const LONGEST: usize = 16 << 20;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A method to call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
}

/// A message that came.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    #[cfg(test)]
    pub(super) serial: u32,
    pub(super) reply_to: Option<u32>,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) sender: String,
    pub(super) signature: String,
    bytes: Vec<u8>,
    body: usize,
    little: bool,
}

impl Call<'_> {
    /// The bytes of the call with a body.
    pub(super) fn bytes(&self, serial: u32, body: &[u8]) -> Vec<u8> {
        let mut writer = header(1, serial, body.len());
        writer.array(8, |writer| {
            let texts = [
                (1, 'o', Some(self.path)),
                (2, 's', Some(self.interface)),
                (3, 's', Some(self.member)),
                (6, 's', self.destination),
            ];
            for (code, kind, value) in texts {
                if let Some(value) = value {
                    field(writer, code, kind);
                    writer.text(value);
                }
            }
            signature(writer, self.signature);
        });
        finish(writer, body)
    }
}

impl Message {
    /// How long the whole message is, by its fixed part; `None` if that is no message.
    pub(super) fn length(fixed: &[u8; FIXED]) -> Option<usize> {
        let little = order(fixed[0])?;
        let mut reader = Reader::new(fixed, little);
        let body = {
            reader.number()?;
            reader.number()? as usize
        };
        reader.number()?;
        let fields = reader.number()? as usize;
        let length = FIXED.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
        (fixed[3] == 1 && length <= LONGEST).then_some(length)
    }

    /// Reads a whole message.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let little = order(*bytes.first()?)?;
        let kind = match bytes.get(1)? {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return None,
        };
        let mut reader = Reader::new(&bytes, little);
        reader.number()?;
        reader.number()?;
        let _serial = reader.number()?;
        let end = reader.number()? as usize + FIXED;
        let (mut reply_to, mut texts) = (None, [const { String::new() }; 9]);
        while reader.position() < end {
            reader.align(8);
            let code = usize::from(reader.byte()?);
            match reader.signature()? {
                "u" => {
                    let number = reader.number()?;
                    reply_to = if code == 5 { Some(number) } else { reply_to };
                }
                "s" | "o" => reader.text()?.clone_into(texts.get_mut(code)?),
                "g" => reader.signature()?.clone_into(texts.get_mut(code)?),
                _ => return None,
            }
        }
        reader.align(8);
        let body = reader.position();
        let [_, _, _, member, error, _, _, sender, signature] = texts;
        (body <= bytes.len()).then_some(Self {
            kind,
            #[cfg(test)]
            serial: _serial,
            reply_to,
            member,
            error,
            sender,
            signature,
            bytes,
            body,
            little,
        })
    }

    /// The body, to be read by the signature.
    pub(super) fn body(&self) -> Reader<'_> {
        Reader::new(&self.bytes[self.body..], self.little)
    }
}

fn order(letter: u8) -> Option<bool> {
    match letter {
        b'l' => Some(true),
        b'B' => Some(false),
        _ => None,
    }
}

fn header(kind: u8, serial: u32, body: usize) -> Writer {
    let mut writer = Writer::default();
    for byte in [b'l', kind, 0, 1] {
        writer.byte(byte);
    }
    writer.number(u32::try_from(body).unwrap_or(u32::MAX));
    writer.number(serial);
    writer
}

fn field(writer: &mut Writer, code: u8, kind: char) {
    writer.align(8);
    writer.byte(code);
    writer.signature(kind.encode_utf8(&mut [0; 4]));
}

fn signature(writer: &mut Writer, signature: &str) {
    if !signature.is_empty() {
        field(writer, 8, 'g');
        writer.signature(signature);
    }
}

fn finish(mut writer: Writer, body: &[u8]) -> Vec<u8> {
    writer.align(8);
    debug_assert!(writer.len().is_multiple_of(8), "a body starts at a multiple of 8");
    let mut bytes = writer.finish();
    bytes.extend_from_slice(body);
    bytes
}

/// The other side, for tests: an answer, an error or a signal.
#[cfg(test)]
pub(super) fn answer(kind: Kind, reply_to: u32, text: &str, body_signature: &str, body: &[u8]) -> Vec<u8> {
    let code = match kind {
        Kind::Call => 1,
        Kind::Return => 2,
        Kind::Error => 3,
        Kind::Signal => 4,
    };
    let mut writer = header(code, 77, body.len());
    writer.array(8, |writer| {
        match kind {
            Kind::Signal => {
                field(writer, 3, 's');
                writer.text(text);
            }
            _ => {
                field(writer, 5, 'u');
                writer.number(reply_to);
            }
        }
        if kind == Kind::Error {
            field(writer, 4, 's');
            writer.text(text);
        }
        signature(writer, body_signature);
    });
    finish(writer, body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A message that is changed anywhere is read or refused, and nothing else.
        #[test]
        fn no_bytes_are_trusted(changes in proptest::collection::vec((0_usize..160, any::<u8>()), 0..6), end in 0_usize..160) {
            let call = Call { destination: Some("a.b"), path: "/a", interface: "b.c", member: "D", signature: "s" };
            let mut bytes = call.bytes(3, &[1, 0, 0, 0, b'x', 0]);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(bytes.len().min(end));
            if let Some(fixed) = bytes.first_chunk() {
                let _ = Message::length(fixed);
            }
            if let Some(message) = Message::parse(bytes) {
                let mut body = message.body();
                let _ = (body.text(), body.number(), body.text_in_variant());
            }
        }
    }

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let call = Call { destination: None, path: "/a", interface: "b.c", member: "D", signature: "s" };
        let mut body = Writer::default();
        body.text("x");
        let bytes = call.bytes(3, &body.finish());
        let expected: &[u8] = &[
            b'l', 1, 0, 1, 6, 0, 0, 0, 3, 0, 0, 0, 55, 0, 0, 0, // fixed part: body of 6, serial 3, fields of 55
            1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'a', 0, 0, 0, 0, 0, 0, // path
            2, 1, b's', 0, 3, 0, 0, 0, b'b', b'.', b'c', 0, 0, 0, 0, 0, // interface
            3, 1, b's', 0, 1, 0, 0, 0, b'D', 0, 0, 0, 0, 0, 0, 0, // member
            8, 1, b'g', 0, 1, b's', 0, 0, // signature, padding
            1, 0, 0, 0, b'x', 0,
        ];
        assert_eq!(bytes, expected);
        let fixed = bytes[..FIXED].try_into().unwrap();
        assert_eq!(Message::length(fixed), Some(bytes.len()));
        let message = Message::parse(bytes).unwrap();
        assert_eq!((message.kind, message.serial, &*message.member, &*message.signature), (Kind::Call, 3, "D", "s"));
        assert_eq!(message.body().text(), Some("x"));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let good = answer(Kind::Return, 3, "", "", &[]);
        assert_eq!(Message::parse(good.clone()).unwrap().reply_to, Some(3));
        for end in 0..good.len() {
            assert!(Message::parse(good[..end].to_vec()).is_none(), "{end}");
        }
        let mut huge: [u8; FIXED] = good[..FIXED].try_into().unwrap();
        huge[4..8].fill(0xff);
        assert_eq!(Message::length(&huge), None);
        huge[0] = b'x';
        assert_eq!(Message::length(&huge), None);
    }
}
