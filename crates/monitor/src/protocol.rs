//! The protocol between a monitor and its clients: frames over a unix stream socket.
//!
//! ```text
//!  byte 0      1..4        4..8               8..8+length
//! +---------+-----------+------------------+-------------
//! | type    | 0   0   0 | length, u32, LE  | payload        length <= 64 KiB, less for the fixed ones
//! +---------+-----------+------------------+-------------
//!
//! client -> monitor                          monitor -> client
//!  1 Hello     version u8, wants u8           16 Started  pid i32, start time u64
//!  2 Stdin     bytes                          17 Failed   failure kind u8, line (UTF-8)
//!  3 StdinEnd  -                              18 Stdout   bytes
//!  4 Resize    rows u16, columns u16          19 Stderr   bytes
//!                                             20 Exited   code i32, signal i32 (0: none), flags u8 (1: out of memory),
//!                                                         seconds i64, nanoseconds i32, message (UTF-8)
//!
//!  client   Hello(wants) ------------------>            The first client needs no Hello: its socket was made for it.
//!  monitor              <------------------ Started     or Failed, and the end
//!           Stdin* StdinEnd  <----> Stdout* Stderr*     only what was wanted; nothing older than the Hello
//!  monitor              <------------------ Exited      then the socket closes. A close without it: the monitor died.
//! ```
//!
//! All numbers are little-endian. Both ends treat the other as hostile: a frame that is too long for its type, of
//! an unknown type or for the other direction ends the connection. [`Decoder`] takes bytes as they come and gives
//! stream payloads on in the pieces they arrived in, so no frame is ever held in memory whole.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use failure::{Context, Error, Kind, Result};
use jiff::Timestamp;
use runtime::ProcessIdentity;

use crate::Exit;

/// The version in a Hello.
pub const VERSION: u8 = 1;
/// Bytes before each payload.
pub const HEADER: usize = 8;
/// The longest payload of a frame.
pub const LARGEST: usize = 64 * 1024;
/// The longest payload of a frame that is not a piece of a stream.
const SMALL: usize = 512;

/// The types of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Frame {
    /// What a client wants.
    Hello = 1,
    /// Bytes for the container's stdin.
    Stdin = 2,
    /// No more bytes for the container's stdin.
    StdinEnd = 3,
    /// The client's terminal has a new size.
    Resize = 4,
    /// The container runs.
    Started = 16,
    /// The container could not be started.
    Failed = 17,
    /// Bytes from the container's stdout, or its terminal.
    Stdout = 18,
    /// Bytes from the container's stderr.
    Stderr = 19,
    /// The container has ended.
    Exited = 20,
}

impl Frame {
    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Stdin,
            3 => Self::StdinEnd,
            4 => Self::Resize,
            16 => Self::Started,
            17 => Self::Failed,
            18 => Self::Stdout,
            19 => Self::Stderr,
            20 => Self::Exited,
            _ => return None,
        })
    }

    /// Who may send it.
    fn sender(self) -> Side {
        if (self as u8) < 16 { Side::Client } else { Side::Monitor }
    }

    /// Whether its payload is passed on in pieces.
    fn is_stream(self) -> bool {
        matches!(self, Self::Stdin | Self::Stdout | Self::Stderr)
    }

    /// The longest payload that is accepted.
    fn longest(self) -> usize {
        match self {
            Self::Hello => 2,
            Self::StdinEnd => 0,
            Self::Resize => 4,
            Self::Started => 12,
            Self::Stdin | Self::Stdout | Self::Stderr => LARGEST,
            Self::Failed | Self::Exited => SMALL,
        }
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The command line.
    Client,
    /// The process beside the container.
    Monitor,
}

/// What a client wants of a monitor, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants(u8);

impl Wants {
    /// Only to hear that the container started, then to be left alone.
    pub const STARTED: Self = Self(0);
    /// To send stdin.
    pub const STDIN: Self = Self(1);
    /// To receive stdout.
    pub const STDOUT: Self = Self(2);
    /// To receive stderr.
    pub const STDERR: Self = Self(4);
    /// To hear of the end.
    pub const EXIT: Self = Self(8);

    /// Both sets together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the client can go once the container runs.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The end of a container as its clients hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exited {
    /// Code, signal and time.
    pub exit: Exit,
    /// The kernel killed it (or a process of it) for lack of memory.
    pub out_of_memory: bool,
    /// What is to be said about the end, or nothing. Cut after some 480 bytes.
    pub message: String,
}

/// What a [`Decoder`] found.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client says what it wants.
    Hello(Wants),
    /// A piece for the container's stdin.
    Stdin(&'a [u8]),
    /// The client has no more stdin.
    StdinEnd,
    /// The client's terminal has this size.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// The container runs.
    Started(ProcessIdentity),
    /// The container could not be started, and why.
    Failed(Error),
    /// A piece of stdout.
    Stdout(&'a [u8]),
    /// A piece of stderr.
    Stderr(&'a [u8]),
    /// The container has ended.
    Exited(Exited),
}

/// The eight bytes before a payload of `length` bytes.
pub fn header(frame: Frame, length: usize) -> [u8; HEADER] {
    debug_assert!(length <= frame.longest());
    let length = (length as u32).to_le_bytes();
    [frame as u8, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

/// A Hello, whole.
pub fn hello(wants: Wants) -> Vec<u8> {
    whole(Frame::Hello, &[VERSION, wants.0])
}

/// A Resize, whole.
pub fn resize(rows: u16, columns: u16) -> Vec<u8> {
    let (rows, columns) = (rows.to_le_bytes(), columns.to_le_bytes());
    whole(Frame::Resize, &[rows[0], rows[1], columns[0], columns[1]])
}

/// A Started, whole.
pub fn started(identity: &ProcessIdentity) -> Vec<u8> {
    let mut payload = identity.pid.to_le_bytes().to_vec();
    payload.extend_from_slice(&identity.start_time.to_le_bytes());
    whole(Frame::Started, &payload)
}

/// A Failed, whole. A long line is cut.
pub fn failed(error: &Error) -> Vec<u8> {
    let mut payload = vec![kind_number(error.kind())];
    let line = error.to_string();
    payload.extend_from_slice(cut(&line, SMALL - 1).as_bytes());
    whole(Frame::Failed, &payload)
}

/// An Exited, whole. A long message is cut.
pub fn exited(exited: &Exited) -> Vec<u8> {
    let mut payload = exited.exit.code.to_le_bytes().to_vec();
    payload.extend_from_slice(&exited.exit.signal.unwrap_or(0).to_le_bytes());
    payload.push(u8::from(exited.out_of_memory));
    payload.extend_from_slice(&exited.exit.finished_at.as_second().to_le_bytes());
    payload.extend_from_slice(&exited.exit.finished_at.subsec_nanosecond().to_le_bytes());
    payload.extend_from_slice(cut(&exited.message, SMALL - EXITED).as_bytes());
    whole(Frame::Exited, &payload)
}

/// Tells the client at the other end that the container could not be started. Used before there is a monitor.
///
/// # Errors
/// The client is gone.
pub fn send_failed(mut stream: &UnixStream, error: &Error) -> Result<()> {
    stream.write_all(&failed(error)).context("tell the client of the failure")
}

/// Takes apart what arrives, as it arrives. No allocation but for the text of a Failed or Exited.
#[derive(Debug)]
pub struct Decoder {
    /// Whose frames are accepted.
    from: Side,
    header: [u8; HEADER],
    have: usize,
    /// The frame that is under way, and how much of its payload is missing.
    current: Option<(Frame, usize)>,
    small: [u8; SMALL],
    filled: usize,
}

impl Decoder {
    /// Accepts what that side sends.
    pub fn new(from: Side) -> Self {
        Self { from, header: [0; HEADER], have: 0, current: None, small: [0; SMALL], filled: 0 }
    }

    /// The next event in `input`, which is shortened by what was taken; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection is of no more use.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>> {
        loop {
            let Some((frame, missing)) = self.frame(input)? else { return Ok(None) };
            if frame.is_stream() {
                let piece = take(input, missing);
                self.current = Some((frame, missing - piece.len())).filter(|(_, missing)| *missing > 0);
                match (frame, piece.is_empty()) {
                    (_, true) if missing > 0 => return Ok(None),
                    (_, true) => {}
                    (Frame::Stdin, false) => return Ok(Some(Event::Stdin(piece))),
                    (Frame::Stdout, false) => return Ok(Some(Event::Stdout(piece))),
                    (_, false) => return Ok(Some(Event::Stderr(piece))),
                }
                continue;
            }
            let piece = take(input, missing);
            self.small[self.filled..self.filled + piece.len()].copy_from_slice(piece);
            self.filled += piece.len();
            if piece.len() < missing {
                self.current = Some((frame, missing - piece.len()));
                return Ok(None);
            }
            self.current = None;
            return small_event(frame, &self.small[..self.filled]).map(Some);
        }
    }

    /// The frame under way and what is missing of it; `None` while its header is not whole.
    fn frame(&mut self, input: &mut &[u8]) -> Result<Option<(Frame, usize)>> {
        if self.current.is_some() || !self.take_header(input) {
            return Ok(self.current);
        }
        self.begin().map(Some)
    }

    /// Fills the header; true once it is whole.
    fn take_header(&mut self, input: &mut &[u8]) -> bool {
        let piece = take(input, HEADER - self.have);
        self.header[self.have..self.have + piece.len()].copy_from_slice(piece);
        self.have += piece.len();
        self.have == HEADER
    }

    /// Judges a whole header and begins its frame.
    fn begin(&mut self) -> Result<(Frame, usize)> {
        let [byte, reserved @ .., a, b, c, d] = self.header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        self.have = 0;
        self.filled = 0;
        let frame = Frame::parse(byte).filter(|frame| frame.sender() == self.from && reserved == [0; 3]);
        let frame = frame.ok_or_else(|| broken(&format!("an unknown frame of type {byte}")))?;
        if length > frame.longest() {
            return Err(broken(&format!("a frame of type {byte} with {length} bytes")));
        }
        self.current = Some((frame, length));
        Ok((frame, length))
    }
}

/// Bytes of an Exited before its message.
const EXITED: usize = 21;

/// A frame that is not a piece of a stream.
fn small_event(frame: Frame, payload: &[u8]) -> Result<Event<'static>> {
    let event = match frame {
        Frame::Hello => hello_event(payload),
        Frame::StdinEnd => Some(Event::StdinEnd),
        Frame::Resize => fixed(payload, 0).zip(fixed(payload, 2)).map(|(rows, columns)| Event::Resize {
            rows: u16::from_le_bytes(rows),
            columns: u16::from_le_bytes(columns),
        }),
        Frame::Started => started_event(payload),
        Frame::Failed => failed_event(payload),
        Frame::Exited => exited_event(payload),
        Frame::Stdin | Frame::Stdout | Frame::Stderr => None,
    };
    event.ok_or_else(|| broken(&format!("a frame of type {} that makes no sense", frame as u8)))
}

fn hello_event(payload: &[u8]) -> Option<Event<'static>> {
    let [version, wants] = fixed(payload, 0)?;
    (version == VERSION).then_some(Event::Hello(Wants(wants)))
}

fn started_event(payload: &[u8]) -> Option<Event<'static>> {
    let pid = i32::from_le_bytes(fixed(payload, 0)?);
    let start_time = u64::from_le_bytes(fixed(payload, 4)?);
    Some(Event::Started(ProcessIdentity { pid, start_time }))
}

fn failed_event(payload: &[u8]) -> Option<Event<'static>> {
    let (&kind, line) = payload.split_first()?;
    Some(Event::Failed(Error::new(kind_of(kind), String::from_utf8_lossy(line))))
}

fn exited_event(payload: &[u8]) -> Option<Event<'static>> {
    let code = i32::from_le_bytes(fixed(payload, 0)?);
    let signal = i32::from_le_bytes(fixed(payload, 4)?);
    let [flags] = fixed(payload, 8)?;
    let seconds = i64::from_le_bytes(fixed(payload, 9)?);
    let nanoseconds = i32::from_le_bytes(fixed(payload, 17)?);
    let finished_at = Timestamp::new(seconds, nanoseconds).ok()?;
    let exit = Exit { code, signal: (signal != 0).then_some(signal), finished_at };
    let message = String::from_utf8_lossy(&payload[EXITED..]).into_owned();
    Some(Event::Exited(Exited { exit, out_of_memory: flags & 1 != 0, message }))
}

/// `N` bytes at an offset, if they are there.
fn fixed<const N: usize>(payload: &[u8], at: usize) -> Option<[u8; N]> {
    payload.get(at..at + N)?.try_into().ok()
}

/// Up to `most` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    front
}

fn whole(frame: Frame, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&header(frame, payload.len()));
    bytes.extend_from_slice(payload);
    bytes
}

/// The text's longest beginning of at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn broken(what: &str) -> Error {
    Error::invalid(format!("the other end of the monitor's socket sent {what}"))
}

/// The kinds of failure in the order of their numbers on the wire.
const KINDS: [Kind; 10] = [
    Kind::Internal,
    Kind::NotFound,
    Kind::Conflict,
    Kind::Invalid,
    Kind::Unsupported,
    Kind::Denied,
    Kind::Busy,
    Kind::Unavailable,
    Kind::CommandNotFound,
    Kind::CommandNotExecutable,
];

fn kind_number(kind: Kind) -> u8 {
    KINDS.iter().position(|candidate| *candidate == kind).unwrap_or(0) as u8
}

fn kind_of(number: u8) -> Kind {
    KINDS.get(usize::from(number)).copied().unwrap_or(Kind::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds bytes in pieces of `step` and prints the events.
    fn decode(from: Side, bytes: &[u8], step: usize) -> Vec<String> {
        let mut decoder = Decoder::new(from);
        let mut events = Vec::new();
        for mut piece in bytes.chunks(step) {
            loop {
                match decoder.next(&mut piece) {
                    Ok(Some(event)) => events.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(error) => {
                        events.push(error.to_string());
                        return events;
                    }
                }
            }
        }
        events
    }

    #[test]
    fn frames_come_back_in_any_pieces() {
        let identity = ProcessIdentity { pid: 7, start_time: 1 << 40 };
        let exit = Exit { code: 137, signal: Some(9), finished_at: Timestamp::new(1_700_000_000, 5).unwrap() };
        let end = Exited { exit, out_of_memory: true, message: "limit of 64 MiB".to_owned() };
        let bytes = [started(&identity), failed(&Error::conflict("no `x`")), exited(&end)].concat();
        let expect = [
            format!("{:?}", Event::Started(identity)),
            format!("{:?}", Event::Failed(Error::conflict("no `x`"))),
            format!("{:?}", Event::Exited(end)),
        ];
        for step in [1, 2, 7, 1000] {
            assert_eq!(decode(Side::Monitor, &bytes, step), expect, "{step}");
        }
        let bytes = [hello(Wants::STDIN.and(Wants::EXIT)), resize(24, 80)].concat();
        assert_eq!(decode(Side::Client, &bytes, 3), ["Hello(Wants(9))", "Resize { rows: 24, columns: 80 }"]);
    }

    #[test]
    fn streams_pass_in_pieces() {
        let bytes =
            [&header(Frame::Stdin, 3)[..], b"abc", &header(Frame::Stdin, 0), &header(Frame::StdinEnd, 0)].concat();
        assert_eq!(decode(Side::Client, &bytes, 100), ["Stdin([97, 98, 99])", "StdinEnd"]);
        assert_eq!(decode(Side::Client, &bytes, 10), ["Stdin([97, 98])", "Stdin([99])", "StdinEnd"]);
    }

    #[test]
    fn hostile_frames_are_refused() {
        for bytes in [
            [2, 0, 0, 0, 1, 0, 1, 0],
            [1, 0, 0, 0, 3, 0, 0, 0],
            [18, 0, 0, 0, 1, 0, 0, 0],
            [2, 1, 0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [4, 0, 0, 0, 255, 255, 255, 255],
        ] {
            let events = decode(Side::Client, &bytes, 100);
            assert!(events.len() == 1 && events[0].contains("monitor's socket"), "{bytes:?}: {events:?}");
        }
        assert_eq!(decode(Side::Client, &[1, 0, 0, 0, 2, 0, 0, 0, 9, 9], 100).len(), 1);
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let bytes = failed(&Error::invalid("é".repeat(1000)));
        assert!(bytes.len() <= HEADER + SMALL);
        assert!(decode(Side::Monitor, &bytes, 64)[0].contains('é'));
    }
}
