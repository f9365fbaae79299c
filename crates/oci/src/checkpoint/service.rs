//! CRIU as a service of one request: `criu swrk`, at the other end of a socket pair.
//!
//! ```text
//!   request                --->
//!                          <---  notify "orphan-pts-master" (with a descriptor), "setup-namespaces", "pre-resume" ...
//!   notify, success or not --->
//!                          <---  answer: success, the process id, or what went wrong
//! ```
//! One message a packet. The reason of a failure is in the log that CRIU writes; the answer has only its errno.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::{Child, Command};

use failure::{Context as _, Error, Kind, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};

use super::message::{Message, Value, fields};

/// What is asked for, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
}

/// Our answer to a notification.
const NOTIFY: u64 = 6;
/// More than a message of this protocol ever has.
const LONGEST: usize = 16 << 10;
/// More of a log than is read for its errors.
const LONGEST_LOG: u64 = 64 << 20;

/// A moment that CRIU tells of, and waits for our word.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) name: String,
    /// The container's first process, once there is one.
    pub(crate) pid: i32,
    pub(crate) descriptor: Option<OwnedFd>,
}

/// The running service.
#[derive(Debug)]
pub(crate) struct Service {
    socket: OwnedFd,
    child: Child,
}

impl Service {
    /// Starts the program. It inherits what is not close-on-exec, and no more of the environment than the path.
    pub(crate) fn start(program: &str) -> Result<Self> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .context("cannot make a socket pair")?;
        rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).context("cannot pass on a socket")?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin").to_owned());
        let mut command = Command::new(program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string()).env_clear().env("PATH", path);
        match command.spawn() {
            Ok(child) => Ok(Self { socket: ours, child }),
            Err(failed) => Err(Error::new(
                Kind::Unsupported,
                format!("cannot execute `{program}`: install CRIU, or name it with --criu"),
            )
            .with_source(failed)),
        }
    }

    /// Asks, answers CRIU's notifications by `moment`, and waits for the end; the process id of a restore. Where `moment`
    /// refuses, CRIU is killed: late in a restore it would not listen, or wait for processes that `moment` has ended.
    ///
    /// # Errors
    /// It failed; the line says what CRIU's answer says, which is little: see [`reason`].
    pub(crate) fn ask(
        mut self,
        request: Request,
        options: &Message,
        mut moment: impl FnMut(Moment) -> Result<()>,
    ) -> Result<i32> {
        let mut asked = Message::default();
        asked.number(1, request as u64).part(2, options);
        self.send(&asked)?;
        let answer = loop {
            let (bytes, descriptor) = self.receive()?;
            let answer = Answer::parse(&bytes)?;
            let Some((name, pid)) = answer.moment else { break answer };
            if let Err(refused) = moment(Moment { name, pid, descriptor }) {
                // It may have ended; then there is nothing to kill.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return Err(refused);
            }
            let mut told = Message::default();
            told.number(1, NOTIFY).flag(3, true);
            self.send(&told)?;
        };
        // What it leaves behind is the restored process, a child of ours too.
        self.child.wait().context("cannot wait for criu")?;
        if answer.success { Ok(answer.pid) } else { Err(answer.failure()) }
    }

    fn send(&self, message: &Message) -> Result<()> {
        let sent = rustix::net::send(&self.socket, message.as_bytes(), SendFlags::NOSIGNAL);
        sent.map(drop).context("cannot speak to criu: it has ended")
    }

    fn receive(&self) -> Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                received => break received.context("cannot hear from criu")?.bytes,
            }
        };
        if length == 0 {
            return Err(Error::internal("criu has ended without an answer"));
        }
        bytes.truncate(length);
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptor = descriptors.next().and_then(|mut descriptors| descriptors.next());
        Ok((bytes, descriptor))
    }
}

/// What CRIU says at the end, or in between.
#[derive(Debug, Default)]
struct Answer {
    success: bool,
    pid: i32,
    moment: Option<(String, i32)>,
    errno: i32,
    words: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut answer = Self::default();
        for (field, value) in fields(bytes)? {
            match (field, value) {
                (2, value) => answer.success = value.number() != 0,
                (4, Value::Bytes(restored)) => answer.pid = number(restored, 1)?,
                (5, Value::Bytes(notice)) => {
                    let fields = fields(notice)?;
                    let name = fields.iter().find(|(field, _)| *field == 1).map(|(_, value)| value.text());
                    answer.moment = Some((name.unwrap_or_default(), number(notice, 2)?));
                }
                (7, value) => answer.errno = i32::try_from(value.number()).unwrap_or_default(),
                (9, value) => answer.words = value.text(),
                _ => {}
            }
        }
        Ok(answer)
    }

    fn failure(self) -> Error {
        let words = self.words.trim();
        let words = if words.is_empty() { "criu refused" } else { words };
        match self.errno {
            0 => Error::internal(words),
            errno => Error::internal(words).with_source(std::io::Error::from_raw_os_error(errno)),
        }
    }
}

fn number(message: &[u8], wanted: u32) -> Result<i32> {
    let found = fields(message)?.into_iter().find(|(field, _)| *field == wanted).map(|(_, value)| value.number());
    Ok(found.and_then(|number| i32::try_from(number).ok()).unwrap_or_default())
}

/// What the log says went wrong: its first error that is one.
pub(crate) fn reason(directory: BorrowedFd<'_>, log: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory.as_fd(), log, flags, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    File::from(file).take(LONGEST_LOG).read_to_end(&mut bytes).ok()?;
    first_error(&String::from_utf8_lossy(&bytes))
}

/// Lines are `(seconds) Error (file:line): words`. That limits cannot be raised is told of every run, and harms none.
fn first_error(log: &str) -> Option<String> {
    let errors = log.lines().filter_map(|line| line.split_once(" Error ").map(|(_, rest)| rest.trim()));
    let mut errors = errors.filter(|line| !line.contains("rlimit:"));
    let line = errors.next()?;
    Some(match line.split_once("): ") {
        Some((place, words)) => format!("{words} ({})", place.trim_start_matches('(')),
        None => line.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_went_wrong() {
        let log = "(00.1) Warn  (a.c:1): x\n(00.2) Error (criu/util.c:1533): rlimit: Can't setup\n\
                   (00.9) Error (criu/files-reg.c:1790): Can't lookup mount=24\n(01.0) Error (b.c:2): FAILED.\n";
        assert_eq!(first_error(log).unwrap(), "Can't lookup mount=24 (criu/files-reg.c:1790)");
        assert_eq!(first_error("(00.1) fine\n"), None);
    }

    #[test]
    fn answers_are_read() {
        let mut restored = Message::default();
        restored.number(1, 4711);
        let mut answer = Message::default();
        answer.number(1, 2).flag(2, true).part(4, &restored);
        let read = Answer::parse(answer.as_bytes()).unwrap();
        assert!(read.success && read.pid == 4711 && read.moment.is_none());
        let mut notice = Message::default();
        notice.bytes(1, b"pre-resume").number(2, 7);
        let mut answer = Message::default();
        answer.number(1, 6).flag(2, true).part(5, &notice);
        assert_eq!(Answer::parse(answer.as_bytes()).unwrap().moment, Some(("pre-resume".to_owned(), 7)));
    }

    #[test]
    fn a_program_that_is_not_there_is_said() {
        let failed = Service::start("/no/such/criu").unwrap_err();
        assert_eq!(failed.kind(), Kind::Unsupported);
        assert!(failed.to_string().contains("--criu"), "{failed}");
    }
}
