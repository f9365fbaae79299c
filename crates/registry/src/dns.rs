//! Questions to name servers and their answers (RFC 1035), as far as addresses of hosts need them.
//!
//! ```text
//! header (12 bytes): id, flags, counts      question: name, type, class      records: name, type, class, ttl, data
//! ```
//!
//! A stub: recursion is the server's work, and the whole chain of aliases is in its answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER: usize = 12;
const IN: u16 = 1;
const OPTIONS: u16 = 41;
/// The longest answer over UDP that travels unbroken nearly everywhere.
const LONGEST_DATAGRAM: u16 = 1232;

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    A = 1,
    Aaaa = 28,
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The name's addresses of the kind that was asked for; there may be none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The server cannot say.
    Failed,
    /// The answer is too long for a datagram.
    Truncated,
}

/// A question. None if `name` cannot be a host's name.
pub(crate) fn question(id: u16, name: &str, record: Record) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    // Recursion desired; one question, and one additional record that says how long answers may be.
    for word in [id, 0x0100, 1, 0, 0, 1] {
        message.extend_from_slice(&u16::to_be_bytes(word));
    }
    message.extend_from_slice(&encoded(name)?);
    message.extend_from_slice(&(record as u16).to_be_bytes());
    message.extend_from_slice(&IN.to_be_bytes());
    message.push(0);
    for word in [OPTIONS, LONGEST_DATAGRAM, 0, 0, 0] {
        message.extend_from_slice(&u16::to_be_bytes(word));
    }
    Some(message)
}

fn encoded(name: &str) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut labels = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        labels.push(length);
        labels.extend_from_slice(label.as_bytes());
    }
    labels.push(0);
    (labels.len() <= 255).then_some(labels)
}

/// Reads an answer to a question. None if it answers another one, or cannot be read: whoever can guess may send anything.
pub(crate) fn reply(message: &[u8], question: &[u8], record: Record) -> Option<Reply> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let flags = word(2)?;
    if message.get(..2)? != question.get(..2)? || flags & 0x8000 == 0 || word(4)? != 1 {
        return None;
    }
    let asked = question.get(HEADER..skip_name(question, HEADER)? + 4)?;
    let echoed = message.get(HEADER..HEADER + asked.len())?;
    if !echoed.eq_ignore_ascii_case(asked) {
        return None;
    }
    match flags & 0xf {
        0 if flags & 0x0200 != 0 => Some(Reply::Truncated),
        0 => addresses(message, HEADER + asked.len(), word(6)?, record).map(Reply::Addresses),
        3 => Some(Reply::NoSuchName),
        _ => Some(Reply::Failed),
    }
}

fn addresses(message: &[u8], mut at: usize, count: u16, record: Record) -> Option<Vec<IpAddr>> {
    let mut found = Vec::new();
    for _ in 0..count {
        at = skip_name(message, at)?;
        let head = message.get(at..at + 10)?;
        let (kind, class) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
        let data = message.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if (kind, class) != (record as u16, IN) {
            continue;
        }
        found.push(match record {
            Record::A => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
            Record::Aaaa => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
        });
    }
    Some(found)
}

/// Where a name ends: behind its last label, or behind a pointer to where it goes on.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length < 64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The answer that a server would give: an alias first, then an address.
    pub(crate) fn answer(question: &[u8], flags: u16, addresses: &[IpAddr]) -> Vec<u8> {
        let end = skip_name(question, HEADER).unwrap() + 4;
        let mut message = question[..2].to_vec();
        for word in [0x8180 | flags, 1, 1 + addresses.len() as u16, 0, 0] {
            message.extend_from_slice(&u16::to_be_bytes(word));
        }
        message.extend_from_slice(&question[HEADER..end]);
        let mut record = |kind: u16, data: &[u8]| {
            message.extend_from_slice(&[0xc0, HEADER as u8]);
            for word in [kind, IN, 0, 60, data.len() as u16] {
                message.extend_from_slice(&u16::to_be_bytes(word));
            }
            message.extend_from_slice(data);
        };
        record(5, b"\x05alias\xc0\x0c");
        for address in addresses {
            match address {
                IpAddr::V4(address) => record(1, &address.octets()),
                IpAddr::V6(address) => record(28, &address.octets()),
            }
        }
        message
    }

    #[test]
    fn answers_are_read_and_what_was_not_asked_is_not() {
        let asked = question(7, "registry.example", Record::A).unwrap();
        let here: IpAddr = "10.1.2.3".parse().unwrap();
        let good = answer(&asked, 0, &[here, "::1".parse().unwrap()]);
        assert_eq!(reply(&good, &asked, Record::A), Some(Reply::Addresses(vec![here])));
        assert_eq!(reply(&answer(&asked, 3, &[]), &asked, Record::A), Some(Reply::NoSuchName));
        assert_eq!(reply(&answer(&asked, 2, &[]), &asked, Record::A), Some(Reply::Failed));
        assert_eq!(reply(&answer(&asked, 0x200, &[]), &asked, Record::A), Some(Reply::Truncated));
        let other = question(8, "registry.example", Record::A).unwrap();
        assert_eq!(reply(&good, &other, Record::A), None);
        let other = question(7, "registry.other", Record::A).unwrap();
        assert_eq!(reply(&answer(&other, 0, &[here]), &asked, Record::A), None);
        for length in 0..good.len() - 20 {
            // Cut anywhere: not read, or without the last record; never more than was there.
            let _ = reply(&good[..length], &asked, Record::A);
        }
    }

    #[test]
    fn only_names_are_asked_for() {
        for wrong in ["", "a..b", &"a".repeat(64), &"a.".repeat(130)] {
            assert_eq!(question(1, wrong, Record::A), None, "{wrong}");
        }
        assert_eq!(question(1, "a.b.", Record::A), question(1, "a.b", Record::A));
    }
}
