//! Just enough of rtnetlink: look up a link, list links and addresses, move a link, add an address, set a link up.
//!
//! ```text
//!   message     { length: u32, type: u16, flags: u16, sequence: u32, port: u32 }  body  attributes
//!   link body   { family: u8, _: u8, type: u16, index: i32, flags: u32, change: u32 }
//!   addr body   { family: u8, prefix: u8, flags: u8, scope: u8, index: u32 }
//!   attribute   { length: u16, type: u16 }  value, padded to four bytes
//! ```
//! Lengths come from the kernel alone, and are checked against what was read all the same.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const HEADER: usize = 16;
const LINK_BODY: usize = 16;
const ADDRESS_BODY: usize = 8;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;

const REQUEST: u16 = 0x01;
const ACKNOWLEDGE: u16 = 0x04;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x600;

const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
const ADDRESS_FLAGS: u16 = 8;

const UP: u32 = 1;
const PERMANENT: u32 = 0x80;
/// No look for duplicates: the address was this interface's already.
const NO_DETECTION: u32 = 0x02;
const SCOPE_UNIVERSE: u8 = 0;
const INET6: u8 = 10;

/// A netlink socket of one network namespace.
pub(super) struct Netlink(OwnedFd);

/// An address of an interface.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    /// `ADDRESS_*` attributes that stay.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Netlink {
    /// In the network namespace of this thread.
    pub(super) fn open() -> Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    pub(super) fn index_of(&self, name: &str) -> Result<u32> {
        let mut message = Message::new(GET_LINK, REQUEST, &link_body(0, 0));
        message.attribute(LINK_NAME, &with_zero(name));
        let mut index = None;
        self.talk(message, false, |kind, body| {
            if kind == NEW_LINK {
                index = word(body, 4);
            }
        })?;
        index.ok_or(Errno::NODEV)
    }

    /// The numbers of all interfaces.
    pub(super) fn indices(&self) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        self.talk(Message::new(GET_LINK, REQUEST | DUMP, &link_body(0, 0)), true, |kind, body| {
            if kind == NEW_LINK {
                found.extend(word(body, 4));
            }
        })?;
        Ok(found)
    }

    /// The permanent addresses of global scope of an interface, of every family.
    pub(super) fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let mut found = Vec::new();
        self.talk(Message::new(GET_ADDRESS, REQUEST | DUMP, &[0; ADDRESS_BODY]), true, |kind, body| {
            if kind == NEW_ADDRESS && word(body, 4) == Some(index) {
                found.extend(address(body));
            }
        })?;
        Ok(found)
    }

    /// Moves a link into a network namespace, and names it in the same step.
    pub(super) fn move_link(&self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut message = Message::new(NEW_LINK, REQUEST | ACKNOWLEDGE, &link_body(index, 0));
        message.attribute(LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
        message.attribute(LINK_NAME, &with_zero(name));
        self.talk(message, false, |_, _| {})
    }

    pub(super) fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let index = index.to_ne_bytes();
        let body = [address.family, address.prefix, 0, SCOPE_UNIVERSE, index[0], index[1], index[2], index[3]];
        let mut message = Message::new(NEW_ADDRESS, REQUEST | ACKNOWLEDGE | CREATE, &body);
        for (kind, value) in &address.attributes {
            message.attribute(*kind, value);
        }
        let flags = if address.family == INET6 { PERMANENT | NO_DETECTION } else { PERMANENT };
        message.attribute(ADDRESS_FLAGS, &flags.to_ne_bytes());
        self.talk(message, false, |_, _| {})
    }

    pub(super) fn set_up(&self, index: u32) -> Result<()> {
        self.talk(Message::new(NEW_LINK, REQUEST | ACKNOWLEDGE, &link_body(index, UP)), false, |_, _| {})
    }

    /// Sends a message and hands on what comes back, until the kernel says that it is done.
    fn talk(&self, message: Message, dump: bool, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let bytes = message.finish();
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let (length, _) = rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = buffer.get(..length).ok_or(Errno::BADMSG)?;
            while !rest.is_empty() {
                let (kind, body, next) = split(rest).ok_or(Errno::BADMSG)?;
                match kind {
                    DONE => return Ok(()),
                    ERROR => {
                        let errno = word(body, 0).ok_or(Errno::BADMSG)?.cast_signed();
                        return if errno == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-errno)) };
                    }
                    kind => each(kind, body),
                }
                rest = next;
            }
            // The one answer to a look-up, which asks for no acknowledgment.
            if !dump {
                return Ok(());
            }
        }
    }
}

/// A message in the making.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Values are names and addresses: short.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_ne_bytes();
        self.0.splice(..4, length);
        self.0
    }
}

fn link_body(index: u32, flags: u32) -> [u8; LINK_BODY] {
    let mut body = [0; LINK_BODY];
    for (place, value) in [(4, index), (8, flags), (12, flags)] {
        for (target, byte) in body.iter_mut().skip(place).zip(value.to_ne_bytes()) {
            *target = byte;
        }
    }
    body
}

fn with_zero(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The type and the body of the first message, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(word(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn word(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(place..place + 4)?.try_into().ok()?))
}

/// An address that moves along, from the body of its message.
fn address(body: &[u8]) -> Option<Address> {
    let &[family, prefix, short_flags, scope, ..] = body else { return None };
    let (mut flags, mut kept) = (u32::from(short_flags), Vec::new());
    let mut rest = body.get(ADDRESS_BODY..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        match kind {
            ADDRESS_FLAGS => flags = word(value, 0)?,
            ADDRESS_ADDRESS | ADDRESS_LOCAL | ADDRESS_BROADCAST => kept.push((kind, value.to_vec())),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let moves = scope == SCOPE_UNIVERSE && flags & PERMANENT != 0;
    moves.then_some(Address { family, prefix, attributes: kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(flags: u32, scope: u8) -> Vec<u8> {
        let mut message = Message(vec![2, 24, 0, scope, 7, 0, 0, 0]);
        message.attribute(ADDRESS_LOCAL, &[10, 0, 0, 1]);
        message.attribute(6, &[0; 16]);
        message.attribute(ADDRESS_FLAGS, &flags.to_ne_bytes());
        message.0
    }

    #[test]
    fn permanent_global_addresses_move() {
        let expected = Address { family: 2, prefix: 24, attributes: vec![(ADDRESS_LOCAL, vec![10, 0, 0, 1])] };
        assert_eq!(address(&body(PERMANENT, 0)), Some(expected));
        assert_eq!(address(&body(0, 0)), None);
        assert_eq!(address(&body(PERMANENT, 253)), None);
    }

    #[test]
    fn lengths_that_lie_are_survived() {
        for cut in 0..body(PERMANENT, 0).len() {
            let _ = address(&body(PERMANENT, 0)[..cut]);
        }
        assert_eq!(split(&[200, 0, 0, 0, 1, 0, 0, 0]), None);
        let message = Message::new(NEW_LINK, REQUEST, &link_body(3, UP)).finish();
        let (kind, body, rest) = split(&message).unwrap();
        assert_eq!((kind, word(body, 4), rest.len()), (NEW_LINK, Some(3), 0));
        assert_eq!(split(&[0; 16]), None);
    }
}
